//! Where it answers.

use super::*;

#[test]
fn a_wildcard_address_is_declined_with_the_reason() {
    let mut settings = Rig::new().settings;
    for any in ["0.0.0.0:0", "[::]:0"] {
        settings.binds = vec![any.parse().unwrap()];
        let error = Dns::start(&settings, Sink::nowhere()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(any) && text.contains("name each address"));
    }
    settings.binds.clear();
    assert!(Dns::start(&settings, Sink::nowhere()).is_err());
}

#[test]
fn it_answers_from_the_address_that_was_asked_and_frees_it_at_its_end() {
    let ports = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
    let rig = Rig::with(|settings| {
        settings.binds = ports.map(|it| it.parse().unwrap()).to_vec();
    });
    let addresses = rig.dns.addresses().to_vec();
    for address in &addresses {
        // Connected: an answer from elsewhere would not be received.
        rig.client.connect(address).unwrap();
        assert_eq!(rcode(&rig.send(&query(ZONE, A, IN, &[]))), 0);
    }
    let settings = ServeSettings {
        binds: addresses,
        ..rig.settings.clone()
    };
    let error = Dns::start(&settings, Sink::nowhere()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let told = error.to_string();
    assert!(told.contains("`ss -lntup` shows which"), "{told}");
    drop(rig);
    Dns::start(&settings, Sink::nowhere()).unwrap();
}

#[test]
fn it_answers_over_ipv6_where_there_is_any() {
    let Ok(client) = UdpSocket::bind("[::1]:0") else {
        return;
    };
    let rig = Rig::with(|settings| settings.binds.push("[::1]:0".parse().unwrap()));
    client.connect(rig.dns.addresses()[1]).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(&query(ZONE, A, IN, &[])).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(rcode(&reply[..length]), 0);
    let mut stream = TcpStream::connect(rig.dns.addresses()[1]).unwrap();
    exchange(&mut stream, &query(ZONE, A, IN, &[])).unwrap();
    assert!(rig.dns.is_running());
}
