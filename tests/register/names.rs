//! What stands in the zone afterwards.

use std::net::IpAddr;

use tandem::dns::register::{Forgotten, Register as _, RegisterError, WriteResult};

use crate::kit::server::{Kind, Server};
use crate::kit::{PUBLIC, beat, claim, ips, node, register, settings};
use crate::on_both;

on_both! {
    the_public_name_carries_both_kinds_of_address
    a_server_on_ipv6_is_asked_over_ipv6
    a_beat_changes_the_register_alone
    a_long_list_of_addresses_goes_over_tcp
    an_own_name_is_put_and_changed
    an_own_name_that_belongs_to_somebody_is_left_alone
    an_own_name_that_says_the_same_is_adopted
    forget_removes_only_what_matches
    the_public_name_is_never_forgotten
}

async fn the_public_name_carries_both_kinds_of_address(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let first = claim(None, "lb1");
    let both = ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(register.write(None, &first, &both).await, WriteResult::Won);
    assert_eq!(
        server.addresses(PUBLIC),
        ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    );
    let second = claim(Some(&first), "lb2");
    let only_v6 = ips(&["2001:db8::2"]);
    let result = register.write(Some(&first), &second, &only_v6).await;
    assert_eq!(result, WriteResult::Won);
    assert_eq!(server.addresses(PUBLIC), ["2001:db8::2"]);
    let third = claim(Some(&second), "lb1");
    let result = register
        .write(Some(&second), &third, &ips(&["192.0.2.1"]))
        .await;
    assert_eq!(result, WriteResult::Won);
    assert_eq!(server.addresses(PUBLIC), ["192.0.2.1"]);
}

async fn a_server_on_ipv6_is_asked_over_ipv6(kind: Kind) {
    let server = Server::start_on(kind, "::1".parse::<IpAddr>().unwrap());
    for tcp in [false, true] {
        let mut settings = settings(&server);
        settings.tcp = tcp;
        let register = register(&settings);
        let now = register.read().await.unwrap();
        let new = claim(now.as_ref(), "lb1");
        let result = register
            .write(now.as_ref(), &new, &ips(&["2001:db8::1"]))
            .await;
        assert_eq!(result, WriteResult::Won);
        assert_eq!(register.read().await, Ok(Some(new)));
    }
    assert_eq!(server.addresses(PUBLIC), ["2001:db8::1"]);
}

async fn a_beat_changes_the_register_alone(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let first = claim(None, "lb1");
    let addresses = ips(&["192.0.2.1", "2001:db8::1"]);
    assert_eq!(
        register.write(None, &first, &addresses).await,
        WriteResult::Won
    );
    let second = beat(&first);
    let result = register.write(Some(&first), &second, &addresses).await;
    assert_eq!(result, WriteResult::Won);
    assert_eq!(register.read().await, Ok(Some(second)));
    assert_eq!(server.addresses(PUBLIC), ["192.0.2.1", "2001:db8::1"]);
    // Over what is no more.
    let result = register
        .write(Some(&first), &beat(&first), &addresses)
        .await;
    assert_eq!(result, WriteResult::Lost);
}

async fn a_long_list_of_addresses_goes_over_tcp(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let many: Vec<_> = (1..=60).map(|it| format!("2001:db8::{it}")).collect();
    let mut sorted = many.clone();
    sorted.sort();
    let many: Vec<_> = many.iter().map(|it| it.parse().unwrap()).collect();
    let new = claim(None, "lb1");
    assert_eq!(register.write(None, &new, &many).await, WriteResult::Won);
    assert_eq!(server.addresses(PUBLIC), sorted);
    assert_eq!(register.read().await, Ok(Some(new)));
}

async fn an_own_name_is_put_and_changed(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let lb1 = node("lb1");
    for addresses in [
        &["192.0.2.1"][..],
        &["192.0.2.1"],
        &["192.0.2.9", "2001:db8::9"],
        &["2001:db8::1"],
    ] {
        assert_eq!(register.put_own(&lb1, &ips(addresses)).await, Ok(()));
        assert_eq!(server.addresses("lb1.example.test"), addresses);
    }
    let none = register.put_own(&lb1, &[]).await;
    assert_eq!(none, Err(RegisterError::NoAddress));
}

