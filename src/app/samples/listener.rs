//! What is measured of a listener.

use super::durations;
use crate::kernel::Measured;
use crate::metrics::{self, Sample};
use crate::pool::{ListenerView, Totals};
use crate::types::{BadHeader, Reason};

/// What turns a client away before any backend has a say.
const REJECTIONS: [Reason; 8] = [
    Reason::BadProxyHeader,
    Reason::Denied,
    Reason::DeniedLocally,
    Reason::Limit,
    Reason::NoSource,
    Reason::OutOfFds,
    Reason::OutOfMemory,
    Reason::OutOfPorts,
];

pub(super) fn of_the_kernel(kernel: &Measured, view: &ListenerView, out: &mut Vec<Sample>) {
    let labels = [view.door.listener.name.as_str()];
    let (open, accepted) = kernel.of_listener(view.door.id.0);
    let accepted =
        accepted.map(|it| Sample::count(&metrics::LISTENER_CONNECTIONS_TOTAL, &labels, it));
    let open = open.map(|it| Sample::count(&metrics::LISTENER_CONNECTIONS, &labels, u64::from(it)));
    out.extend(accepted.into_iter().chain(open));
}

pub(super) fn of_the_workers(view: &ListenerView, out: &mut Vec<Sample>) {
    let live = &view.door.live;
    let name = view.door.listener.name.as_str();
    let pool = view.door.listener.pool.as_str();
    let cells = &live.cells;
    // In this order: whoever stalls in between is not counted below zero.
    let ended = cells.sum(|it| it.stalls_ended.get());
    let begun = cells.sum(|it| it.stalls_begun.get());
    out.extend([
        Sample::count(
            &metrics::LISTENER_CONNECTIONS_TOTAL,
            &[name],
            cells.sum(|it| it.accepted.get()),
        ),
        Sample::count(&metrics::LISTENER_CONNECTIONS, &[name], live.open().into()),
        Sample::count(
            &metrics::LISTENER_STALLED,
            &[name],
            begun.saturating_sub(ended),
        ),
        Sample::count(
            &metrics::BYTES,
            &[name, "in"],
            cells.sum(|it| it.bytes_in.get()),
        ),
        Sample::count(
            &metrics::BYTES,
            &[name, "out"],
            cells.sum(|it| it.bytes_out.get()),
        ),
    ]);
    for reason in Reason::ALL {
        let count = cells.sum(|it| it.finished[reason as usize].get());
        let labels = [name, pool, reason.as_str()];
        out.push(Sample::count(
            &metrics::CONNECTIONS_FINISHED,
            &labels,
            count,
        ));
    }
    for reason in REJECTIONS {
        let count = cells.sum(|it| it.rejected[reason as usize].get());
        let labels = [name, reason.as_str()];
        out.push(Sample::count(&metrics::LISTENER_REJECTED, &labels, count));
    }
    // Nobody else sends any.
    if !view.door.listener.accept_proxy.is_empty() {
        for why in BadHeader::ALL {
            let count = cells.sum(|it| it.bad_headers[why as usize].get());
            let labels = [name, why.as_str()];
            out.push(Sample::count(&metrics::PROXY_HEADER_ERRORS, &labels, count));
        }
    }
    let mut total = Totals::default();
    cells.iter().for_each(|it| it.duration.add_to(&mut total));
    let durations = durations(&total);
    out.push(Sample::durations(
        &metrics::CONNECTION_DURATION,
        &[name],
        durations,
    ));
}
