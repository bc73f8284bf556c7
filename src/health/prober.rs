//! One task per backend: schedule -> probe -> state -> report.

use std::sync::Arc;

use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cells::ProbeCells;
use super::probe::{Aim, Blindness, Failure, FailureReason, Outcome, Probe};
use super::sight::Sight;
use super::spare::Spare;
use super::state::{Health, Sign};
use super::{ProbeSettings, guard, schedule};
use crate::clock::{self, Seed};
use crate::pool::{BackendId, BackendState};
use crate::types::OwnFault;

/// Refusals that may wait for the prober: more say nothing new.
const NOTES: usize = 16;

/// What a prober has to say.
#[derive(Clone, Debug)]
pub enum News {
    /// A backend's state has changed.
    State(Report),
    /// A backend cannot be probed, for a reason of our own. Its state stays.
    Blind {
        /// Which backend.
        id: BackendId,
        /// What it was found to be before.
        state: BackendState,
        /// Why it cannot be probed.
        blindness: Blindness,
    },
    /// It can be probed again.
    Seeing {
        /// Which backend.
        id: BackendId,
        /// What it was found to be before.
        state: BackendState,
    },
}

type Gone = mpsc::error::SendError<News>;

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

/// How to probe from now on.
#[derive(Debug)]
struct Renewal {
    settings: ProbeSettings,
    aim: Aim,
    /// What is known by a probe like that; `None`: what the old one has found.
    health: Option<Health>,
}

enum Note {
    /// The backend has greeted a client.
    Greeted,
    /// The backend has refused a real connection, or turned its client away.
    Refused,
    /// The configuration has changed.
    Settings(Box<Renewal>),
}

/// The prober of one backend. Ends when it is dropped.
#[derive(Debug)]
pub struct Prober {
    cells: Arc<ProbeCells>,
    notes: mpsc::Sender<Note>,
    _task: JoinHandle<()>,
}

impl Prober {
    /// Begins to probe `aim`, of which `health` is known, and tells every
    /// change of its state. `spare` has descriptors for when there are no others.
    pub fn start(
        id: BackendId,
        aim: Aim,
        settings: ProbeSettings,
        health: Health,
        seed: Seed,
        (spare, reports): (Arc<Spare>, mpsc::Sender<News>),
    ) -> Self {
        let cells = Arc::<ProbeCells>::default();
        let (notes, inbox) = mpsc::channel(NOTES);
        let task = Task {
            id,
            probe: Probe::new(&settings),
            settings,
            aim,
            health,
            sight: Sight::default(),
            spare,
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

    /// The backend has refused a real connection, or turned its client away: a
    /// probe shall say soon what that means.
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

    /// Probes in another way from now on; what is known stays known, unless
    /// `health` is what such a probe has found.
    pub fn reconfigure(&self, settings: ProbeSettings, aim: Aim, health: Option<Health>) {
        let notes = self.notes.clone();
        let note = Note::Settings(Box::new(Renewal {
            settings,
            aim,
            health,
        }));
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
    aim: Aim,
    health: Health,
    sight: Sight,
    spare: Arc<Spare>,
    cells: Arc<ProbeCells>,
    rng: SmallRng,
    inbox: mpsc::Receiver<Note>,
    reports: mpsc::Sender<News>,
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
                        let news = self.news("it greeted a client".to_owned());
                        if self.reports.send(news).await.is_err() {
                            break;
                        }
                    }
                }
                Ok(Some(Note::Settings(renewal))) => {
                    self.settings = renewal.settings;
                    self.aim = renewal.aim;
                    self.health = renewal.health.unwrap_or(self.health);
                    self.probe.close().await;
                    self.probe = Probe::new(&self.settings);
                    next = next.min(clock::now() + self.settings.timing.interval);
                }
                Err(_elapsed) => {
                    let began = clock::now();
                    earliest = began + self.settings.timing.fast_interval;
                    let outcome = self.probe().await;
                    let ended = clock::now();
                    self.cells.note(&outcome, ended.since(began), ended);
                    if self.take(outcome).await.is_err() {
                        break;
                    }
                    let pause = schedule::next(&self.health, &self.settings.timing, &mut self.rng);
                    next = began + pause;
                }
            }
        }
        self.probe.close().await;
    }

    /// Probes once; with descriptors that were kept back, if there are no
    /// others.
    async fn probe(&mut self) -> Outcome {
        let mut outcome = self.try_to_probe().await;
        let is_short = matches!(
            &outcome,
            Outcome::Unknown(blindness) if blindness.fault == OwnFault::OutOfFds
        );
        if is_short && self.spare.lend(self.settings.opens()) {
            outcome = self.try_to_probe().await;
        }
        self.spare.refill();
        outcome
    }

    async fn try_to_probe(&mut self) -> Outcome {
        let target = match &self.aim {
            Aim::Target(target) => target,
            // A command would ask nobody, and may pass.
            Aim::Nowhere(host) => {
                let why = format!("{host} has no address yet");
                return Outcome::Fail(Failure::new(FailureReason::Unreachable, why));
            }
        };
        match guard::survive(self.probe.run(target)).await {
            Ok(outcome) => outcome,
            Err(said) => {
                // What the panic left of it is not used again.
                self.probe = Probe::new(&self.settings);
                Outcome::Unknown(Blindness {
                    fault: OwnFault::Internal,
                    detail: format!("the probe panicked: {said}"),
                })
            }
        }
    }

    /// Takes note of what a probe found. Fails if nobody listens any more.
    async fn take(&mut self, outcome: Outcome) -> Result<(), Gone> {
        let (sign, why) = match read(outcome, &self.aim) {
            Ok(seen) => seen,
            Err(blindness) => {
                if self.health.cannot_be_probed() {
                    let why = "it cannot be probed, and has not been before".to_owned();
                    self.reports.send(self.news(why)).await?;
                }
                if self.sight.observe(Some(blindness.fault)).is_some() {
                    let news = News::Blind {
                        id: self.id,
                        state: self.health.state(),
                        blindness,
                    };
                    self.reports.send(news).await?;
                }
                return Ok(());
            }
        };
        if self.sight.observe(None).is_some() {
            let news = News::Seeing {
                id: self.id,
                state: self.health.state(),
            };
            self.reports.send(news).await?;
        }
        let timing = &self.settings.timing;
        if self.health.observe(sign, timing, clock::now()) {
            self.reports.send(self.news(why)).await?;
        }
        Ok(())
    }

    fn news(&self, why: String) -> News {
        News::State(Report {
            id: self.id,
            state: self.health.state(),
            why,
            is_lost: self.health.is_lost(),
        })
    }
}

/// What a probe says of the backend, if it says anything.
fn read(outcome: Outcome, aim: &Aim) -> Result<(Sign, String), Blindness> {
    Ok(match outcome {
        Outcome::Pass => (Sign::Pass, "the probe passed".to_owned()),
        Outcome::Drain => (Sign::Drain, "the probe asked to drain".to_owned()),
        Outcome::Saturated => (Sign::Saturated, "the server is full".to_owned()),
        Outcome::Fail(failure) if refuses_clients(&failure, aim) => {
            (Sign::Refused, failure.to_string())
        }
        Outcome::Fail(failure) => (Sign::Fail, failure.to_string()),
        Outcome::Unknown(blindness) => return Err(blindness),
    })
}

/// Whether clients would have been refused as the probe was.
fn refuses_clients(failure: &Failure, aim: &Aim) -> bool {
    let is_clients_port = matches!(aim, Aim::Target(target) if target.is_clients_port);
    failure.reason == FailureReason::ConnectRefused && is_clients_port
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;
