//! What must be granted, and what is said if it is not.

use std::time::Duration;

use super::config;
use super::kit::{Backend, Net, Tandem, now, since, wait_until};

#[test]
fn without_the_right_it_says_which_one_it_needs() {
    let net = Net::new(21, 1);
    let _backends = Backend::all(&net);
    let tandem = Tandem::new(&net, &config(&net, &[100]));
    let without = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    let status = tandem.command(&without).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let log = tandem.log();
    assert!(log.contains("plane: kernel needs CAP_NET_ADMIN"), "{log}");
    assert!(net.tables().is_empty());
    // Without a listener of the kernel nobody asks for it, at start or later.
    tandem.write(&config(&net, &[100]).replace(", plane: kernel", ""));
    let mut child = tandem.command(&without).spawn().unwrap();
    tandem.wait_ready();
    assert_eq!(net.survey(80, 10)["b1"], 10);
    let more = "listeners:\n  more: { bind: \"0.0.0.0:82\", pool: web, plane: kernel }\n";
    let both = config(&net, &[100]).replace(", plane: kernel", "");
    tandem.write(&both.replacen("listeners:\n", more, 1));
    let (is_ok, said) = tandem.reload();
    assert!(!is_ok && said.contains("needs CAP_NET_ADMIN"), "{said}");
    assert_eq!(net.survey(80, 10)["b1"], 10, "nothing has changed");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// As deploy/kernel-plane.conf has it.
#[test]
fn an_ordinary_user_with_the_ambient_right_is_enough() {
    let net = Net::new(26, 1);
    let _backends = Backend::all(&net);
    let tandem = Tandem::new(&net, &config(&net, &[100]));
    tandem.open_to_all();
    let rights = "+net_admin,+net_bind_service";
    let inherited = format!("--inh-caps={rights}");
    let ambient = format!("--ambient-caps={rights}");
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &inherited,
        &ambient,
    ];
    let mut child = tandem.command(&user).spawn().unwrap();
    tandem.wait_ready();
    assert_eq!(net.survey(80, 10)["b1"], 10);
    wait_until("counters may be read, too", || {
        tandem.metric("tandem_listener_connections_total{listener=\"web\"}") == Some(10.0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_nft_it_says_what_to_install() {
    let net = Net::new(22, 1);
    let tandem = Tandem::new(&net, &config(&net, &[100]));
    // An empty folder over the places where programs of administrators are.
    let hide = "mount -t tmpfs none /usr/sbin && exec \"$@\"";
    let done = tandem
        .command(&["unshare", "-m", "sh", "-c", hide, "sh"])
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .status()
        .unwrap();
    assert_eq!(done.code(), Some(1));
    let log = tandem.log();
    assert!(log.contains("needs the package nftables"), "{log}");
}

#[test]
fn forwarding_that_is_off_is_said() {
    let net = Net::new(23, 1);
    let _backends = Backend::all(&net);
    net.forward(false);
    let tandem = Tandem::start(&net, &config(&net, &[100]));
    assert!(tandem.log().contains("net.ipv4.ip_forward is off"));
    let local = net.connect_from("l", (net.lb(), 80).into()).unwrap().ask();
    assert_eq!(local.unwrap(), "b1", "this machine's clients are served");
    net.forward(true);
    assert_eq!(net.survey(80, 10)["b1"], 10);
}

#[test]
fn a_port_belongs_to_one_process() {
    let net = Net::new(24, 1);
    let _backends = Backend::all(&net);
    let first = Tandem::start(&net, &config(&net, &[100]));
    let table = net.nft("list ruleset");
    for plane in [", plane: kernel", ""] {
        let second = Tandem::new(
            &net,
            &config(&net, &[100]).replace(", plane: kernel", plane),
        );
        let status = second.command(&[]).status().unwrap();
        assert_eq!(status.code(), Some(1));
        let log = second.log();
        assert!(log.contains("another process listens there"), "{log}");
    }
    // The same file a second time must not touch the table of the first.
    let mut again = first.command(&[]);
    assert_eq!(again.status().unwrap().code(), Some(1));
    let chains = |text: &str| text.matches("dnat").count();
    assert_eq!(chains(&net.nft("list ruleset")), chains(&table));
    assert_eq!(net.survey(80, 10)["b1"], 10);
}

#[test]
fn a_listener_of_the_kernel_comes_and_goes_by_reload() {
    let net = Net::new(25, 1);
    let _backends = Backend::all(&net);
    let user = config(&net, &[100]).replace(", plane: kernel", "");
    let mut tandem = Tandem::start(&net, &user);
    let mut worker = net.connect(80).unwrap();
    worker.ask().unwrap();
    let more = "listeners:\n  more: { bind: \"0.0.0.0:82\", pool: web, plane: kernel }\n";
    tandem.write(&user.replacen("listeners:\n", more, 1));
    let (is_ok, said) = tandem.reload();
    assert!(is_ok, "{said}");
    wait_until("the kernel serves", || net.connect(82).is_ok());
    let mut held = net.connect(82).unwrap();
    held.ask().unwrap();
    worker.ask().unwrap();
    tandem.write(&user);
    assert!(tandem.reload().0);
    wait_until("it no longer does", || net.connect(82).is_err());
    // The kernel clears up after a rewrite in its own time.
    let start = now();
    while since(start) < Duration::from_secs(1) {
        held.ask().unwrap();
    }
    worker.ask().unwrap();
    drop((held, worker));
    tandem.stop();
    assert!(net.tables().is_empty());
}
