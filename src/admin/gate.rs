//! Who may ask over TCP, by what the request says of itself. A page on the web
//! whose name is pointed at this address (DNS rebinding) asks for its own name;
//! a page that just sends requests here has an origin of its own. Pure.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Request, StatusCode, Uri, Version, header};

use crate::types::plain;

/// The names and addresses that are this node's.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    /// In lower case.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// Why a request is not answered.
pub(super) type Refusal = (StatusCode, &'static str);

const NO_HOST: Refusal = (
    StatusCode::BAD_REQUEST,
    "a request over TCP says one Host, and the same one everywhere",
);
const NOT_OURS: Refusal = (
    StatusCode::MISDIRECTED_REQUEST,
    "Host is neither a name nor an address of this node; admin.hosts in lb.yaml adds one",
);
const FOREIGN: Refusal = (
    StatusCode::FORBIDDEN,
    "this comes from a page of another origin",
);

impl Gate {
    /// A gate that knows `names`: host names and addresses, without ports.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut gate = Self {
            names: vec!["localhost".to_owned()],
            addresses: Vec::new(),
        };
        for name in names {
            match address_in(&name) {
                Some(address) => gate.addresses.push(address),
                None => gate.names.push(bare(&name)),
            }
        }
        gate.names.retain(|it| !it.is_empty());
        gate
    }

    /// Whether `request` may be answered that came to the socket at `local`.
    /// `is_ours` tells whether an address is one of this machine's.
    pub(super) fn check<B>(
        &self,
        request: &Request<B>,
        local: Option<SocketAddr>,
        is_ours: impl Fn(IpAddr) -> bool,
    ) -> Result<(), Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        let is_nameless = uri.authority().is_none() && !headers.contains_key(header::HOST);
        let is_old = request.version() == Version::HTTP_10;
        if is_nameless && is_old && !headers.contains_key(header::ORIGIN) {
            // A plain health check, and no browser: those always say Host.
            return Ok(());
        }
        let host = host(uri, headers).ok_or(NO_HOST)?;
        let name = without_port(host).ok_or(NOT_OURS)?;
        let known = match address_in(name) {
            Some(address) => {
                let is_socket = local.is_some_and(|it| plain(it.ip()) == address);
                is_socket || self.addresses.contains(&address) || is_ours(address)
            }
            None => self.names.contains(&bare(name)),
        };
        if !known {
            return Err(NOT_OURS);
        }
        for origin in headers.get_all(header::ORIGIN) {
            let authority = origin.to_str().ok().and_then(|it| it.split_once("://"));
            let is_same =
                authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
            if !is_same {
                return Err(FOREIGN);
            }
        }
        Ok(())
    }
}

/// The host that a request names, if it names one and no other.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut all = headers.get_all(header::HOST).iter();
    let host = all.next()?.to_str().ok()?;
    if all.next().is_some() {
        return None;
    }
    match uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => None,
        Some(_) | None => Some(host),
    }
}

/// `name`, `name:80`, `10.0.0.1:80`, `[::1]`, `[::1]:80` without the port.
fn without_port(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let port = port.strip_prefix(':').unwrap_or(port);
    port.bytes().all(|b| b.is_ascii_digit()).then_some(name)
}

fn address_in(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address: IpAddr = inner.unwrap_or(name).parse().ok()?;
    Some(plain(address))
}

fn bare(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str, headers: &[(&'static str, &str)]) -> Result<(), StatusCode> {
        ask_as(Version::HTTP_11, uri, headers)
    }

    fn ask_as(
        version: Version,
        uri: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(), StatusCode> {
        let gate = Gate::new([
            "LB1".to_owned(),
            "lb.example.com.".to_owned(),
            "192.0.2.9".to_owned(),
        ]);
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let local = Some("[::ffff:10.0.0.5]:9127".parse().unwrap());
        let is_ours = |it: IpAddr| it == IpAddr::from([10, 0, 0, 6]);
        let asked = gate.check(&request, local, is_ours);
        asked.map_err(|(status, _)| status)
    }

    #[test]
    fn a_name_of_somebody_else_is_not_answered() {
        for host in [
            "localhost",
            "LOCALHOST:9127",
            "lb1:9127",
            "lb.example.com.:9127",
            "lb.example.com",
            "10.0.0.5:9127",
            "[::ffff:10.0.0.5]:9127",
            "10.0.0.6",
            "192.0.2.9:80",
        ] {
            assert_eq!(ask("/metrics", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9127",
            "localhost.evil.example",
            "lb1.evil.example",
            "10.0.0.7:9127",
            "[::1]:9127",
            "localhost:9127@evil.example",
            "localhost:x",
            "10.0.0.5.evil.example",
            "",
            "[",
            "[]",
        ] {
            let refused = Err(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(ask("/metrics", &[("host", host)]), refused, "{host}");
        }
    }

    #[test]
    fn a_host_is_said_once() {
        let bad = Err(StatusCode::BAD_REQUEST);
        assert_eq!(ask("/", &[]), bad);
        assert_eq!(
            ask("/", &[("host", "localhost"), ("host", "localhost")]),
            bad
        );
        assert_eq!(ask("http://evil.example/", &[("host", "localhost")]), bad);
        assert_eq!(ask("http://localhost/", &[("host", "localhost")]), Ok(()));
        // HTTP/1.0 has no Host, and health checks of other programs speak it.
        let old = |headers: &[(&'static str, &str)]| ask_as(Version::HTTP_10, "/", headers);
        assert_eq!(old(&[]), Ok(()));
        assert_eq!(old(&[("origin", "http://evil.example")]), bad);
        let refused = Err(StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(old(&[("host", "evil.example")]), refused);
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let refused = Err(StatusCode::FORBIDDEN);
        let host = ("host", "localhost:9127");
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost",
            "http://localhost:3000",
        ] {
            assert_eq!(ask("/", &[host, ("origin", origin)]), refused, "{origin}");
        }
        assert_eq!(
            ask("/", &[host, ("origin", "http://localhost:9127")]),
            Ok(())
        );
    }
}
