//! Who may come in. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::pool::ListenerSettings;
use crate::types::plain;

/// Whether a client at `source` may use the listener: not denied, and allowed
/// if there is a list of the allowed.
pub(super) fn may_enter(listener: &ListenerSettings, source: IpAddr) -> bool {
    !is_in(&listener.deny, source) && (listener.allow.is_empty() || is_in(&listener.allow, source))
}

/// Whether connections from `peer` begin with a PROXY header.
pub(super) fn sends_header(listener: &ListenerSettings, peer: IpAddr) -> bool {
    is_in(&listener.accept_proxy, peer)
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = plain(address);
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Name;

    #[test]
    fn deny_wins_over_allow_and_no_list_lets_everyone_in() {
        let name = Name::new("web").unwrap();
        let mut listener =
            ListenerSettings::new(name.clone(), "127.0.0.1:80".parse().unwrap(), name);
        let inside: IpAddr = "10.1.2.3".parse().unwrap();
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        assert!(may_enter(&listener, outside));
        listener.allow = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(may_enter(&listener, inside) && may_enter(&listener, mapped));
        assert!(!may_enter(&listener, outside));
        listener.deny = vec!["10.1.0.0/16".parse().unwrap()];
        assert!(!may_enter(&listener, inside) && !may_enter(&listener, mapped));
    }
}
