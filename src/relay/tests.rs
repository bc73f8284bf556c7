use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;

/// What a scripted socket does next.
#[derive(Clone, Debug)]
enum Act {
    Give(Vec<u8>),
    Block,
    Take(usize),
    End,
    /// Where urgent data stand: a splice stays before it.
    Mark,
    Break,
}

#[derive(Default)]
struct Script {
    reads: VecDeque<Act>,
    writes: VecDeque<Act>,
    got: Vec<u8>,
    shut: RefCell<bool>,
    prompt: RefCell<bool>,
    /// How many bytes were sent together with the end of the stream.
    last: usize,
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
            Some(Act::End) => {
                // Whoever asks again is told again.
                self.reads.push_front(Act::End);
                Ok(0)
            }
            Some(Act::Mark) => self.read(buf),
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
            Some(Act::Give(_) | Act::End | Act::Mark) | None => buf.len(),
        };
        self.got.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script {
    fn write_last(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.write(bytes)?;
        self.last += taken;
        Ok(taken)
    }
    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        *self.shut.borrow_mut() = true;
        Ok(())
    }
    fn set_prompt(&self) -> io::Result<()> {
        *self.prompt.borrow_mut() = true;
        Ok(())
    }
    fn pull(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        if matches!(self.reads.front(), Some(Act::Mark)) {
            return Ok(0);
        }
        let mut bytes = vec![0; most];
        let got = self.read(&mut bytes)?;
        let kept = rustix::io::write(&pipe.entry, &bytes[..got])?;
        assert_eq!(kept, got, "the pipe has room for what is asked for");
        pipe.held += got;
        Ok(got)
    }
    fn push(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        assert!(!*self.shut.borrow(), "nothing is written after the FIN");
        let taken = match self.writes.pop_front() {
            Some(Act::Take(n)) => n.min(pipe.held()),
            Some(Act::Block) => return Err(io::ErrorKind::WouldBlock.into()),
            Some(Act::Break) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(Act::Give(_) | Act::End | Act::Mark) | None => pipe.held(),
        };
        let mut bytes = vec![0; taken];
        let taken = rustix::io::read(&pipe.exit, &mut bytes)?;
        pipe.held -= taken;
        self.got.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
}

fn tools(scratch: usize, pipes: usize) -> Tools {
    Tools {
        scratch: vec![0; scratch].into(),
        pipes: Pipes::new(pipes),
    }
}

fn turn(
    direction: &mut Direction,
    (source, from): (&mut Script, &mut Ready),
    (sink, to): (&mut Script, &mut Ready),
    tools: &mut Tools,
    budget: usize,
) -> Turn {
    let ends = Ends {
        source,
        from,
        sink,
        to,
        is_last: false,
        is_cut: false,
    };
    direction.run(ends, tools, budget)
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
    let done = turn(
        &mut direction,
        (&mut source, &mut from),
        (&mut sink, &mut { OPEN }),
        &mut tools(64, 0),
        1000,
    );
    assert!(matches!(done, Turn::Idle));
    assert_eq!(sink.got, b"PROXY hello");
    assert!(direction.is_closed() && *sink.shut.borrow());
    assert_eq!(direction.moved(), 11);
}

#[test]
fn a_short_read_without_hangup_spares_the_empty_one() {
    let mut source = reading([Act::Give(b"x".to_vec()), Act::Break]);
    let mut direction = Direction::default();
    let mut from = OPEN;
    let done = turn(
        &mut direction,
        (&mut source, &mut from),
        (&mut Script::default(), &mut { OPEN }),
        &mut tools(64, 0),
        1000,
    );
    assert!(matches!(done, Turn::Idle), "the second read was not made");
    assert!(!from.read);
}

