//! Connections that do nothing: what they cost in memory and in CPU.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::sched;

use super::meter::Meter;
use super::{Memory, Outcome, Spec, connect_all, hello, say_hello};

/// After the last close, before memory is looked at again.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn run(spec: &Spec, count: usize) -> Result<Outcome, Fault> {
    let proxy = &spec.watched.proxy;
    // What a first connection needs belongs to the base.
    drop(say_hello(spec.targets[0])?);
    rest(SETTLE);
    let base = sched::pss(proxy)?;
    let slab = sched::slab()?;
    let mut sockets = connect_all(spec, count)?;
    let mut meter = Meter::new(spec)?;
    loop {
        let now = Instant::now();
        if !meter.goes_on(now)? {
            break;
        }
        rest(meter.patience(now));
    }
    let full = sched::pss(proxy)?;
    let slab = sched::slab()?.saturating_sub(slab);
    // They are worth what they cost only if they still work.
    for socket in &mut sockets {
        if let Err(fault) = hello(socket) {
            meter.errors.add(format!("after the silence: {fault}"));
        }
    }
    drop(sockets);
    rest(SETTLE);
    let memory = Memory {
        connections: count,
        base,
        full,
        after: sched::pss(proxy)?,
        slab,
    };
    let mut outcome = meter.idle(count);
    outcome.memory = Some(memory);
    Ok(outcome)
}

/// Nothing is to happen meanwhile.
fn rest(time: Duration) {
    std::thread::sleep(time);
}
