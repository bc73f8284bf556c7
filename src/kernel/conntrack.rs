//! The connections that the kernel follows.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{attributes, netlink};

/// Subsystem conntrack, `IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
/// Every family.
const ANY: u8 = 0;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const PROTOCOL_STATE: u16 = 4;
const TCP: u8 = 6;

/// From the answered SYN to the last FIN's acknowledgement: TIME_WAIT and the
/// like only keep the ports.
const OPEN: std::ops::RangeInclusive<u8> = 2..=6;

/// A TCP connection that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// What the client has connected to.
    pub(super) to: SocketAddr,
    /// Who answers.
    pub(super) from: SocketAddr,
}

/// Hands over every open TCP connection.
pub(super) fn each(mut take: impl FnMut(Flow)) -> io::Result<()> {
    netlink::dump(GET, ANY, &[], |entry| {
        if let Some(flow) = flow(entry) {
            take(flow);
        }
    })
}

fn flow(entry: &[u8]) -> Option<Flow> {
    let state = attributes::find(entry, PROTOCOL_STATE)?;
    let state = attributes::find(state, 1).and_then(|tcp| attributes::find(tcp, 1))?;
    if !OPEN.contains(state.first()?) {
        return None;
    }
    let end = |side: u16, is_source: bool| endpoint(attributes::find(entry, side)?, is_source);
    Some(Flow {
        to: end(ORIGINAL, false)?,
        from: end(REPLY, true)?,
    })
}

fn endpoint(tuple: &[u8], is_source: bool) -> Option<SocketAddr> {
    let (addresses, protocol) = (attributes::find(tuple, 1)?, attributes::find(tuple, 2)?);
    if attributes::find(protocol, 1)? != [TCP] {
        return None;
    }
    let [v4, v6, port] = if is_source { [1, 3, 2] } else { [2, 4, 3] };
    let v4 =
        attributes::find(addresses, v4).and_then(|it| Some(<[u8; 4]>::try_from(it).ok()?.into()));
    let v6 = || {
        attributes::find(addresses, v6).and_then(|it| Some(<[u8; 16]>::try_from(it).ok()?.into()))
    };
    let address: IpAddr = v4.or_else(v6)?;
    let port = attributes::find(protocol, port).and_then(attributes::port)?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nest(kind: u16, inner: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (kind, bytes) in inner {
            attributes::push(&mut payload, *kind, bytes);
        }
        let mut out = Vec::new();
        attributes::push(&mut out, kind | 0x8000, &payload);
        out
    }

    fn tuple(kind: u16, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
        let ips = nest(1, &[(1, &from.0), (2, &to.0)]);
        let protocol = nest(
            2,
            &[
                (1, &[TCP]),
                (2, &from.1.to_be_bytes()),
                (3, &to.1.to_be_bytes()),
            ],
        );
        let mut out = Vec::new();
        attributes::push(&mut out, kind | 0x8000, &[ips, protocol].concat());
        out
    }

    fn entry(state: u8) -> Vec<u8> {
        let tcp = nest(1, &[(1, &[state])]);
        let mut protocol_state = Vec::new();
        attributes::push(&mut protocol_state, PROTOCOL_STATE | 0x8000, &tcp);
        [
            tuple(ORIGINAL, ([192, 0, 2, 1], 5000), ([10, 0, 0, 1], 80)),
            tuple(REPLY, ([10, 0, 0, 11], 8080), ([10, 0, 0, 1], 5000)),
            protocol_state,
        ]
        .concat()
    }

    #[test]
    fn a_flow_is_where_it_went_and_who_answers() {
        let wanted = Flow {
            to: "10.0.0.1:80".parse().unwrap(),
            from: "10.0.0.11:8080".parse().unwrap(),
        };
        assert_eq!(flow(&entry(3)), Some(wanted));
        assert_eq!(flow(&entry(7)), None, "TIME_WAIT is over");
        assert_eq!(flow(&entry(1)), None, "nobody has answered yet");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(0u8..6, 0..200), at: usize, byte: u8) {
            let _nothing = flow(&bytes);
            bytes = entry(3);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _any = flow(&bytes);
        }
    }
}
