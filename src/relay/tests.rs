use std::cell::RefCell;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What a scripted socket does next.
#[derive(Clone, Debug)]
enum Act {
    Give(Vec<u8>),
    Block,
    Take(usize),
    End,
    Break,
}

#[derive(Default)]
struct Script {
    reads: VecDeque<Act>,
    writes: VecDeque<Act>,
    got: Vec<u8>,
    shut: RefCell<bool>,
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.reads.pop_front() {
            Some(Act::Give(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(buf.len()));
                buf[..bytes.len()].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    self.reads.push_front(Act::Give(rest));
                }
                Ok(bytes.len())
            }
            Some(Act::End) => Ok(0),
            Some(Act::Break) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Act::Block | Act::Take(_)) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(!*self.shut.borrow(), "nothing is written after the FIN");
        let taken = match self.writes.pop_front() {
            Some(Act::Take(n)) => n.min(buf.len()),
            Some(Act::Block) => return Err(io::ErrorKind::WouldBlock.into()),
            Some(Act::Break) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(Act::Give(_) | Act::End) | None => buf.len(),
        };
        self.got.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script {
    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        *self.shut.borrow_mut() = true;
        Ok(())
    }
}

const OPEN: Ready = Ready {
    read: true,
    write: true,
    hangup: false,
};

fn reading(acts: impl IntoIterator<Item = Act>) -> Script {
    Script {
        reads: acts.into_iter().collect(),
        ..Script::default()
    }
}

#[test]
fn bytes_then_fin_arrive_in_order() {
    let mut source = reading([Act::Give(b"hello".to_vec()), Act::End]);
    let mut sink = Script::default();
    let mut direction = Direction::default();
    let mut from = Ready {
        hangup: true,
        ..OPEN
    };
    direction.prefix(b"PROXY ");
    let turn = direction.run(
        &mut source,
        &mut from,
        &mut sink,
        &mut { OPEN },
        &mut [0; 64],
        1000,
    );
    assert!(matches!(turn, Turn::Idle));
    assert_eq!(sink.got, b"PROXY hello");
    assert!(direction.is_closed() && *sink.shut.borrow());
    assert_eq!(direction.moved(), 11);
}

#[test]
fn a_short_read_without_hangup_spares_the_empty_one() {
    let mut source = reading([Act::Give(b"x".to_vec()), Act::Break]);
    let mut direction = Direction::default();
    let mut from = OPEN;
    let turn = direction.run(
        &mut source,
        &mut from,
        &mut Script::default(),
        &mut { OPEN },
        &mut [0; 64],
        1000,
    );
    assert!(matches!(turn, Turn::Idle), "the second read was not made");
    assert!(!from.read);
}

#[test]
fn a_stalled_sink_stops_the_reading() {
    let mut source = reading(vec![Act::Give(vec![7; 64]); 100]);
    let mut sink = Script::default();
    sink.writes.extend([Act::Take(10), Act::Block]);
    let mut direction = Direction::default();
    let (mut from, mut to) = (OPEN, OPEN);
    let turn = direction.run(
        &mut source,
        &mut from,
        &mut sink,
        &mut to,
        &mut [0; 64],
        9999,
    );
    assert!(matches!(turn, Turn::Idle));
    assert_eq!(direction.waiting().len(), 54);
    assert_eq!(source.reads.len(), 99, "only one buffer was read");
    assert!(from.read && !to.write);
}

#[test]
fn a_turn_keeps_to_its_budget() {
    let mut source = reading(vec![Act::Give(vec![7; 64]); 100]);
    let mut direction = Direction::default();
    let turn = direction.run(
        &mut source,
        &mut { OPEN },
        &mut Script::default(),
        &mut { OPEN },
        &mut [0; 64],
        640,
    );
    assert!(matches!(turn, Turn::Spent));
    assert_eq!(direction.moved(), 640);
}

#[test]
fn a_broken_source_and_a_broken_sink_are_told_apart() {
    let mut direction = Direction::default();
    let turn = direction.run(
        &mut reading([Act::Break]),
        &mut { OPEN },
        &mut Script::default(),
        &mut { OPEN },
        &mut [0; 8],
        100,
    );
    assert!(matches!(turn, Turn::SourceBroke(_)));
    let mut sink = Script::default();
    sink.writes.push_back(Act::Break);
    let turn = Direction::default().run(
        &mut reading([Act::Give(vec![1])]),
        &mut { OPEN },
        &mut sink,
        &mut { OPEN },
        &mut [0; 8],
        100,
    );
    assert!(matches!(turn, Turn::SinkBroke(_)));
}

fn read_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 1..50).prop_map(Act::Give),
        1 => Just(Act::Block),
    ]
}

fn write_act() -> impl Strategy<Value = Act> {
    prop_oneof![3 => (1usize..40).prop_map(Act::Take), 1 => Just(Act::Block)]
}

proptest! {
    /// However the sockets cut, block and stall, what goes in comes out, and
    /// the FIN comes last.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        mut reads in prop::collection::vec(read_act(), 0..40),
        writes in prop::collection::vec(write_act(), 0..80),
        scratch in 1usize..64,
    ) {
        let wanted: Vec<u8> = reads
            .iter()
            .filter_map(|act| if let Act::Give(bytes) = act { Some(bytes.clone()) } else { None })
            .flatten()
            .collect();
        reads.push(Act::End);
        let mut source = reading(reads);
        let mut sink = Script { writes: writes.into(), ..Script::default() };
        let mut direction = Direction::default();
        let mut scratch = vec![0; scratch];
        for _ in 0..10_000 {
            if direction.is_closed() {
                break;
            }
            // Every round both sockets report that they are ready again.
            direction.run(&mut source, &mut { OPEN }, &mut sink, &mut { OPEN }, &mut scratch, 100);
        }
        prop_assert!(direction.is_closed());
        prop_assert_eq!(sink.got, wanted);
    }
}
