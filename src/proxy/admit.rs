//! Who may come in. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::pool::ListenerSettings;
use crate::types::plain;

/// Whether a client at `source` may use the listener: not denied, and allowed
/// if there is a list of the allowed.
/// Who has no address came in over a unix socket, whose file decides.
pub(super) fn may_enter(listener: &ListenerSettings, source: Option<IpAddr>) -> bool {
    let Some(source) = source else {
        return true;
    };
    !is_in(&listener.deny, source) && (listener.allow.is_empty() || is_in(&listener.allow, source))
}

/// Whether connections from `peer` begin with a PROXY header.
pub(super) fn sends_header(listener: &ListenerSettings, peer: Option<IpAddr>) -> bool {
    match peer {
        Some(peer) => is_in(&listener.accept_proxy, peer),
        None => listener.accept_proxy_unix,
    }
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
        assert!(may_enter(&listener, Some(outside)));
        listener.allow = vec!["10.0.0.0/8".parse().unwrap()];
        assert!(may_enter(&listener, Some(inside)) && may_enter(&listener, Some(mapped)));
        assert!(!may_enter(&listener, Some(outside)));
        listener.deny = vec!["10.1.0.0/16".parse().unwrap()];
        assert!(!may_enter(&listener, Some(inside)) && !may_enter(&listener, Some(mapped)));
    }
    #[test]
    fn who_has_no_address_is_let_in_by_the_file() {
        let name = Name::new("web").unwrap();
        let mut listener =
            ListenerSettings::new(name.clone(), "127.0.0.1:80".parse().unwrap(), name);
        listener.deny = vec!["0.0.0.0/0".parse().unwrap()];
        listener.accept_proxy = vec!["0.0.0.0/0".parse().unwrap()];
        assert!(may_enter(&listener, None));
        assert!(!sends_header(&listener, None), "that is said by itself");
        listener.accept_proxy_unix = true;
        assert!(sends_header(&listener, None));
    }
}
