//! `admin:`

use std::net::SocketAddr;
use std::path::Path;

use crate::admin::{AdminSettings, Histograms};
use crate::config::fields::Fields;
use crate::config::node::Node;
use crate::config::reader::Reader;
use crate::config::scalar::{Parsed, Wrong, ip, or_off, socket, word, wrong};
use crate::config::surroundings::Surroundings;
use crate::types::{Secret, UnixFile};

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> AdminSettings {
    let mut settings = AdminSettings::default();
    let known = [
        "bind",
        "socket",
        "hosts",
        "histograms",
        "token",
        "token_file",
    ];
    let Some(admin) = reader.fields(node, "admin", &known) else {
        return settings;
    };
    reader.public(|it| it.set(&admin, "bind", &mut settings.bind, or_off(address)));
    let around = reader.around();
    let path = |text: &str| path(text, around);
    reader.public(|it| it.set(&admin, "socket", &mut settings.socket, or_off(path)));
    if let Some(hosts) = reader.list(&admin, "hosts", host) {
        settings.hosts = hosts.into_iter().map(|(_, host)| host).collect();
    }
    let histograms = word(&Histograms::WORDS);
    reader.set(&admin, "histograms", &mut settings.histograms, histograms);
    settings.token = token(&admin, reader);
    settings
}

fn token(admin: &Fields<'_>, reader: &mut Reader<'_>) -> Option<Secret> {
    let path = admin.path("token");
    let (node, secret) = match (admin.get("token"), admin.get("token_file")) {
        (Some(node), Some(_)) => {
            let what = "token and token_file are both there";
            reader.fault(node.at, path, what, "keep one of them");
            return None;
        }
        (Some(node), None) => (node, reader.secret(node, &path)?),
        (None, Some(node)) => (node, reader.secret_file(node, &admin.path("token_file"))?),
        (None, None) => return None,
    };
    if secret.expose().len() < SHORTEST_TOKEN {
        let what = format!("the token has fewer than {SHORTEST_TOKEN} characters");
        reader.fault(node.at, path, what, "make one: openssl rand -hex 32");
        return None;
    }
    Some(secret)
}

fn address(text: &str) -> Parsed<SocketAddr> {
    match socket(text) {
        Some(address) => Ok(address),
        None if text.starts_with(':') => wrong(
            format!("{text:?} would be reachable for everybody"),
            format!("write 127.0.0.1{text}, or 0.0.0.0{text} if you mean it"),
        ),
        None => wrong(
            format!("{text:?} is not an address"),
            "like 127.0.0.1:9127 or [::1]:9127, or off",
        ),
    }
}

/// A name or an address as a client writes it, without a port.
fn host(text: &str) -> Parsed<String> {
    let is_address = ip(text).is_some();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if is_address || (!text.is_empty() && text.len() < 254 && text.chars().all(is_part)) {
        return Ok(text.to_owned());
    }
    wrong(
        format!("{text:?} is not a name or an address without a port"),
        "like lb1.example.com, 192.0.2.7 or \"2001:db8::7\"",
    )
}

/// As the path of a `bind`; a relative one begins where lb.yaml is, as those of
/// other files do.
fn path(text: &str, around: &dyn Surroundings) -> Parsed<UnixFile> {
    let hint = "like /run/tandem/admin.sock, or off";
    let bare = text.strip_prefix("unix:").unwrap_or(text);
    let absolute = match bare {
        "" => return wrong("is empty", hint),
        name if name.starts_with('@') => name.to_owned(),
        path => around.absolute(Path::new(path)).display().to_string(),
    };
    UnixFile::parse(&absolute).map_err(|error| Wrong {
        what: error.to_string(),
        hint: Some(hint.to_owned()),
    })
}
