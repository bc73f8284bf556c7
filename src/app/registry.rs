//! The register as the pair knows it, and the hook that hears of changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::dns::hook::{self, HookSettings, News};
use crate::dns::register::{Register, RegisterError, WriteResult};
use crate::event::{Event, Sink};
use crate::pair::{PairSettings, Pending, ReadError, Witness, Wrote};
use crate::pool::{Histogram, Totals, Waits};
use crate::types::{Claim, Name, Registered};

/// How long to wait before the own name is written again, after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// A register, where each node is, and what has come of talking to it.
pub(super) struct Registry {
    register: Arc<dyn Register>,
    nodes: HashMap<Name, Vec<IpAddr>>,
    sink: Sink,
    /// The last trouble, so that each is told once.
    trouble: Mutex<Option<String>>,
    updates: [AtomicU64; 3],
    /// Reads that went well, and that did not.
    reads: [AtomicU64; 2],
    /// How long writes took. The election has one under way at a time.
    durations: Histogram<Waits>,
}

impl Registry {
    pub(super) fn new(register: Arc<dyn Register>, settings: &PairSettings, sink: Sink) -> Self {
        Self {
            register,
            nodes: addresses(settings),
            sink,
            trouble: Mutex::default(),
            updates: Default::default(),
            reads: Default::default(),
            durations: Histogram::default(),
        }
    }

    /// Gives this node its own name, however long that takes; nothing else
    /// waits for it.
    pub(super) async fn put_own(self: Arc<Self>, me: Name) {
        let addresses = self.nodes.get(&me).cloned().unwrap_or_default();
        loop {
            match self.register.put_own(&me, &addresses).await {
                Ok(()) => return self.well(),
                Err(error) => self.unwell(&error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Writes by their result.
    pub(super) fn updates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = ["won", "lost", "unknown"];
        let counts = self.updates.iter().map(|it| it.load(Ordering::Relaxed));
        words.into_iter().zip(counts)
    }

    /// Reads by their result.
    pub(super) fn reads(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.reads.iter().map(|it| it.load(Ordering::Relaxed));
        ["ok", "failed"].into_iter().zip(counts)
    }

    /// How long writes took.
    pub(super) fn durations(&self) -> Totals<Waits> {
        let mut total = Totals::default();
        self.durations.add_to(&mut total);
        total
    }

    fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn unwell(&self, error: &RegisterError) {
        let what = format!("register: {error}; {}", error.what_to_do());
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&what) {
            *trouble = Some(what.clone());
            self.sink.say(Event::Trouble { what });
        }
    }
}

fn addresses(settings: &PairSettings) -> HashMap<Name, Vec<IpAddr>> {
    let nodes = settings.nodes.iter();
    nodes
        .map(|it| (it.name.clone(), it.addresses.clone()))
        .collect()
}

impl Witness for Registry {
    fn read(&self) -> Pending<'_, Result<Option<Registered>, ReadError>> {
        Box::pin(async move {
            let read = self.register.read().await;
            self.reads[usize::from(read.is_err())].fetch_add(1, Ordering::Relaxed);
            match read {
                Ok(read) => {
                    self.well();
                    Ok(read)
                }
                Err(error) => {
                    self.unwell(&error);
                    Err(ReadError)
                }
            }
        })
    }

    fn write(&self, expect: Option<Registered>, new: Registered) -> Pending<'_, Wrote> {
        Box::pin(async move {
            let addresses = self.nodes.get(&new.claim.holder);
            let addresses = addresses.map_or(&[][..], Vec::as_slice);
            let start = clock::now();
            let wrote = self.register.write(expect.as_ref(), &new, addresses).await;
            self.durations.observe(clock::now().since(start));
            let (at, wrote) = match wrote {
                WriteResult::Won => (0, Wrote::Won),
                WriteResult::Lost => (1, Wrote::Lost),
                WriteResult::Unknown(error) => {
                    self.unwell(&error);
                    (2, Wrote::Unknown)
                }
            };
            self.updates[at].fetch_add(1, Ordering::Relaxed);
            wrote
        })
    }

    fn forget(&self, node: Name) -> Pending<'_, ()> {
        Box::pin(async move {
            let addresses = self.nodes.get(&node).cloned().unwrap_or_default();
            if let Err(error) = self.register.forget(&node, &addresses).await {
                self.unwell(&error);
            }
        })
    }
}

/// The command that hears of every change, one run after the other.
pub(super) struct Hook {
    settings: HookSettings,
    name: String,
    node: Name,
    nodes: HashMap<Name, Vec<IpAddr>>,
    sink: Sink,
}

impl Hook {
    pub(super) fn new(settings: HookSettings, pair: &PairSettings, sink: Sink) -> Self {
        Self {
            settings,
            name: pair.name.as_str().to_owned(),
            node: pair.me.clone(),
            nodes: addresses(pair),
            sink,
        }
    }

    /// Tells the command, and the log if it fails.
    pub(super) async fn tell(&self, role: &str, claim: &Claim) {
        let addresses = self.nodes.get(&claim.holder).cloned().unwrap_or_default();
        let news = News {
            name: &self.name,
            node: &self.node,
            role,
            claim,
            addresses: &addresses,
        };
        if let Err(error) = hook::run(&self.settings, &news).await {
            self.sink.say(Event::Trouble {
                what: format!("pair.dns.exec: {error}"),
            });
        }
    }
}
