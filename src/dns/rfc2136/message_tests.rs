use super::*;
use crate::types::{Claim, Term};

fn names(zone: &str, name: &str) -> Names {
    let server = "192.0.2.53:53".parse().unwrap();
    Names::new(&Rfc2136Settings::new(server, zone, name)).unwrap()
}

fn node(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn registered(term: u64) -> Registered {
    let claim = Claim {
        term: Term(term),
        holder: node("lb1"),
        nonce: 0xfeed,
    };
    Registered { claim, beat: 0 }
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|it| it.parse().unwrap()).collect()
}

/// Each record as `NAME TTL CLASS TYPE DATA`, after a way through the wire.
fn lines(message: &Message) -> (Vec<String>, Vec<String>) {
    let message = Message::from_vec(&message.to_vec().unwrap()).unwrap();
    let text = |records: &[Record]| records.iter().map(ToString::to_string).collect();
    (text(&message.answers), text(&message.authorities))
}

#[test]
fn a_claim_compares_the_register_and_swaps_both_names() {
    let names = names("example.com", "lb.example.com");
    let addresses = ips(&["192.0.2.1", "2001:db8::1", "192.0.2.1"]);
    let update = names.write(Some(&registered(6)), &registered(7), &addresses);
    assert_eq!(
        update.queries,
        [Query::query(fqdn("example.com").unwrap(), RecordType::SOA)]
    );
    let (required, changes) = lines(&update);
    assert_eq!(
        required,
        [
            "_tandem.lb.example.com. 0 IN TXT v=1 term=6 holder=lb1 nonce=000000000000feed beat=0",
            "lb.example.com. 0 NONE CNAME UPDATE",
        ]
    );
    assert_eq!(
        changes,
        [
            "_tandem.lb.example.com. 0 ANY TXT UPDATE",
            "_tandem.lb.example.com. 30 IN TXT v=1 term=7 holder=lb1 nonce=000000000000feed beat=0",
            "lb.example.com. 0 ANY A UPDATE",
            "lb.example.com. 0 ANY AAAA UPDATE",
            "lb.example.com. 30 IN A 192.0.2.1",
            "lb.example.com. 30 IN AAAA 2001:db8::1",
        ]
    );
}

#[test]
fn the_first_claim_wants_no_register() {
    let names = names("example.com", "lb.example.com");
    let update = names.write(None, &registered(1), &ips(&["192.0.2.1"]));
    let (required, _) = lines(&update);
    assert_eq!(required[0], "_tandem.lb.example.com. 0 NONE TXT UPDATE");
}

#[test]
fn the_wire_says_what_rfc_2136_says() {
    let names = names("example.com", "lb.example.com");
    let update = names.write(None, &registered(1), &ips(&["192.0.2.1"]));
    let bytes = update.to_vec().unwrap();
    // Opcode 5; one zone, two prerequisites, five changes, nothing else.
    assert_eq!(bytes[2..4], [0x28, 0]);
    assert_eq!(bytes[4..12], [0, 1, 0, 2, 0, 5, 0, 0]);
}

#[test]
fn an_own_name_is_removed_only_with_its_mark_and_its_addresses() {
    let names = names("example.com", "lb.example.com");
    let update = names.forget(&node("lb2"), &ips(&["192.0.2.2"])).unwrap();
    let (required, changes) = lines(&update);
    assert_eq!(
        required,
        [
            "_tandem.lb2.example.com. 0 IN TXT v=1 node=lb2 of=lb.example.com",
            "lb2.example.com. 0 IN A 192.0.2.2",
            "lb2.example.com. 0 NONE AAAA UPDATE",
        ]
    );
    assert_eq!(
        changes,
        [
            "lb2.example.com. 0 ANY A UPDATE",
            "lb2.example.com. 0 ANY AAAA UPDATE",
            "_tandem.lb2.example.com. 0 ANY TXT UPDATE",
        ]
    );
}

#[test]
fn an_own_name_stands_beside_the_public_name() {
    let own = |zone: &str, name: &str, it: &str| names(zone, name).own(&node(it));
    let is = |text: &str| Ok(fqdn(text).unwrap());
    assert_eq!(
        own("example.com", "lb.eu.example.com", "lb1"),
        is("lb1.eu.example.com")
    );
    assert_eq!(
        own("lb.example.com", "lb.example.com", "lb1"),
        is("lb1.lb.example.com")
    );
    assert_eq!(
        own("example.com", "lb.example.com", "a.b.example.com"),
        is("a.b.example.com")
    );
    assert!(own("example.com", "lb.example.com", "lb").is_err());
    assert!(own("example.com", "lb.example.com", "LB.Example.com").is_err());
    assert!(own("example.com", "lb.example.com", "example.com").is_err());
    assert!(own("example.com", "lb.example.com", "a..b").is_err());
}

#[test]
fn a_name_outside_of_the_zone_is_a_wrong_setting() {
    let server = "192.0.2.53:53".parse().unwrap();
    let new = |zone, name| Names::new(&Rfc2136Settings::new(server, zone, name)).map(|_| ());
    let outside = SettingsError::Outside {
        name: "lb.example.org".to_owned(),
        zone: "example.com".to_owned(),
    };
    assert_eq!(new("example.com", "lb.example.org"), Err(outside));
    for wrong in ["", ".", "a..b"] {
        let error = SettingsError::Name(wrong.to_owned());
        assert_eq!(new("example.com", wrong), Err(error));
    }
}

fn answer(values: &[&[&str]]) -> Message {
    let mut answer = Message::response(1, OpCode::Query);
    let name = fqdn("_tandem.lb.example.com").unwrap();
    for strings in values {
        let strings = strings.iter().map(|&it| it.to_owned()).collect();
        let data = RData::TXT(TXT::new(strings));
        answer.add_answer(Record::from_rdata(name.clone(), 30, data));
    }
    answer
}

#[test]
fn only_our_own_text_is_a_claim() {
    let names = names("example.com", "lb.example.com");
    let read = |values: &[&[&str]]| names.registered(&answer(values));
    let text = text::of(&registered(7));
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[&[&text]]), Ok(Some(registered(7))));
    let garbled = |text: &str| {
        Err(RegisterError::Garbled {
            name: "_tandem.lb.example.com".to_owned(),
            text: text.to_owned(),
        })
    };
    assert_eq!(read(&[&["v=spf1 -all"]]), garbled("v=spf1 -all"));
    // A comparison would find neither of these.
    assert_eq!(read(&[&[&text[..9], &text[9..]]]), garbled(&text));
    let other = text::of(&registered(8));
    assert_eq!(read(&[&[&text], &[&other]]), garbled(&other));
}
