//! Every metric's name, help and labels in one table, and the text that
//! Prometheus reads (exposition format 0.0.4).

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType,
};
use prometheus::{Encoder, TextEncoder};

use crate::clock;

/// One metric: what `/metrics` may say.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with the prefix.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// It counts durations by their length.
    Histogram,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: concat!("tandem_", $name),
                help: $help,
                kind: Kind::$kind,
                labels: &[$($label),*],
            };
        )*
        /// Every metric, in the order of the exposition.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BACKEND_BYTES Counter "backend_bytes_total" ["pool", "backend", "direction"]
        "Bytes moved to (in) and from (out) the backend.";
    BACKEND_CONNECT_DURATION Histogram "backend_connect_duration_seconds" ["pool", "backend"]
        "Time from connect(2) to an established connection.";
    BACKEND_CONNECT_ERRORS Counter "backend_connect_errors_total" ["pool", "backend", "reason"]
        "Connections to the backend that could not be made.";
    BACKEND_CONNECTIONS Gauge "backend_connections" ["pool", "backend"]
        "Connections to the backend, open or being made.";
    BACKEND_CONNECTIONS_MAX Gauge "backend_connections_max" ["pool", "backend"]
        "Connections that the backend may have at the same time; absent where there is no limit.";
    BACKEND_CONNECTIONS_TOTAL Counter "backend_connections_total" ["pool", "backend"]
        "Connections made to the backend.";
    BACKEND_FINISHED Counter "backend_connections_finished_total" ["pool", "backend", "reason"]
        "Finished connections that were at the backend, or tried it last, by their reason.";
    BACKEND_RETRIES Counter "backend_retries_total" ["pool"]
        "Attempts on another backend after a failed one.";
    BACKEND_PORTS_MAX Gauge "backend_source_ports_max" ["pool", "backend"]
        "Local ports that connections to the backend may leave from, over all its sources.";
    BACKEND_PORTS_USED Gauge "backend_source_ports_used" ["pool", "backend"]
        "Local ports that connections to the backend take, those of other pools to the same server included.";
    BACKEND_STATE Gauge "backend_state" ["pool", "backend", "state"]
        "1 for the state that the backend is in, 0 for the others.";
    BACKEND_UP Gauge "backend_up" ["pool", "backend"]
        "Whether the backend answers its probes.";
    BACKEND_WEIGHT Gauge "backend_weight" ["pool", "backend"]
        "The backend's weight now: 0 if it gets no new connections.";
    BUILD_INFO Gauge "build_info" ["version"]
        "Always 1; the version is in the label.";
    BYTES Counter "bytes_total" ["listener", "direction"]
        "Bytes moved from (in) and to (out) clients.";
    CONFIG_INFO Gauge "config_info" ["hash"]
        "Always 1; the hash of the configuration in force is in the label.";
    CONFIG_RELOAD_OK Gauge "config_last_reload_successful" []
        "Whether the last reload put its file in force.";
    CONFIG_RELOAD_TIME Gauge "config_last_reload_success_timestamp_seconds" []
        "When the configuration in force was read, in seconds since 1970.";
    CONFIG_WAITS Gauge "config_waits_for_restart" []
        "Settings that reloads have changed and that take effect at the next start.";
    CONNECTION_DURATION Histogram "connection_duration_seconds" ["listener"]
        "How long finished connections lived.";
    CONNECTIONS_FINISHED Counter "connections_finished_total" ["listener", "pool", "reason"]
        "Finished connections, each with exactly one reason.";
    CONNECTIONS_MAX Gauge "connections_max" []
        "Client connections that the process may hold at the same time.";
    LISTENER_CONNECTIONS Gauge "listener_connections" ["listener"]
        "Client connections open now.";
    LISTENER_CONNECTIONS_MAX Gauge "listener_connections_max" ["listener"]
        "Client connections that the listener may hold at the same time; absent where there is no limit.";
    LISTENER_STALLED Gauge "listener_stalled_connections" ["listener"]
        "Client connections that hold bytes now which their reader does not take.";
    LISTENER_CONNECTIONS_TOTAL Counter "listener_connections_total" ["listener"]
        "Client connections accepted.";
    LISTENER_REJECTED Counter "listener_rejected_total" ["listener", "reason"]
        "Client connections turned away at the door.";
    LOG_DROPPED Counter "log_dropped_total" []
        "Log lines lost because the log did not keep up or could not be written.";
    DNS_HOLDS_NAME Gauge "dns_holds_name" ["pair"]
        "Whether this node holds the public name.";
    DNS_OBSERVED_MATCH Gauge "dns_observed_match" ["pair", "server"]
        "Whether a name server names the holder; a resolver may lag by the TTL.";
    DNS_QUERIES Counter "dns_queries_total" ["pair", "rcode"]
        "Queries by response code, and those that got no answer, by reason.";
    DNS_READS Counter "dns_reads_total" ["pair", "provider", "result"]
        "Reads of the register by their result.";
    DNS_UPDATE_DURATION Histogram "dns_update_duration_seconds" ["pair", "provider"]
        "How long writes to the register took.";
    DNS_UPDATES Counter "dns_updates_total" ["pair", "provider", "result"]
        "Writes to the register by their result.";
    PAIR_CONFIG_DRIFT Gauge "pair_config_drift" ["pair"]
        "Whether a twin has another configuration.";
    PAIR_DROPPED Counter "pair_datagrams_dropped_total" ["pair", "reason"]
        "Datagrams at the heartbeat port that were no signs of life of a twin.";
    PAIR_HEARTBEATS Counter "pair_heartbeats_total" ["pair", "direction"]
        "Heartbeats sent and received.";
    PAIR_ROLE Gauge "pair_role" ["pair", "role"]
        "1 for the role that this node has, 0 for the others.";
    PAIR_RTT Gauge "pair_heartbeat_rtt_seconds" ["pair", "node"]
        "How long the last heartbeat and its echo took.";
    PAIR_TERM Gauge "pair_term" ["pair"]
        "The newest term that is known; grows with each claim of the name.";
    PAIR_TRANSITIONS Counter "pair_transitions_total" ["pair", "to", "reason"]
        "Changes of role.";
    PAIR_TWIN_UP Gauge "pair_twin_up" ["pair", "node"]
        "Whether the heartbeats of a twin come.";
    POOL_EXHAUSTED Counter "pool_exhausted_total" ["pool"]
        "Connections that found no backend to serve them.";
    POOL_PANIC Gauge "pool_panic" ["pool"]
        "Whether dead backends are used too, because too few live.";
    POOL_QUEUED Gauge "pool_queued" ["pool"]
        "Connections that wait for a backend below its connection limit.";
    POOL_QUEUE_MAX Gauge "pool_queue_max" ["pool"]
        "Connections that may wait for a backend at the same time.";
    POOL_USABLE Gauge "pool_usable_backends" ["pool"]
        "Backends that may get new connections.";
    PROBE_DURATION Histogram "probe_duration_seconds" ["pool", "backend"]
        "How long probes took.";
    PROBE_FAILURES Counter "probe_failures_total" ["pool", "backend", "reason"]
        "Probes that failed.";
    PROBE_SUCCESS Counter "probe_success_total" ["pool", "backend"]
        "Probes that found the backend alive.";
    PROBE_UNKNOWN Counter "probe_unknown_total" ["pool", "backend", "reason"]
        "Probes that found nothing out for a reason of this machine's own.";
    PROXY_HEADER_ERRORS Counter "proxy_header_errors_total" ["listener", "why"]
        "PROXY headers that were not accepted, by what was wrong with them.";
    STALE_RESOLVER Counter "stale_resolver_connections_total" ["pair"]
        "Connections that came here after the name had moved away and its time to live was over.";
    START_TIME Gauge "start_time_seconds" []
        "When the process started, in seconds since 1970.";
}

