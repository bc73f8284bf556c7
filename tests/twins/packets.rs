//! Raw packets at the embedded name server, and far too many of them.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::kit::pair::NAME;
use super::kit::said::Said;
use super::kit::{figure, pass};

/// The cases and how they went.
pub struct Table {
    pub server: SocketAddr,
    pub ok: usize,
    pub failed: Vec<String>,
}

impl Table {
    pub fn case(&mut self, name: &str, is_ok: bool) {
        eprintln!("rows.28 {} {name}", if is_ok { "ok    " } else { "FAILED" });
        if is_ok {
            self.ok += 1;
        } else {
            self.failed.push(name.to_owned());
        }
    }

    /// What comes back for these bytes, soon.
    fn send(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Duration::from_millis(300);
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.connect(self.server).unwrap();
        socket.send(packet).unwrap();
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).ok()?;
        answer.truncate(length);
        Some(answer)
    }

    /// The answer's code for these bytes; none if they are dropped.
    pub fn code(&self, packet: &[u8]) -> Option<u8> {
        let answer = self.send(packet)?;
        assert_eq!((answer[0], answer[1]), (packet[0], packet[1]), "its id");
        assert_eq!(answer[2] & 0x80, 0x80, "an answer");
        Some(answer[3] & 0x0f)
    }
}

const FORMERR: Option<u8> = Some(1);
pub const NOTIMP: Option<u8> = Some(4);

/// A header with these flags and counts of questions and additional records.
pub fn header(flags: u16, questions: u16, additional: u16) -> Vec<u8> {
    let numbers = [0xbeef, flags, questions, 0, 0, additional];
    numbers.iter().flat_map(|it| it.to_be_bytes()).collect()
}

pub fn question() -> Vec<u8> {
    let mut all = Vec::new();
    for label in NAME.split('.') {
        all.push(u8::try_from(label.len()).unwrap());
        all.extend(label.bytes());
    }
    all.extend([0, 0, 1, 0, 1]);
    all
}

pub fn raw_cases(table: &mut Table) {
    let with = |flags, count, body: &[u8]| [header(flags, count, 0), body.to_vec()].concat();
    let one = question();
    let two = [one.clone(), one.clone()].concat();
    let all = [
        ("a plain question is answered", with(0, 1, &one), Some(0)),
        ("QR=1 is dropped", with(0x8000, 1, &one), None),
        (
            "IXFR is refused",
            with(0, 1, &[&one[..one.len() - 4], &[0, 251, 0, 1]].concat()),
            Some(5),
        ),
        ("no question", with(0, 0, &[]), FORMERR),
        ("two questions", with(0, 2, &two), FORMERR),
        (
            "65,535 questions that are not there",
            with(0, 0xffff, &one),
            FORMERR,
        ),
        ("a question that is not there", with(0, 1, &[]), FORMERR),
        ("half a question", with(0, 1, &one[..5]), FORMERR),
        (
            "a name that points to itself",
            with(0, 1, &[0xc0, 12, 0, 1, 0, 1]),
            FORMERR,
        ),
        (
            "the reserved kind of label",
            with(0, 1, &[0x80, 1, 0, 0, 1, 0, 1]),
            FORMERR,
        ),
    ];
    for (name, packet, wanted) in all {
        let code = table.code(&packet);
        table.case(name, code == wanted);
    }
    for length in [0, 1, 2, 11] {
        let packet = &header(0, 1, 0)[..length];
        let is_dropped = table.send(packet).is_none();
        table.case(&format!("{length} bytes are dropped"), is_dropped);
    }
    let opt = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
    let packet = [header(0, 1, 2), one, opt.to_vec(), opt.to_vec()].concat();
    let code = table.code(&packet);
    table.case("two OPT records", code == FORMERR);
}

/// More questions than a network may ask in a second.
pub fn flood_cases(table: &mut Table) {
    const FLOOD: usize = 3000;
    // Far from the tools' own questions.
    let socket = UdpSocket::bind("127.9.9.9:0").unwrap();
    socket.connect(table.server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let packet = [header(0, 1, 0), question()].concat();
    let (mut whole, mut cut) = (0, 0);
    let mut answer = [0; 512];
    let mut take = |socket: &UdpSocket| {
        let is_there = socket.recv(&mut answer).is_ok();
        let is_cut = is_there && answer[2] & 0x02 != 0;
        whole += usize::from(is_there && !is_cut);
        cut += usize::from(is_cut);
        is_there
    };
    socket.set_nonblocking(true).unwrap();
    for _ in 0..FLOOD {
        let _may_be_full = socket.send(&packet);
        while take(&socket) {}
    }
    socket.set_nonblocking(false).unwrap();
    while take(&socket) {}
    figure(
        "rows.28 flood",
        format!("{whole} whole, {cut} cut, of {FLOOD}"),
    );
    table.case("a flood is limited", whole > 0 && whole < FLOOD / 2);
    table.case("some of it is told to use TCP", cut > 0);
    let neighbour = Said::ask(table.server, "dig NAME A");
    table.case("others are answered meanwhile", neighbour.answer.len() == 1);
    pass(Duration::from_millis(1500));
    socket.send(&packet).unwrap();
    let is_back = socket.recv(&mut [0; 512]).is_ok();
    table.case("the limit ends with the flood", is_back);
}
