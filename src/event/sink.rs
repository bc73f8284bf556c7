//! From whoever has something to say to the log, without ever waiting.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::recent::Recent;
use super::{Event, LogFormat, line};
use crate::clock;
use crate::types::Taint;

/// Lines that may wait for a slow log: a second of a busy node.
const CAPACITY: usize = 65_536;
/// Lines are gathered up to this many bytes before they are written.
const BATCH: usize = 64 * 1024;

/// Where events go. Cheap to clone; never blocks. When the log cannot keep up,
/// events are dropped and counted.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: SyncSender<(Duration, Event)>,
    dropped: Arc<AtomicU64>,
    recent: Arc<Recent>,
    /// What no line may show.
    taint: Arc<ArcSwap<Guarded>>,
}

/// What must not be shown by the configuration in force, and by the one
/// before it: its probes may end a moment later.
#[derive(Debug, Default)]
struct Guarded {
    newest: Taint,
    both: Taint,
}

/// The thread that writes the log.
#[derive(Debug)]
pub struct LogThread {
    /// Is closed when the thread has ended.
    end: Receiver<()>,
}

impl Sink {
    /// A sink, and the thread that writes what it takes to standard error.
    pub fn start(format: LogFormat) -> io::Result<(Self, LogThread)> {
        let is_text = match format {
            LogFormat::Auto => io::stderr().is_terminal(),
            LogFormat::Json => false,
            LogFormat::Text => true,
        };
        let (sink, receiver) = Self::channel(CAPACITY);
        let dropped = Arc::clone(&sink.dropped);
        let (alive, end) = sync_channel(0);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let _alive: SyncSender<()> = alive;
                write_all(&receiver, is_text, &dropped, io::stderr());
            })?;
        Ok((sink, LogThread { end }))
    }

    fn channel(capacity: usize) -> (Self, Receiver<(Duration, Event)>) {
        let (sender, receiver) = sync_channel(capacity);
        let sink = Self {
            sender,
            dropped: Arc::default(),
            recent: Arc::default(),
            taint: Arc::default(),
        };
        (sink, receiver)
    }

    /// A sink that forgets everything: for tests and one-shot commands.
    pub fn nowhere() -> Self {
        Self::channel(0).0
    }

    /// Says `event`, or counts it as dropped.
    pub fn say(&self, mut event: Event) {
        if let Some(text) = event.free_text() {
            *text = self.clean(text);
        }
        let wall = clock::wall();
        self.recent.note(wall, &event);
        if self.sender.try_send((wall, event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on nothing is said that `taint` hides.
    pub fn guard(&self, taint: &Taint) {
        let mut both = self.taint.load().newest.clone();
        both.join(taint);
        let newest = taint.clone();
        self.taint.store(Arc::new(Guarded { newest, both }));
    }

    /// `text` without what must not be shown.
    pub fn clean(&self, text: &str) -> String {
        self.taint.load().both.clean(text)
    }

    /// The last events but connections', those after number `after`, oldest
    /// first, as the log has them; each with its number as `seq`.
    pub fn recent(&self, after: u64) -> Vec<serde_json::Value> {
        self.recent.after(after)
    }

    /// Lines that were dropped, because the log did not keep up or could not
    /// be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl LogThread {
    /// Waits until everything said has been written, for at most `limit`:
    /// whoever reads the log may have stopped to. Says whether all was
    /// written. As long as there is a [`Sink`], more may come.
    pub fn join(self, limit: Duration) -> bool {
        self.end.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

fn write_all(
    receiver: &Receiver<(Duration, Event)>,
    is_text: bool,
    dropped: &AtomicU64,
    mut out: impl Write,
) {
    let mut batch = String::with_capacity(BATCH + 1024);
    while let Ok(first) = receiver.recv() {
        let mut lines = 0;
        let mut next = Some(first);
        while let Some((wall, event)) = next {
            if is_text {
                line::plain(wall, &event, &mut batch);
            } else {
                line::json(wall, &event, &mut batch);
            }
            lines += 1;
            next = if batch.len() < BATCH {
                receiver.try_recv().ok()
            } else {
                None
            };
        }
        // A full disk or a closed pipe costs the lines, never the balancer.
        if out.write_all(batch.as_bytes()).is_err() {
            dropped.fetch_add(lines, Ordering::Relaxed);
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FullDisk;

    impl Write for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn trouble() -> Event {
        Event::Trouble {
            what: "x".to_owned(),
        }
    }

    #[test]
    fn a_log_that_does_not_keep_up_costs_lines_and_nothing_else() {
        let (sink, receiver) = Sink::channel(2);
        for _ in 0..5 {
            sink.say(trouble());
        }
        assert_eq!(sink.dropped(), 3);
        assert_eq!(receiver.try_iter().count(), 2);
    }

    #[test]
    fn a_full_disk_is_counted() {
        let (sink, receiver) = Sink::channel(8);
        sink.say(trouble());
        sink.say(trouble());
        let dropped = Arc::clone(&sink.dropped);
        drop(sink);
        write_all(&receiver, true, &dropped, FullDisk);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