/// One value of a metric, with its labels' values in the table's order.
#[derive(Debug)]
pub struct Sample {
    metric: &'static Metric,
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Durations(Durations),
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// Upper bounds in seconds, each with the count between it and the one
    /// before.
    pub buckets: Vec<(f64, u64)>,
    /// Durations above the last bound.
    pub above: u64,
    /// The sum of all durations in seconds.
    pub sum: f64,
}

impl Sample {
    /// A number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus has no integers; a count loses its last bit above 2^53"
    )]
    pub fn count(metric: &'static Metric, labels: &[&str], value: u64) -> Self {
        Self::number(metric, labels, value as f64)
    }

    /// A number that may be a fraction.
    pub fn number(metric: &'static Metric, labels: &[&str], value: f64) -> Self {
        Self::new(metric, labels, Value::Number(value))
    }

    /// A yes or no.
    pub fn flag(metric: &'static Metric, labels: &[&str], value: bool) -> Self {
        Self::number(metric, labels, f64::from(u8::from(value)))
    }

    /// A histogram.
    pub fn durations(metric: &'static Metric, labels: &[&str], value: Durations) -> Self {
        Self::new(metric, labels, Value::Durations(value))
    }

    fn new(metric: &'static Metric, labels: &[&str], value: Value) -> Self {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        Self {
            metric,
            labels: labels.iter().map(|&it| it.to_owned()).collect(),
            value,
        }
    }
}

