//! One task per backend: schedule -> probe -> state -> report.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::probe::{Failure, FailureReason, Outcome, Probe, Target};
use super::state::{Health, Sign};
use super::{ProbeSettings, schedule};
use crate::clock::{self, Moment, Seed};
use crate::pool::{BackendId, BackendState, Histogram, Totals};

/// Refusals that may wait for the prober: more say nothing new.
const NOTES: usize = 16;

/// A backend's state has changed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which backend.
    pub id: BackendId,
    /// What it is now.
    pub state: BackendState,
    /// What made it so.
    pub why: String,
    /// Whether its connections are to be ended, too: see
    /// [`Health::is_lost`].
    pub is_lost: bool,
}

/// What is counted of a backend's probes.
#[derive(Debug, Default)]
pub struct ProbeCells {
    passes: AtomicU64,
    failures: [AtomicU64; FailureReason::ALL.len()],
    durations: Histogram,
    last: Mutex<Option<LastProbe>>,
}

/// What the last probe found.
#[derive(Clone, Debug)]
pub struct LastProbe {
    /// In a word: `pass`, `drain`, `saturated` or `fail`.
    pub outcome: &'static str,
    /// Why it failed.
    pub detail: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Moment,
}

impl ProbeCells {
    /// Probes that found the backend alive.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Probes that failed, by reason.
    pub fn failures(&self) -> impl Iterator<Item = (FailureReason, u64)> {
        let counts = self.failures.iter().map(|it| it.load(Ordering::Relaxed));
        FailureReason::ALL.into_iter().zip(counts)
    }

    /// Adds how long probes took to `total`.
    pub fn add_durations(&self, total: &mut Totals) {
        self.durations.add_to(total);
    }

