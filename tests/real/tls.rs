//! https probes of a real nginx: what passes, and in which words the rest fails.

use std::fmt::Write as _;

use serde_json::Value;

use crate::kit::nginx::Nginx;
use crate::kit::tandem::{Tandem, run};
use crate::kit::{SOON, eventually, ports, said};

fn certificate(name: &str) -> String {
    format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// An nginx that speaks TLS with the certificate `name`.
fn https(name: &str) -> Nginx {
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    let (cert, key) = (certificate(&cert), certificate(&key));
    Nginx::start_with(
        name,
        &format!("ssl; ssl_certificate {cert}; ssl_certificate_key {key}"),
    )
}

#[test]
fn https_probes_of_a_real_nginx_pass_or_say_what_is_wrong_with_the_certificate() {
    // One signs itself, for a.example; the other has been signed by an
    // authority, for a.example, *.b.example and 127.0.0.9.
    let (own, leaf, plain) = (https("own"), https("leaf"), Nginx::start("plain"));
    let authority = certificate("authority.pem");
    let own_file = certificate("own.pem");
    let cases = [
        (
            "trusted-as-itself",
            &own,
            "a.example",
            "own.pem",
            "true",
            Ok(()),
        ),
        (
            "whatever-name",
            &leaf,
            "c.example",
            "authority.pem",
            "ca",
            Ok(()),
        ),
        (
            "by-its-name",
            &leaf,
            "x.b.example",
            "authority.pem",
            "true",
            Ok(()),
        ),
        (
            "wrong-name",
            &own,
            "b.example",
            "own.pem",
            "true",
            Err("the certificate is for a.example, not b.example".to_owned()),
        ),
        (
            "self-signed",
            &own,
            "a.example",
            "authority.pem",
            "ca",
            Err(format!(
                "the certificate is self-signed, and not in {authority}: add it there"
            )),
        ),
        (
            "another-authority",
            &leaf,
            "a.example",
            "own.pem",
            "true",
            Err(format!(
                "{own_file} does not have \"an authority\", which has signed the certificate: add \
                 its certificate there"
            )),
        ),
        (
            "no-tls",
            &plain,
            "a.example",
            "own.pem",
            "true",
            Err("the server does not speak TLS at this port".to_owned()),
        ),
    ];
    let (mut listeners, mut pools) = ("listeners:\n".to_owned(), "pools:\n".to_owned());
    for (name, nginx, host, ca, verify, _) in &cases {
        let (bind, ca) = (ports::free(), certificate(ca));
        let tls = format!("{{ verify: {verify}, ca_file: \"{ca}\" }}");
        let probe = format!(
            "{{ type: https, path: /healthz, host: {host}, tls: {tls}, interval: 200ms, timeout: \
             10s, fast_interval: 100ms, fall: 1 }}"
        );
        let address = nginx.address;
        writeln!(listeners, "  {name}: {{ bind: \"{bind}\", pool: {name} }}").unwrap();
        writeln!(
            pools,
            "  {name}: {{ backends: {{ it: \"{address}\" }}, probe: {probe} }}"
        )
        .unwrap();
    }
    let tandem = Tandem::start(&(listeners + &pools));
    for (name, .., expected) in &cases {
        let state = if expected.is_ok() { "up" } else { "down" };
        tandem.wait_state_of(name, "it", state);
        let found = eventually("the last probe is told", SOON, || {
            let found = tandem.backend(name, "it")["last_probe"].clone();
            (found != Value::Null).then_some(found)
        });
        if let Err(words) = expected {
            assert_eq!(found["outcome"], "fail", "{name}: {found}");
            assert_eq!(found["detail"], **words, "{name}: {found}");
        }
    }
    // And so do `check --online` and `probe`.
    let file = tandem.config().display().to_string();
    let online = said(&run(&["check", "--online", "-c", &file]));
    for (name, .., expected) in &cases {
        let backend = format!("{name}/it");
        let line = online.lines().find(|it| it.starts_with(&backend));
        let line = line.unwrap_or_else(|| panic!("{name}: {online}"));
        let probed = run(&["probe", &backend, "-c", &file]);
        for line in [line, said(&probed).trim_end()] {
            match expected {
                Ok(()) => assert!(line.contains(": pass in "), "{line}"),
                Err(words) => assert!(line.ends_with(&format!(": fail: {words}")), "{line}"),
            }
        }
        let code = i32::from(expected.is_err());
        assert_eq!(probed.status.code(), Some(code), "{name}");
    }
}

#[test]
fn the_probe_command_takes_no_certificate_that_a_pool_would_not_take() {
    let own = https("own");
    let (address, ca) = (own.address.to_string(), certificate("own.pem"));
    let probe = [
        "probe",
        &address,
        "--https",
        "/healthz",
        "--timeout-ms",
        "10000",
    ];
    let named = ["--ca-file", &ca, "--host", "a.example"];
    let wrong = ["--ca-file", &ca, "--host", "b.example"];
    for (more, code, words) in [
        (&named[..], 0, ": pass in "),
        (&["--insecure"], 0, ": pass in "),
        (&wrong, 1, "the certificate is for a.example, not b.example"),
        (&named[..2], 1, "the certificate is for a.example, not 127."),
        (&["--insecure", "--ca-file", &ca], 2, "cannot be used with"),
        (
            &["--ca-file", "/nonexistent.pem"],
            2,
            "/nonexistent.pem: No such file",
        ),
    ] {
        let done = run(&[&probe[..], more].concat());
        assert_eq!(done.status.code(), Some(code), "{more:?}: {}", said(&done));
        assert!(said(&done).contains(words), "{more:?}: {}", said(&done));
    }
    // A machine may have no authorities at all, and says that then.
    let done = run(&probe);
    let told = said(&done);
    let is_refused = told.contains("is self-signed") || told.contains("no certificate authorities");
    assert!(done.status.code() == Some(1) && is_refused, "{told}");
}
