//! What this machine lacks is no backend's fault.

use std::fs;
use std::io::{Read, Write};

use crate::kit::{Backend, Net, Tandem, figure, within};

/// Twelve local ports, two healthy servers, forty clients: each server can be
/// reached from each port once.
#[test]
fn who_finds_no_local_port_hears_it_and_the_backends_stay_up() {
    const PORTS: usize = 12;
    let net = Net::new(60, 2);
    let _backends = Backend::all(&net);
    let set = "/proc/sys/net/ipv4/ip_local_port_range";
    within(&net.space("l"), || fs::write(set, "40000 40011")).unwrap();
    // Or a port that was used would rest for a minute (TIME_WAIT).
    let set = "/proc/sys/net/ipv4/tcp_tw_reuse";
    within(&net.space("l"), || fs::write(set, "1")).unwrap();
    let servers = format!(
        "backends: {{ b1: \"{}\", b2: \"{}\" }}",
        net.backend(1),
        net.backend(2)
    );
    // One probe each, and more only if something is in doubt.
    let probe = "probe: { type: tcp, interval: 60s, fast_interval: 100ms }";
    let config = format!(
        "listeners:\n  web: {{ bind: \"{}:80\", pool: web }}\n\
         pools:\n  web: {{ {servers}, {probe}, protocol: mysql }}\n",
        net.lb()
    );
    let tandem = Tandem::start(&net, &config);
    let mut held = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..40 {
        let mut talk = net.connect(80).unwrap();
        // The servers of this test do not speak first.
        talk.0.write_all(b"?\n").unwrap();
        let mut said = [0; 256];
        let length = talk.0.read(&mut said).expect("an answer");
        let said = String::from_utf8_lossy(&said[..length]).trim().to_owned();
        if said.starts_with('b') {
            held.push((talk, said));
        } else {
            refused.push(said);
        }
    }
    figure("lacks.served", held.len());
    figure("lacks.refused", refused.len());
    // A probe's port may rest in TIME_WAIT for a minute.
    assert!(
        (2 * PORTS - 2..=2 * PORTS).contains(&held.len()),
        "{}",
        held.len()
    );
    assert_eq!(held.len() + refused.len(), 40);
    for said in &refused {
        assert!(said.contains("out_of_ports"), "{said}");
    }
    // Longer than doubt would take to become a verdict.
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    for name in ["b1", "b2"] {
        assert_eq!(tandem.state(name), "up");
        let errors = format!(
            "tandem_backend_connect_errors_total{{pool=\"web\",backend=\"{name}\",reason=\"refused\"}}"
        );
        assert_eq!(tandem.metric(&errors).unwrap_or(0.0), 0.0);
    }
    for (talk, name) in &mut held {
        assert_eq!(talk.ask().unwrap(), *name, "who was served still is");
    }
    let series = "tandem_listener_rejected_total{listener=\"web\",reason=\"out_of_ports\"}";
    assert_eq!(tandem.metric(series), Some(refused.len() as f64));
    // Places that come free are used again.
    let (talk, name) = held.pop().unwrap();
    talk.0.shutdown(std::net::Shutdown::Both).unwrap();
    let _end = (&talk.0).read(&mut [0]);
    drop(talk);
    let served = crate::kit::wait_until("a port is free again", || {
        net.connect(80)
            .is_ok_and(|mut it| it.ask().is_ok_and(|it| it == name))
    });
    figure("lacks.port_back_ms", served.as_millis());
}

/// The same, and the backends are probed all the while: a probe that finds no
/// local port knows nothing, and nobody is cut.
#[test]
fn probes_that_find_no_local_port_leave_the_verdict_and_the_sessions() {
    let net = Net::new(71, 2);
    let _backends = Backend::all(&net);
    let set = "/proc/sys/net/ipv4/ip_local_port_range";
    within(&net.space("l"), || fs::write(set, "40000 40011")).unwrap();
    let config = format!(
        "listeners:\n  web: {{ bind: \"{}:80\", pool: web }}\n\
         pools:\n  web: {{ backends: {{ b1: \"{}\", b2: \"{}\" }}, on_dead: reset, \
         probe: {{ type: tcp, interval: 100ms, fall: 2 }} }}\n",
        net.lb(),
        net.backend(1),
        net.backend(2)
    );
    let tandem = Tandem::start(&net, &config);
    let mut held: Vec<_> = (0..40)
        .filter_map(|_| {
            let mut talk = net.connect(80).ok()?;
            let name = talk.ask().ok().filter(|it| it.starts_with('b'))?;
            Some((talk, name))
        })
        .collect();
    figure("lacks.served_while_probed", held.len());
    let series = |what: &str, name: &str, labels: &str| {
        let series =
            format!("tandem_probe_{what}_total{{pool=\"web\",backend=\"{name}\"{labels}}}");
        tandem.metric(&series).unwrap_or(0.0)
    };
    for name in ["b1", "b2"] {
        // More than `fall` would take.
        crate::kit::wait_until("probes find no port", || {
            series("unknown", name, ",reason=\"out_of_ports\"") >= 6.0
        });
        assert_eq!(tandem.state(name), "up");
        assert_eq!(series("failures", name, ",reason=\"unreachable\""), 0.0);
    }
    for (talk, name) in &mut held {
        assert_eq!(talk.ask().unwrap(), *name, "who was served still is");
    }
}
