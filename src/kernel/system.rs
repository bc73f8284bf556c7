//! What this machine must grant and have switched on. Nothing is changed here.

use std::fs;

use super::ruleset::Ruleset;

/// The bit of `CAP_NET_ADMIN`.
const NET_ADMIN: u64 = 1 << 12;

/// The process may not write nftables rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "plane: kernel needs CAP_NET_ADMIN, and this process does not have it: run it as root, or give \
     it AmbientCapabilities=CAP_NET_ADMIN in systemd"
)]
pub struct MissingRight;

/// Whether this process, and the `nft` that it starts, may write rules.
pub fn check_right() -> Result<(), MissingRight> {
    match fs::read_to_string("/proc/self/status") {
        Ok(status) if !may_write(&status) => Err(MissingRight),
        // Without /proc the kernel itself says no, a little later.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A program started by root has root's rights; one started by somebody else
/// has the ambient ones only.
fn may_write(status: &str) -> bool {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name))
    };
    let set = |name: &str| {
        let set = field(name).map(str::trim);
        set.and_then(|it| u64::from_str_radix(it, 16).ok())
    };
    let is_root = field("Uid:").and_then(|it| it.split_whitespace().nth(1)) == Some("0");
    let effective = set("CapEff:").unwrap_or(u64::MAX);
    let ambient = set("CapAmb:").unwrap_or(u64::MAX);
    effective & NET_ADMIN != 0 && (is_root || ambient & NET_ADMIN != 0)
}

/// The switches that must be on for `ruleset` to serve other machines, and are
/// off.
pub fn forwarding_off(ruleset: &Ruleset) -> Vec<&'static str> {
    let families = [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", true),
        (
            "net.ipv6.conf.all.forwarding",
            "net/ipv6/conf/all/forwarding",
            false,
        ),
    ];
    let is_off = |file: &str| {
        let value = fs::read_to_string(format!("/proc/sys/{file}"));
        value.is_ok_and(|it| it.trim() == "0")
    };
    families
        .into_iter()
        .filter(|(_, file, is_v4)| ruleset.has_family(*is_v4) && is_off(file))
        .map(|(name, _, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_needs_the_right_too() {
        let status = |uid: u32, effective: u64, ambient: u64| {
            format!(
                "Name:\ttandem\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n\
                 CapEff:\t{effective:016x}\nCapAmb:\t{ambient:016x}\n"
            )
        };
        assert!(may_write(&status(0, u64::MAX, 0)));
        assert!(!may_write(&status(0, !NET_ADMIN, 0)), "a container's root");
        assert!(!may_write(&status(1000, 0, 0)));
        assert!(may_write(&status(1000, NET_ADMIN, NET_ADMIN)));
        assert!(!may_write(&status(1000, NET_ADMIN, 0)), "a file's right");
    }
}