#[test]
fn a_stalled_sink_stops_the_reading() {
    let mut source = reading(vec![Act::Give(vec![7; 64]); 100]);
    let mut sink = Script::default();
    sink.writes.extend([Act::Take(10), Act::Block]);
    let mut direction = Direction::default();
    let (mut from, mut to) = (OPEN, OPEN);
    let done = turn(
        &mut direction,
        (&mut source, &mut from),
        (&mut sink, &mut to),
        &mut tools(64, 0),
        9999,
    );
    assert!(matches!(done, Turn::Idle));
    assert_eq!(direction.waiting().len(), 54);
    assert_eq!(source.reads.len(), 99, "only one buffer was read");
    assert!(from.read && !to.write);
}

#[test]
fn a_turn_keeps_to_its_budget() {
    let mut source = reading(vec![Act::Give(vec![7; 64]); 100]);
    let mut direction = Direction::default();
    let done = turn(
        &mut direction,
        (&mut source, &mut { OPEN }),
        (&mut Script::default(), &mut { OPEN }),
        &mut tools(64, 0),
        640,
    );
    assert!(matches!(done, Turn::Spent));
    assert_eq!(direction.moved(), 640);
}

#[test]
fn a_broken_source_and_a_broken_sink_are_told_apart() {
    let mut direction = Direction::default();
    let done = turn(
        &mut direction,
        (&mut reading([Act::Break]), &mut { OPEN }),
        (&mut Script::default(), &mut { OPEN }),
        &mut tools(8, 0),
        100,
    );
    assert!(matches!(done, Turn::SourceBroke(_)));
    let mut sink = Script::default();
    sink.writes.push_back(Act::Break);
    let done = turn(
        &mut Direction::default(),
        (&mut reading([Act::Give(vec![1])]), &mut { OPEN }),
        (&mut sink, &mut { OPEN }),
        &mut tools(8, 0),
        100,
    );
    assert!(matches!(done, Turn::SinkBroke(_)));
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

#[test]
fn the_fin_leaves_with_the_last_bytes() {
    let mut source = reading([Act::Give(b"bye".to_vec()), Act::End]);
    let mut sink = Script::default();
    let mut direction = Direction::default();
    let mut from = Ready {
        hangup: true,
        ..OPEN
    };
    let ends = Ends {
        source: &mut source,
        from: &mut from,
        sink: &mut sink,
        to: &mut { OPEN },
        is_last: true,
        is_cut: false,
    };
    assert!(matches!(
        direction.run(ends, &mut tools(64, 0), 999),
        Turn::Idle
    ));
    assert_eq!((sink.got.as_slice(), sink.last), (&b"bye"[..], 3));
    assert!(direction.is_closed());
    assert!(!*sink.shut.borrow(), "close(2) says it");
}

#[test]
fn a_reset_behind_the_last_bytes_is_no_end() {
    let mut source = reading([Act::Give(b"cut".to_vec()), Act::Break]);
    let mut sink = Script::default();
    let mut direction = Direction::default();
    let mut from = Ready {
        hangup: true,
        ..OPEN
    };
    let done = turn(
        &mut direction,
        (&mut source, &mut from),
        (&mut sink, &mut { OPEN }),
        &mut tools(64, 0),
        999,
    );
    assert!(matches!(done, Turn::SourceBroke(_)));
    assert_eq!((sink.got.as_slice(), sink.last), (&b"cut"[..], 0));
    assert!(!direction.is_closed());
}

#[test]
fn the_end_of_a_stream_that_was_cut_is_not_told() {
    let mut source = reading([Act::Give(b"cut".to_vec()), Act::End]);
    let mut sink = Script::default();
    let mut direction = Direction::default();
    let ends = Ends {
        source: &mut source,
        from: &mut Ready {
            hangup: true,
            ..OPEN
        },
        sink: &mut sink,
        to: &mut { OPEN },
        is_last: false,
        is_cut: true,
    };
    assert!(matches!(
        direction.run(ends, &mut tools(64, 0), 999),
        Turn::Idle
    ));
    assert_eq!((sink.got.as_slice(), sink.last), (&b"cut"[..], 0));
    assert!(direction.is_closed() && !*sink.shut.borrow());
}

#[test]
fn only_a_second_write_must_not_wait() {
    let mut direction = Direction::lazy();
    let mut sink = Script::default();
    for is_prompt in [false, true] {
        let mut source = reading([Act::Give(b"x".to_vec())]);
        turn(
            &mut direction,
            (&mut source, &mut { OPEN }),
            (&mut sink, &mut { OPEN }),
            &mut tools(64, 0),
            999,
        );
        assert_eq!(*sink.prompt.borrow(), is_prompt);
    }
}

#[test]
fn a_full_scratch_buffer_makes_it_a_pipe_and_small_moves_a_copy() {
    let mut tools = tools(1 << 16, 4);
    let mut direction = Direction::default();
    let mut sink = Script::default();
    let mut source = reading(vec![Act::Give(vec![7; 1 << 16]); 3]);
    let both =
        |direction: &mut Direction, source: &mut Script, sink: &mut Script, tools: &mut Tools| {
            turn(
                direction,
                (source, &mut { OPEN }),
                (sink, &mut { OPEN }),
                tools,
                usize::MAX,
            )
        };
    both(&mut direction, &mut source, &mut sink, &mut tools);
    assert!(direction.is_splicing && direction.pipe.is_none());
    assert_eq!(tools.pipes.open(), 1, "and the pipe is back");
    for _ in 0..MOST_SMALL {
        let mut source = reading([Act::Give(b"x".to_vec())]);
        both(&mut direction, &mut source, &mut sink, &mut tools);
    }
    assert!(!direction.is_splicing);
    assert_eq!(sink.got.len(), 3 * (1 << 16) + usize::from(MOST_SMALL));

    // A sink that stalls keeps the pipe, and its end closes it.
    let mut source = reading(vec![Act::Give(vec![7; 1 << 16]); 3]);
    sink.writes = [Act::Take(usize::MAX), Act::Take(5), Act::Block].into();
    both(&mut direction, &mut source, &mut sink, &mut tools);
    assert!(direction.is_stalled());
    direction.give_up(&mut tools.pipes);
    assert_eq!(tools.pipes.open(), 0);
}

#[test]
fn urgent_data_in_a_pipe_are_not_the_end() {
    let mut tools = tools(1 << 16, 1);
    let full = || Act::Give(vec![7; 1 << 16]);
    let rest = Act::Give(b"rest".to_vec());
    let mut source = reading([full(), full(), Act::Mark, rest, Act::End]);
    let mut sink = Script::default();
    let mut direction = Direction::default();
    let mut from = Ready {
        hangup: true,
        ..OPEN
    };
    turn(
        &mut direction,
        (&mut source, &mut from),
        (&mut sink, &mut { OPEN }),
        &mut tools,
        usize::MAX,
    );
    assert!(direction.is_closed());
    assert_eq!(sink.got.len(), 2 * (1 << 16) + 4);
    assert_eq!(tools.pipes.open(), 1);
}

proptest! {
    /// However the sockets cut, block and stall, what goes in comes out, and
    /// the FIN comes last.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        mut reads in prop::collection::vec(read_act(), 0..40),
        writes in prop::collection::vec(write_act(), 0..80),
        scratch in 1usize..64,
        pipes in 0usize..2,
        hangup: bool,
        is_last: bool,
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
        let mut tools = tools(scratch, pipes);
        for _ in 0..10_000 {
            if direction.is_closed() {
                break;
            }
            // Every round both sockets report that they are ready again.
            let ends = Ends {
                source: &mut source,
                from: &mut Ready { hangup, ..OPEN },
                sink: &mut sink,
                to: &mut { OPEN },
                is_last,
                is_cut: false,
            };
            direction.run(ends, &mut tools, 100);
        }
        prop_assert!(direction.is_closed());
        prop_assert!(direction.pipe.is_none(), "borrowed no longer than needed");
        prop_assert_eq!(*sink.shut.borrow(), !is_last);
        prop_assert_eq!(sink.got, wanted);
    }
}
