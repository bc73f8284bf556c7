//! What stays when the process goes.

use std::io::ErrorKind;

use rustix::process::Signal;

use super::config;
use super::kit::{Backend, Net, Tandem, figure, now, since, wait_until};

#[test]
fn sigterm_refuses_waits_and_leaves_nothing() {
    let net = Net::new(11, 1);
    let _backends = Backend::all(&net);
    net.nft("add table inet somebody");
    let mut tandem = Tandem::start(&net, &config(&net, &[100]));
    let mut held = net.connect(80).unwrap();
    held.ask().unwrap();
    assert_eq!(net.tables().len(), 1);
    let start = now();
    tandem.signal(Signal::TERM);
    wait_until("new clients are refused", || {
        let refused = net.connect(80).err();
        refused.is_some_and(|it| it.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(held.ask().unwrap(), "b1", "it may end by itself");
    drop(held);
    assert!(tandem.wait().success());
    figure("kernel.last_end_to_exit_ms", since(start).as_millis());
    assert!(tandem.log().contains("\"event\":\"stopped\",\"cut\":0"));
    assert_eq!(net.tables(), Vec::<String>::new());
    assert!(net.nft("list tables").contains("somebody"), "not ours");
}

#[test]
fn after_the_grace_connections_are_reset_and_counted() {
    let net = Net::new(12, 1);
    let _backends = Backend::all(&net);
    let mut tandem = Tandem::start(&net, &config(&net, &[100]));
    let mut held = net.connect(80).unwrap();
    held.ask().unwrap();
    tandem.signal(Signal::TERM);
    wait_until("it is stopping", || {
        tandem.log().contains("\"event\":\"stopping\"")
    });
    // Who asks twice means it.
    tandem.signal(Signal::TERM);
    assert!(tandem.wait().success());
    assert!(tandem.log().contains("\"event\":\"stopped\",\"cut\":1"));
    assert_eq!(net.tables(), Vec::<String>::new());
    assert_eq!(held.ask().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_killed_process_goes_on_forwarding_until_the_next_one_takes_over() {
    let net = Net::new(13, 2);
    let _backends = Backend::all(&net);
    let mut tandem = Tandem::start(&net, &config(&net, &[100, 100]));
    let mut held = net.connect(80).unwrap();
    let name = held.ask().unwrap();
    let table = net.tables();
    tandem.kill();
    assert_eq!(net.tables(), table, "the rules are the kernel's");
    assert_eq!(net.survey(80, 100).len(), 2, "and it follows them");
    tandem.launch();
    tandem.wait_ready();
    assert_eq!(net.tables(), table, "one table, the same name");
    assert_eq!(net.survey(80, 100).len(), 2);
    assert_eq!(held.ask().unwrap(), name, "through all of that");
    // Killed again, and no longer wanted.
    tandem.kill();
    tandem.write(&config(&net, &[100, 100]).replace(", plane: kernel", ""));
    tandem.launch();
    tandem.wait_ready();
    wait_until("what was left is gone", || net.tables().is_empty());
    assert_eq!(net.survey(80, 20).len(), 2, "the workers serve");
    tandem.stop();
}

#[test]
fn a_table_that_somebody_took_away_comes_back_with_the_next_change() {
    let net = Net::new(14, 2);
    let mut backends = Backend::all(&net);
    let tandem = Tandem::start(&net, &config(&net, &[100, 100]));
    let table = net.tables().remove(0);
    net.nft(&format!("delete table inet {table}"));
    let refused = net.connect(80).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "not a hang");
    backends[0].down();
    wait_until("b1 is down", || tandem.state("b1") == "down");
    wait_until("the table is back", || net.tables() == [table.clone()]);
    assert_eq!(net.survey(80, 50)["b2"], 50);
}
