//! The kernel's own balancing: destination NAT by nftables, connections to the
//! backends in turn. The rules, and with them connection tracking, are in the
//! namespace only while they are measured.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::child::said;
use crate::fault::{Fault, While};

use super::{Instance, NFT_PORT, backends, first_line};

const TABLE: &str = "versus";

pub(super) fn version() -> Result<String, Fault> {
    first_line(Command::new("nft").arg("--version"), "install nftables")
}

pub(super) fn instance() -> Result<Instance, Fault> {
    // A run opens more connections than would fit at two minutes each.
    let rules = Rules::load()?;
    let key = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";
    fs::write(key, "5").doing(|| key.to_owned())?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, NFT_PORT));
    Ok(Instance {
        targets: vec![target],
        process: None,
        _rules: Some(rules),
    })
}

/// Removed when dropped.
pub(crate) struct Rules(());

impl Rules {
    fn load() -> Result<Self, Fault> {
        let backends = backends();
        let mut map = String::new();
        for (at, backend) in backends.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let written = write!(map, "{comma}{at} : {}", backend.ip());
            written?;
        }
        let text = format!(
            "table ip {TABLE} {{ chain output {{ \
             type nat hook output priority -100; \
             ip daddr 127.0.0.1 tcp dport {NFT_PORT} \
             dnat to numgen inc mod {} map {{ {map} }} ; }} ; }}",
            backends.len()
        );
        said(Command::new("nft").arg(&text)).doing(|| "the nftables rules".to_owned())?;
        Ok(Self(()))
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // The namespace goes anyway; a failure here shows as a failing `direct`.
        let _ = said(Command::new("nft").args(["delete", "table", "ip", TABLE]));
    }
}
