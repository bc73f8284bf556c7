//! What is measured of the pair, its register and its name server. The public
//! name is in each label set: two pairs of one Prometheus job do not hide each
//! other.

use super::durations;
use crate::app::registry::Registry;
use crate::app::twin::Twin;
use crate::metrics::{self, Durations, Metric, Sample};
use crate::pair::Role;

pub(super) fn pair(twin: &Twin, out: &mut Vec<Sample>) {
    let mut out = Out {
        pair: twin.public_name(),
        out,
    };
    election(twin, &mut out);
    link(twin, &mut out);
    for it in twin.observed() {
        let server = it.server.to_string();
        out.flag(&metrics::DNS_OBSERVED_MATCH, &[&server], it.matches);
    }
    if let Some(registry) = twin.registry() {
        register(registry, &mut out);
    }
    if let Some(dns) = twin.dns() {
        let counts = dns.counts();
        for (word, count) in counts.answers.iter().chain(&counts.unanswered) {
            out.count(&metrics::DNS_QUERIES, &[word], *count);
        }
    }
}

fn election(twin: &Twin, out: &mut Out<'_>) {
    let record = twin.record();
    if let Some(view) = twin.view() {
        for role in Role::ALL {
            out.flag(&metrics::PAIR_ROLE, &[role.as_str()], view.role == role);
        }
        let drifted = view.twins.iter().any(|it| it.is_up && it.has_drifted);
        out.count(&metrics::PAIR_TERM, &[], view.term.0);
        out.flag(&metrics::PAIR_CONFIG_DRIFT, &[], drifted);
        let holds = view.role == Role::Holder;
        out.flag(&metrics::DNS_HOLDS_NAME, &[], holds);
        for it in &view.twins {
            let labels = [it.name.as_str()];
            out.flag(&metrics::PAIR_TWIN_UP, &labels, it.is_up);
            if let Some(rtt) = twin.link().rtt(&it.name).filter(|_| it.is_up) {
                out.number(&metrics::PAIR_RTT, &labels, rtt.as_secs_f64());
            }
        }
    }
    for ((to, why), count) in record.transitions() {
        out.count(&metrics::PAIR_TRANSITIONS, &[to, why], count);
    }
    out.count(&metrics::STALE_RESOLVER, &[], record.stale());
}

fn link(twin: &Twin, out: &mut Out<'_>) {
    let (sent, received) = twin.link().traffic();
    out.count(&metrics::PAIR_HEARTBEATS, &["sent"], sent);
    out.count(&metrics::PAIR_HEARTBEATS, &["received"], received);
    let old = [("old", twin.old_heartbeats())];
    for (why, count) in twin.link().dropped().chain(old) {
        out.count(&metrics::PAIR_DROPPED, &[why], count);
    }
}

fn register(registry: &Registry, out: &mut Out<'_>) {
    const PROVIDER: &str = "rfc2136";
    let took = durations(&registry.durations());
    out.durations(&metrics::DNS_UPDATE_DURATION, &[PROVIDER], took);
    for (result, count) in registry.reads() {
        out.count(&metrics::DNS_READS, &[PROVIDER, result], count);
    }
    for (result, count) in registry.updates() {
        out.count(&metrics::DNS_UPDATES, &[PROVIDER, result], count);
    }
}

/// Samples that begin with the pair.
struct Out<'o> {
    pair: String,
    out: &'o mut Vec<Sample>,
}

impl Out<'_> {
    fn count(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        let sample = Sample::count(metric, &self.labels(labels), value);
        self.out.push(sample);
    }

    fn flag(&mut self, metric: &'static Metric, labels: &[&str], value: bool) {
        self.count(metric, labels, value.into());
    }

    fn number(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let sample = Sample::number(metric, &self.labels(labels), value);
        self.out.push(sample);
    }

    fn durations(&mut self, metric: &'static Metric, labels: &[&str], value: Durations) {
        let sample = Sample::durations(metric, &self.labels(labels), value);
        self.out.push(sample);
    }

    fn labels<'l>(&'l self, labels: &[&'l str]) -> Vec<&'l str> {
        let first = [self.pair.as_str()].into_iter();
        first.chain(labels.iter().copied()).collect()
    }
}
