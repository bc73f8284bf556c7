//! The request of an HTTP probe. Whatever of these types exists can be sent as
//! it stands. Pure.

use std::fmt;

use hyper::Method;
use hyper::http::uri::{Authority, PathAndQuery};

/// The line and the Host header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// What is asked for.
    pub method: HttpMethod,
    /// Of what.
    pub path: HttpPath,
    /// Of whom; `None`: the backend's address.
    pub host: Option<HttpHost>,
}

/// The methods that change nothing at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
}

impl HttpMethod {
    /// Each, and the word for it.
    pub const WORDS: [(&str, Self); 3] = [
        (Self::Get.as_str(), Self::Get),
        (Self::Head.as_str(), Self::Head),
        (Self::Options.as_str(), Self::Options),
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

impl From<HttpMethod> for Method {
    fn from(method: HttpMethod) -> Self {
        match method {
            HttpMethod::Get => Self::GET,
            HttpMethod::Head => Self::HEAD,
            HttpMethod::Options => Self::OPTIONS,
        }
    }
}

/// Why a text cannot be part of a request, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {hint}")]
pub struct Unsendable {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

fn unsendable<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Unsendable> {
    Err(Unsendable {
        what: what.into(),
        hint: hint.into(),
    })
}

/// Path and query, beginning with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPath(PathAndQuery);

impl HttpPath {
    /// `/`
    pub fn root() -> Self {
        Self(PathAndQuery::from_static("/"))
    }

    /// The path in `text`, every byte of which is sent.
    pub fn parse(text: &str) -> Result<Self, Unsendable> {
        if !text.starts_with('/') {
            return unsendable(format!("{text:?} is not a path"), "a path begins with /");
        }
        if text.contains('#') {
            let what = "what follows a # is never sent to a server";
            return unsendable(what, "leave it out; or write %23, if the # is meant");
        }
        match PathAndQuery::try_from(text) {
            Ok(path) if path.as_str() == text && text.is_ascii() => Ok(Self(path)),
            Ok(_) | Err(_) => Err(what_cannot_stand(text)),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn to_http(&self) -> PathAndQuery {
        self.0.clone()
    }
}

fn what_cannot_stand(text: &str) -> Unsendable {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let cannot = |before: &str, c: char| PathAndQuery::try_from(format!("{before}{c}")).is_err();
    let in_path = path.chars().find(|&c| !c.is_ascii() || cannot("/", c));
    let found = in_path.or_else(|| {
        let mut query = query.chars();
        query.find(|&c| !c.is_ascii() || cannot("/?", c))
    });
    let Some(found) = found else {
        return Unsendable {
            what: "the path is too long".to_owned(),
            hint: "some thousands of characters at the most".to_owned(),
        };
    };
    let mut bytes = [0; 4];
    let bytes = found.encode_utf8(&mut bytes).bytes();
    let encoded: String = bytes.map(|b| format!("%{b:02X}")).collect();
    Unsendable {
        what: format!("{found:?} cannot stand in a path"),
        hint: format!("write {encoded}"),
    }
}

/// What stands in the Host header: a name or an address, and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHost(Authority);

impl HttpHost {
    /// The host in `text`.
    pub fn parse(text: &str) -> Result<Self, Unsendable> {
        let hint = "like www.example.com or www.example.com:8080";
        match Authority::try_from(text) {
            Ok(host) if !text.contains('@') && !host.host().is_empty() => Ok(Self(host)),
            Ok(_) | Err(_) => unsendable(format!("{text:?} is not a host name"), hint),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Without the port, and without the brackets of an IPv6 address.
    pub fn name(&self) -> &str {
        let host = self.0.host();
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        bare.unwrap_or(host)
    }
}

impl fmt::Display for HttpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_sent_is_no_path_and_says_what_to_write() {
        let why = |text| HttpPath::parse(text).unwrap_err().to_string();
        assert_eq!(why("/x?q=<a|b>^"), "'<' cannot stand in a path; write %3C");
        assert_eq!(why("/é"), "'é' cannot stand in a path; write %C3%A9");
        assert_eq!(why("/a b"), "' ' cannot stand in a path; write %20");
        assert!(why("/x#frag").starts_with("what follows a #"));
        assert!(why("x").contains("begins with /"));
        assert_eq!(
            why(&format!("/{}", "x".repeat(70_000))).split(';').next(),
            Some("the path is too long")
        );
        let good = "/x?q=%3Ca|b%3E&r=1/2?3";
        assert_eq!(HttpPath::parse(good).unwrap().as_str(), good);
    }

    #[test]
    fn a_host_may_have_a_port_and_no_user() {
        for (good, name) in [
            ("www.example.com", "www.example.com"),
            ("www.example.com:8080", "www.example.com"),
            ("[::1]:8080", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            let host = HttpHost::parse(good).unwrap();
            assert_eq!((host.as_str(), host.name()), (good, name));
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "root@a",
            "a\r\nX: y",
            "a\0b",
            "é.example",
        ] {
            assert!(HttpHost::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_sent_as_it_stands(text in "/[ -~äß]{0,12}", host in "[ -~]{1,12}") {
            if let Ok(path) = HttpPath::parse(&text) {
                prop_assert_eq!(hyper::Uri::from(path.to_http()).to_string(), text);
            }
            if let Ok(host) = HttpHost::parse(&host) {
                prop_assert!(HeaderValue::from_str(host.as_str()).is_ok());
            }
        }
    }
}