    /// What the last probe found.
    pub fn last(&self) -> Option<LastProbe> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, outcome: &Outcome, took: Duration, at: Moment) {
        self.durations.observe(took);
        let (word, detail) = match outcome {
            Outcome::Pass => ("pass", None),
            Outcome::Drain => ("drain", None),
            Outcome::Saturated => ("saturated", None),
            Outcome::Fail(failure) => ("fail", Some(failure.to_string())),
        };
        if let Outcome::Fail(failure) = outcome {
            self.failures[failure.reason as usize].fetch_add(1, Ordering::Relaxed);
        } else {
            self.passes.fetch_add(1, Ordering::Relaxed);
        }
        let last = LastProbe {
            outcome: word,
            detail,
            took,
            at,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

enum Note {
    /// The backend has greeted a client.
    Greeted,
    /// The backend has refused a real connection.
    Refused,
    /// The configuration has changed.
    Settings(Box<(ProbeSettings, Target)>),
}

/// The prober of one backend. Ends when it is dropped.
#[derive(Debug)]
pub struct Prober {
    cells: Arc<ProbeCells>,
    notes: mpsc::Sender<Note>,
    _task: JoinHandle<()>,
}

impl Prober {
    /// Begins to probe `target`, and reports every change of its state.
    pub fn start(
        id: BackendId,
        target: Target,
        settings: ProbeSettings,
        is_cold_start: bool,
        seed: Seed,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let cells = Arc::<ProbeCells>::default();
        let (notes, inbox) = mpsc::channel(NOTES);
        let task = Task {
            id,
            probe: Probe::new(&settings),
            settings,
            target,
            health: Health::new(is_cold_start),
            cells: Arc::clone(&cells),
            rng: seed.rng(),
            inbox,
            reports,
        };
        let task = tokio::spawn(task.run());
        Self {
            cells,
            notes,
            _task: task,
        }
    }

    /// What it counts.
    pub fn cells(&self) -> &Arc<ProbeCells> {
        &self.cells
    }

    /// The backend has refused a real connection: a probe shall say soon what
    /// that means.
    pub fn refused(&self) {
        // A full box holds enough refusals already.
        let _enough = self.notes.try_send(Note::Refused);
    }

    /// The backend, found full before, has greeted a client: it has places
    /// again. More than one greeting says nothing new.
    pub fn greeted(&self) {
        // A full box is read soon; a busy server greets again.
        let _enough = self.notes.try_send(Note::Greeted);
    }

    /// Probes in another way from now on; what is known stays known.
    pub fn reconfigure(&self, settings: ProbeSettings, target: Target) {
        let notes = self.notes.clone();
        let note = Note::Settings(Box::new((settings, target)));
        // Refusals may fill the box; the settings wait for room, not we.
        tokio::spawn(async move {
            let _gone = notes.send(note).await;
        });
    }
}

struct Task {
    id: BackendId,
    probe: Probe,
    settings: ProbeSettings,
    target: Target,
    health: Health,
    cells: Arc<ProbeCells>,
    rng: SmallRng,
    inbox: mpsc::Receiver<Note>,
    reports: mpsc::Sender<Report>,
}

impl Task {
    async fn run(mut self) {
        let mut next = clock::now() + schedule::first(&self.settings.timing, &mut self.rng);
        let mut earliest = next;
        loop {
            let wait = next.since(clock::now());
            let note = tokio::time::timeout(wait, self.inbox.recv()).await;
            match note {
                Ok(None) => break,
                Ok(Some(Note::Refused)) => {
                    // A connection that was made before says nothing of new
                    // ones.
                    self.probe.close().await;
                    next = next.min(earliest);
                }
                Ok(Some(Note::Greeted)) => {
                    if self.health.greeted(clock::now()) {
                        let report = self.report("it greeted a client".to_owned());
                        if self.reports.send(report).await.is_err() {
                            break;
                        }
                    }
                }
                Ok(Some(Note::Settings(settings))) => {
                    (self.settings, self.target) = *settings;
                    self.probe.close().await;
                    self.probe = Probe::new(&self.settings);
                    next = next.min(clock::now() + self.settings.timing.interval);
                }
                Err(_elapsed) => {
                    let began = clock::now();
                    earliest = began + self.settings.timing.fast_interval;
                    let outcome = self.probe.run(&self.target).await;
                    let ended = clock::now();
                    self.cells.note(&outcome, ended.since(began), ended);
                    let (sign, why) = read(outcome, &self.target);
                    if self.observe(sign, why).await.is_err() {
                        break;
                    }
                    let pause = schedule::next(&self.health, &self.settings.timing, &mut self.rng);
                    next = began + pause;
                }
            }
        }
        self.probe.close().await;
    }

    /// Fails if nobody listens to reports any more.
    async fn observe(
        &mut self,
        sign: Sign,
        why: String,
    ) -> Result<(), mpsc::error::SendError<Report>> {
        let timing = &self.settings.timing;
        if !self.health.observe(sign, timing, clock::now()) {
            return Ok(());
        }
        self.reports.send(self.report(why)).await
    }

    fn report(&self, why: String) -> Report {
        Report {
            id: self.id,
            state: self.health.state(),
            why,
            is_lost: self.health.is_lost(),
        }
    }
}

fn read(outcome: Outcome, target: &Target) -> (Sign, String) {
    match outcome {
        Outcome::Pass => (Sign::Pass, "the probe passed".to_owned()),
        Outcome::Drain => (Sign::Drain, "the probe asked to drain".to_owned()),
        Outcome::Saturated => (Sign::Saturated, "the server is full".to_owned()),
        Outcome::Fail(failure) if refuses_clients(&failure, target) => {
            (Sign::Refused, failure.to_string())
        }
        Outcome::Fail(failure) => (Sign::Fail, failure.to_string()),
    }
}

/// Whether clients would have been refused as the probe was.
fn refuses_clients(failure: &Failure, target: &Target) -> bool {
    failure.reason == FailureReason::ConnectRefused && target.is_clients_port
}
