//! The inside of the network namespace: loopback up, ports for a long run.

use std::fs;
use std::process::Command;

use crate::child::said;
use crate::fault::{Fault, While};
use crate::subjects;

pub(crate) fn set_up() -> Result<(), Fault> {
    said(Command::new("ip").args(["link", "set", "lo", "up"]))
        .doing(|| "the network namespace (needs root and iproute2)".to_owned())?;
    // Short connections burn ports and leave TIME_WAIT behind.
    let settings = [
        ("net/ipv4/ip_local_reserved_ports", subjects::PORTS),
        ("net/ipv4/ip_local_port_range", "1024 65535"),
        ("net/ipv4/tcp_tw_reuse", "1"),
        ("net/ipv4/tcp_max_tw_buckets", "262144"),
        ("net/ipv4/tcp_max_syn_backlog", "16384"),
        ("net/core/somaxconn", "16384"),
    ];
    for (key, value) in settings {
        fs::write(format!("/proc/sys/{key}"), value).doing(|| format!("/proc/sys/{key}"))?;
    }
    Ok(())
}