/// The text for Prometheus: `samples` in the table's order, then what the
/// kernel says of the process.
pub fn exposition(samples: Vec<Sample>) -> Result<String, prometheus::Error> {
    let mut by_name: HashMap<&str, Vec<Series>> = HashMap::new();
    for sample in samples {
        by_name
            .entry(sample.metric.name)
            .or_default()
            .push(series(sample));
    }
    let mut families: Vec<MetricFamily> = ALL
        .iter()
        .filter_map(|metric| Some(family(metric, by_name.remove(metric.name)?)))
        .collect();
    families.extend(process());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

/// What the kernel says of the process.
fn process() -> Vec<MetricFamily> {
    let mut families = ProcessCollector::for_self().collect();
    let mut cpu = families.iter_mut();
    // The collector counts whole seconds: a process that takes a hundredth of a
    // core would change once in two minutes.
    if let Some(cpu) = cpu.find(|it| it.name() == "process_cpu_seconds_total") {
        let mut counter = Counter::default();
        counter.set_value(clock::cpu().as_secs_f64());
        let mut series = Series::default();
        series.set_counter(counter);
        cpu.set_metric(vec![series]);
    }
    families
}

fn family(metric: &Metric, series: Vec<Series>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(series);
    family
}

fn series(sample: Sample) -> Series {
    // To Prometheus a label without a value is no label.
    let labels = sample.metric.labels.iter().zip(sample.labels);
    let labels = labels.filter(|(_, value)| !value.is_empty());
    let pair = |(name, value): (&&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    };
    let mut series = Series::from_label(labels.map(pair).collect());
    match (sample.metric.kind, sample.value) {
        (Kind::Counter, Value::Number(value)) => {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        }
        (Kind::Gauge, Value::Number(value)) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        (Kind::Histogram, Value::Durations(durations)) => {
            series.set_histogram(histogram(&durations));
        }
        (Kind::Histogram, Value::Number(_)) | (_, Value::Durations(_)) => {
            debug_assert!(false, "{} has another kind", sample.metric.name);
        }
    }
    series
}

fn histogram(durations: &Durations) -> Histogram {
    let mut so_far = 0;
    let buckets = durations.buckets.iter().map(|&(bound, count)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(so_far + durations.above);
    histogram.set_sample_sum(durations.sum);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
            if metric.kind == Kind::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        let names: std::collections::HashSet<_> = ALL.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), ALL.len(), "each name once");
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let durations = Durations {
            buckets: vec![(0.1, 1), (1.0, 2)],
            above: 3,
            sum: 7.5,
        };
        let text = exposition(vec![
            Sample::durations(&PROBE_DURATION, &["web", ""], durations),
            Sample::count(&BYTES, &["front", "in"], 5),
        ])
        .unwrap();
        let head = "\
# HELP tandem_bytes_total Bytes moved from (in) and to (out) clients.
# TYPE tandem_bytes_total counter
tandem_bytes_total{listener=\"front\",direction=\"in\"} 5
# HELP tandem_probe_duration_seconds How long probes took.
# TYPE tandem_probe_duration_seconds histogram
tandem_probe_duration_seconds_bucket{pool=\"web\",le=\"0.1\"} 1
tandem_probe_duration_seconds_bucket{pool=\"web\",le=\"1\"} 3
tandem_probe_duration_seconds_bucket{pool=\"web\",le=\"+Inf\"} 6
tandem_probe_duration_seconds_sum{pool=\"web\"} 7.5
tandem_probe_duration_seconds_count{pool=\"web\"} 6
";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("process_open_fds"));
        let cpu = text
            .lines()
            .find_map(|it| it.strip_prefix("process_cpu_seconds_total "));
        let cpu: f64 = cpu.unwrap().parse().unwrap();
        assert!(cpu.fract() > 0.0, "{cpu}: not in whole seconds");
    }
}
