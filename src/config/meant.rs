//! What somebody meant who wrote a key that is not ours. Pure.

use super::scalar::nearest;

/// Words of other balancers, and ours.
const SYNONYMS: [(&str, &str); 17] = [
    ("address", "bind"),
    ("algorithm", "policy"),
    ("backup_servers", "backends"),
    ("balance", "policy"),
    ("check", "probe"),
    ("frontends", "listeners"),
    ("global", "process"),
    ("health", "probe"),
    ("health_check", "probe"),
    ("listen", "bind"),
    ("maxconn", "max_connections"),
    ("max_conns", "max_connections"),
    ("members", "backends"),
    ("port", "bind"),
    ("servers", "backends"),
    ("timeout", "connect_timeout"),
    ("upstreams", "pools"),
];

/// The one of `known` that `name` means, if one is near, and what to write.
pub(super) fn key(name: &str, known: &[&'static str]) -> (Option<&'static str>, String) {
    let in_probe = ["fall", "interval", "path", "rise"].contains(&name);
    if in_probe && known.contains(&"probe") {
        let hint = format!("{name} belongs into probe: {{ type: ..., {name}: ... }}");
        return (None, hint);
    }
    let synonym = SYNONYMS.iter().find(|(word, _)| *word == name);
    let synonym = synonym.and_then(|(_, ours)| known.iter().find(|it| *it == ours));
    let meant = synonym
        .copied()
        .or_else(|| nearest(name, known.iter().copied()));
    let hint = match meant {
        Some(ours) => format!("did you mean {ours:?}?"),
        None => format!("known here: {}", known.join(", ")),
    };
    (meant, hint)
}
