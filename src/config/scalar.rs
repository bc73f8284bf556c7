//! Single values: text -> what it means, or what is wrong with it. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::types::{plain, plain_network, plain_socket};

/// Why a text is not a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

pub(super) type Parsed<T> = Result<T, Wrong>;

pub(super) fn wrong<T>(what: impl Into<String>, hint: impl Into<String>) -> Parsed<T> {
    Err(Wrong {
        what: what.into(),
        hint: Some(hint.into()),
    })
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Nothing that a balancer waits for takes longer.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// `250ms`, `5s`, `1m30s`, `8h`. Not zero.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return wrong(
            format!("{text:?} has no unit"),
            format!("write {text}s or {text}ms"),
        );
    }
    let Some(millis) = millis(text) else {
        return wrong(
            format!("{text:?} is not a duration"),
            "a number and ms, s, m, h or d, like 250ms, 5s or 1m30s",
        );
    };
    let duration = Duration::from_millis(millis);
    if duration.is_zero() {
        return wrong("a duration is more than zero", "the shortest is 1ms");
    }
    if duration > LONGEST {
        return wrong(format!("{text:?} is too long"), "365d at the most");
    }
    Ok(duration)
}

fn millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit());
        let unit_end = unit_end.map_or(rest.len(), |it| digits + it);
        let unit = &rest[digits..unit_end];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, factor) in UNITS.iter().rev() {
        if left >= *factor {
            text.push_str(&format!("{}{name}", left / factor));
            left %= factor;
        }
    }
    text
}

/// Whether somebody who writes `text` wants something switched off.
pub(super) fn means_off(text: &str) -> bool {
    let words = ["false", "no", "none", "never", "disabled"];
    words.contains(&text) || ["0", "0s", "0ms"].contains(&text)
}

/// What may be switched off by saying so.
pub(super) fn or_off<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| match text {
        "off" => Ok(None),
        _ if means_off(text) => wrong(format!("{text:?} is not how to switch it off"), "write off"),
        _ => parse(text).map(Some),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn number(least: u64, most: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if is_plain && (least..=most).contains(&number) => Ok(number),
            Ok(_) | Err(_) if is_plain => wrong(
                format!("{text:?} is out of range"),
                format!("a number from {least} to {most}"),
            ),
            Ok(_) | Err(_) => wrong(
                format!("{text:?} is not a number"),
                format!("a number from {least} to {most}"),
            ),
        }
    }
}

/// The same as a `u32`.
pub(super) fn number32(least: u32, most: u32) -> impl Fn(&str) -> Parsed<u32> {
    move |text| {
        let parsed = number(least.into(), most.into())(text)?;
        Ok(u32::try_from(parsed).unwrap_or(most))
    }
}

/// `30%`
pub(super) fn percent(least: u8, most: u8) -> impl Fn(&str) -> Parsed<u8> {
    move |text| {
        let Some(bare) = text.strip_suffix('%') else {
            return wrong(
                format!("{text:?} is not a percentage"),
                format!("from {least}% to {most}%"),
            );
        };
        let parsed = number(least.into(), most.into())(bare)?;
        Ok(u8::try_from(parsed).unwrap_or(most))
    }
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => wrong(
            format!("{text:?} is neither true nor false"),
            "write true or false",
        ),
    }
}

/// One of `words`.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let hint = match nearest(text, names.clone()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
        };
        wrong(format!("unknown value {text:?}"), hint)
    }
}

/// The candidate that somebody who typed `text` most likely meant.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|it| (strsim::damerau_levenshtein(text, it), it))
        .filter(|(distance, it)| *distance <= 2.max(it.len() / 3) && *distance < it.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// An address, in the one spelling that all else is compared with.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(plain)
}

/// The same with a port.
pub(super) fn socket(text: &str) -> Option<SocketAddr> {
    text.parse().ok().map(plain_socket)
}

/// A network, or an address that stands for itself.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    if let Some(address) = ip(text) {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>().map(plain_network) {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => wrong(
            format!("{text:?} has bits behind its mask"),
            format!("write {} or {}", network.trunc(), network.addr()),
        ),
        Err(_) => wrong(
            format!("{text:?} is not a network"),
            "like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1",
        ),
    }
}

/// `:80` (both families), `10.0.0.1:80`, `[::1]:80`.
pub(super) fn bind(text: &str) -> Parsed<Vec<SocketAddr>> {
    if let Some(port) = text.strip_prefix(':').filter(|it| !it.contains(':')) {
        let port = number(0, 65_535)(port)?;
        let port = u16::try_from(port).unwrap_or(0);
        return Ok(vec![
            SocketAddr::from(([0; 4], port)),
            SocketAddr::from(([0; 16], port)),
        ]);
    }
    if let Some(address) = socket(text) {
        return Ok(vec![address]);
    }
    let whole = text.rsplit_once(':').and_then(|(ip, port)| {
        let ip: Ipv6Addr = ip.parse().ok()?;
        Some(format!("[{ip}]:{}", port.parse::<u16>().ok()?))
    });
    let any = text.strip_prefix("*:");
    let hint = match text.parse::<IpAddr>() {
        _ if any.is_some() => format!("write \":{}\"", any.unwrap_or_default()),
        _ if whole.is_some() => format!("write \"{}\"", whole.unwrap_or_default()),
        Ok(IpAddr::V4(ip)) => format!("a port is missing; write {ip}:PORT"),
        Ok(IpAddr::V6(ip)) => format!("a port is missing; write \"[{ip}]:PORT\""),
        Err(_) if number(1, 65_535)(text).is_ok() => format!("write \":{text}\""),
        Err(_) => "like :80, 10.0.0.1:80 or [::1]:80; host names cannot be bound".to_owned(),
    };
    wrong(format!("{text:?} is not an address to listen on"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_being_shown() {
        for text in ["1ms", "250ms", "5s", "1m30s", "8h", "1d", "1d2h3m4s5ms"] {
            let parsed = duration(text).unwrap();
            assert_eq!(show_duration(parsed), text);
        }
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        for text in [
            "",
            "5",
            "5x",
            "s",
            "-5s",
            "5 s",
            "1.5s",
            "0s",
            "99999999999d",
            "400d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn off_is_said_and_not_a_zero() {
        assert_eq!(or_off(duration)("off"), Ok(None));
        assert!(or_off(duration)("0s").is_err());
        assert!(or_off(duration)("5s").unwrap().is_some());
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["random", "random2", "least"];
        assert_eq!(nearest("randm", words.into_iter()), Some("random"));
        assert_eq!(nearest("leats", words.into_iter()), Some("least"));
        assert_eq!(nearest("xyz", words.into_iter()), None);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_an_ipv4_address() {
        assert_eq!(network("::ffff:127.0.0.1"), network("127.0.0.1"));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(bind("[::ffff:127.0.0.1]:80"), bind("127.0.0.1:80"));
        assert!(network("::ffff:10.0.0.1/104").is_err());
    }

    #[test]
    fn binds() {
        assert_eq!(bind(":80").unwrap().len(), 2);
        assert_eq!(bind("[::1]:80").unwrap().len(), 1);
        for text in ["80", "localhost:80", "1.2.3.4", "::1", ":99999", ""] {
            assert!(bind(text).is_err(), "{text}");
        }
    }
}