async fn an_own_name_that_belongs_to_somebody_is_left_alone(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    for (name, addresses) in [("www", &["192.0.2.80"][..]), ("ns", &["127.0.0.1"])] {
        let result = register.put_own(&node(name), &ips(&["192.0.2.1"])).await;
        assert!(
            matches!(result, Err(RegisterError::Foreign(_))),
            "{result:?}"
        );
        assert_eq!(server.addresses(&format!("{name}.example.test")), addresses);
        let result = register.forget(&node(name), &ips(addresses)).await;
        assert_eq!(result, Ok(Forgotten::Kept));
        assert_eq!(server.addresses(&format!("{name}.example.test")), addresses);
    }
    let result = register.put_own(&node("alias"), &ips(&["192.0.2.1"])).await;
    assert!(
        matches!(result, Err(RegisterError::Foreign(_))),
        "{result:?}"
    );
    assert_eq!(
        server.dig("CNAME", "alias.example.test"),
        ["www.example.test."]
    );
}

async fn an_own_name_that_says_the_same_is_adopted(kind: Kind) {
    let server = Server::start(kind);
    server.by_hand("update add lb1.example.test 60 A 192.0.2.1");
    let register = register(&settings(&server));
    let result = register.put_own(&node("lb1"), &ips(&["192.0.2.1"])).await;
    assert_eq!(result, Ok(()));
    let result = register.put_own(&node("lb1"), &ips(&["192.0.2.7"])).await;
    assert_eq!(result, Ok(()));
    assert_eq!(server.addresses("lb1.example.test"), ["192.0.2.7"]);
}

async fn forget_removes_only_what_matches(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let lb2 = node("lb2");
    let both = ips(&["192.0.2.2", "2001:db8::2"]);
    assert_eq!(register.put_own(&lb2, &both).await, Ok(()));
    for other in [
        &["192.0.2.2"][..],
        &["2001:db8::2"],
        &["192.0.2.3", "2001:db8::2"],
        &["192.0.2.2", "192.0.2.3", "2001:db8::2"],
    ] {
        let result = register.forget(&lb2, &ips(other)).await;
        assert_eq!(result, Ok(Forgotten::Kept), "{other:?}");
    }
    assert_eq!(
        server.addresses("lb2.example.test"),
        ["192.0.2.2", "2001:db8::2"]
    );
    let swapped = ips(&["2001:db8::2", "192.0.2.2"]);
    assert_eq!(
        register.forget(&lb2, &swapped).await,
        Ok(Forgotten::Removed)
    );
    assert_eq!(server.addresses("lb2.example.test"), [""; 0]);
    assert_eq!(server.dig("TXT", "_tandem.lb2.example.test"), [""; 0]);
    assert_eq!(register.forget(&lb2, &both).await, Ok(Forgotten::Kept));
}

async fn the_public_name_is_never_forgotten(kind: Kind) {
    let server = Server::start(kind);
    let register = register(&settings(&server));
    let addresses = ips(&["192.0.2.1"]);
    let first = claim(None, "lb1");
    assert_eq!(
        register.write(None, &first, &addresses).await,
        WriteResult::Won
    );
    for name in ["lb", "lb.example.test", "LB", "example.test"] {
        let name = node(name);
        let result = register.forget(&name, &addresses).await;
        assert!(
            matches!(result, Err(RegisterError::Foreign(_))),
            "{result:?}"
        );
        let result = register.put_own(&name, &addresses).await;
        assert!(
            matches!(result, Err(RegisterError::Foreign(_))),
            "{result:?}"
        );
    }
    // Every node is forgotten; the public name stays as it was.
    for (name, address) in [("lb1", "192.0.2.1"), ("lb2", "192.0.2.2")] {
        let (name, own) = (node(name), ips(&[address]));
        assert_eq!(register.put_own(&name, &own).await, Ok(()));
        assert_eq!(register.forget(&name, &own).await, Ok(Forgotten::Removed));
    }
    assert_eq!(server.addresses(PUBLIC), ["192.0.2.1"]);
    assert_eq!(register.read().await, Ok(Some(first)));
}
