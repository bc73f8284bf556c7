//! What is measured of the pair, its register and its name server.

use super::durations;
use crate::app::registry::Registry;
use crate::app::twin::Twin;
use crate::metrics::{self, Sample};
use crate::pair::Role;

pub(super) fn pair(twin: &Twin, out: &mut Vec<Sample>) {
    let record = twin.record();
    if let Some(view) = twin.view() {
        for role in Role::ALL {
            let labels = [role.as_str()];
            out.push(Sample::flag(
                &metrics::PAIR_ROLE,
                &labels,
                view.role == role,
            ));
        }
        let drifted = view.twins.iter().any(|it| it.is_up && it.has_drifted);
        out.extend([
            Sample::count(&metrics::PAIR_TERM, &[], view.term.0),
            Sample::flag(&metrics::PAIR_CONFIG_DRIFT, &[], drifted),
            Sample::flag(&metrics::DNS_HOLDS_NAME, &[], view.role == Role::Holder),
        ]);
        for it in &view.twins {
            let labels = [it.name.as_str()];
            out.push(Sample::flag(&metrics::PAIR_TWIN_UP, &labels, it.is_up));
            if let Some(rtt) = twin.link().rtt(&it.name).filter(|_| it.is_up) {
                let rtt = rtt.as_secs_f64();
                out.push(Sample::number(&metrics::PAIR_RTT, &labels, rtt));
            }
        }
    }
    for ((to, why), count) in record.transitions() {
        out.push(Sample::count(&metrics::PAIR_TRANSITIONS, &[to, why], count));
    }
    let (sent, received) = twin.link().traffic();
    out.extend([
        Sample::count(&metrics::PAIR_HEARTBEATS, &["sent"], sent),
        Sample::count(&metrics::PAIR_HEARTBEATS, &["received"], received),
        Sample::count(&metrics::STALE_RESOLVER, &[], record.stale()),
    ]);
    let old = [("old", twin.old_heartbeats())];
    for (why, count) in twin.link().dropped().chain(old) {
        out.push(Sample::count(&metrics::PAIR_DROPPED, &[why], count));
    }
    for it in twin.observed() {
        let server = it.server.to_string();
        let labels = [server.as_str()];
        out.push(Sample::flag(
            &metrics::DNS_OBSERVED_MATCH,
            &labels,
            it.matches,
        ));
    }
    if let Some(registry) = twin.registry() {
        out.push(Sample::durations(
            &metrics::DNS_UPDATE_DURATION,
            &["rfc2136"],
            durations(&registry.durations()),
        ));
    }
    for (result, count) in twin.registry().into_iter().flat_map(Registry::reads) {
        let labels = ["rfc2136", result];
        out.push(Sample::count(&metrics::DNS_READS, &labels, count));
    }
    for (result, count) in twin.registry().into_iter().flat_map(Registry::updates) {
        let labels = ["rfc2136", result];
        out.push(Sample::count(&metrics::DNS_UPDATES, &labels, count));
    }
    if let Some(dns) = twin.dns() {
        let counts = dns.counts();
        for (word, count) in counts.answers.iter().chain(&counts.unanswered) {
            out.push(Sample::count(&metrics::DNS_QUERIES, &[word], *count));
        }
    }
}
