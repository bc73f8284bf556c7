//! What `deploy/` ships, read as systemd reads it.

/// The value that `key` has in `section` of the unit; the last one counts.
fn unit(section: &str, key: &str) -> Option<&'static str> {
    let text = include_str!("../deploy/tandem.service");
    let header = format!("[{section}]");
    let mut lines = text.lines().skip_while(|line| *line != header).skip(1);
    let own = lines.by_ref().take_while(|line| !line.starts_with('['));
    let pairs = own.filter_map(|line| line.split_once('='));
    pairs.filter(|(it, _)| *it == key).map(|(_, it)| it).last()
}

/// By default systemd gives up after five starts in ten seconds, which with
/// `RestartSec=200ms` is one second of an address that is not there yet.
#[test]
fn a_node_whose_address_comes_ten_seconds_late_is_started_again_for_ever() {
    assert_eq!(unit("Service", "Restart"), Some("always"));
    assert_eq!(unit("Unit", "StartLimitIntervalSec"), Some("0"));
    // In [Service] systemd ignores it.
    assert_eq!(unit("Service", "StartLimitIntervalSec"), None);
}
