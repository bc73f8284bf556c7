//! The thread that runs the election: what the network says goes in, what the
//! election asks for is done. It has one core's attention for itself, so that
//! no load of clients, probes or DNS can delay a sign of life.
//!
//! Priorities, in this order: hear everything that has arrived, tick if it is
//! time, carry out actions, sleep until the next of these.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::state::{
    Action, Election, Event, Fitness, Order, ReadError, Refusal, Transition, Wrote,
};
use super::{Heartbeat, PairSettings, View, watch};
use crate::clock::{self, Seed};
use crate::types::{Name, Registered};

/// What may wait for the driver: far more than arrives between two ticks.
const QUEUE: usize = 4096;

/// A call to the register that is under way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The register, as far as the pair knows it.
pub trait Witness: Send + Sync {
    /// What it says now.
    fn read(&self) -> Pending<'_, Result<Option<Registered>, ReadError>>;
    /// Changes it if it is still as expected.
    fn write(&self, expect: Option<Registered>, new: Registered) -> Pending<'_, Wrote>;
    /// Takes the own record of a dead node away.
    fn forget(&self, node: Name) -> Pending<'_, ()>;
}

/// Those who want to know what the election has decided.
pub trait Outlet: Send {
    /// The view has changed: who answers for the name, and with whom.
    fn show(&mut self, view: &View);
    /// The role has changed.
    fn tell(&mut self, transition: &Transition);
    /// A heartbeat is to be sent.
    fn send(&mut self, heartbeat: &Heartbeat);
}

/// What the driver needs of the rest of the process.
pub struct Ports {
    /// What this node can do for clients now. Must not wait.
    pub fitness: Box<dyn Fn() -> Fitness + Send>,
    /// The hash of the configuration in force now, which a reload changes. Must
    /// not wait.
    pub config: Box<dyn Fn() -> u64 + Send>,
    /// Who is told.
    pub outlet: Box<dyn Outlet>,
    /// The register, if there is one.
    pub witness: Option<Arc<dyn Witness>>,
}

enum Message {
    /// The process ends, or could not start.
    End,
    Event(Event),
    Order(Order, oneshot::Sender<Result<(), Refusal>>),
    /// Give the name away; answered when that is done, or cannot be.
    Shutdown(oneshot::Sender<()>),
}

/// A way to talk to the driver.
#[derive(Clone, Debug)]
pub struct Mouth(mpsc::Sender<Message>);

impl Mouth {
    /// A heartbeat has arrived, and it is genuine.
    pub fn heard(&self, heartbeat: Heartbeat) {
        // A full box has older ones enough; the next comes soon.
        let _next_comes = self.0.try_send(Message::Event(Event::Heard(heartbeat)));
    }
}

/// The running election of this node.
pub struct Driver {
    mouth: Mouth,
    view: Arc<ArcSwapOption<View>>,
    old: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A place for the driver's letters before there is a driver: the link needs
/// the mouth, and the driver the link.
pub struct Inbox(mpsc::Receiver<Message>);

/// A mouth and the inbox it speaks into.
pub fn channel() -> (Mouth, Inbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Mouth(sender), Inbox(receiver))
}

impl Driver {
    /// Starts the election on a thread of its own.
    pub fn start(
        settings: &PairSettings,
        election: Election,
        ports: Ports,
        mouth: Mouth,
        inbox: Inbox,
    ) -> io::Result<Self> {
        let view = Arc::<ArcSwapOption<View>>::default();
        let is_over = Arc::<AtomicBool>::default();
        let old = Arc::<AtomicU64>::default();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = Run {
            election,
            ports,
            data: data_addresses(settings),
            probe_timeout: settings.timing.probe_timeout,
            mouth: mouth.clone(),
            inbox: inbox.0,
            view: Arc::clone(&view),
            old: Arc::clone(&old),
            is_over: Arc::clone(&is_over),
            shown: None,
            orders: Vec::new(),
            leaving: None,
        };
        let thread = std::thread::Builder::new()
            .name("pair".to_owned())
            .spawn(move || runtime.block_on(run.run()))?;
        Ok(Self {
            mouth,
            view,
            old,
            is_over,
            thread: Some(thread),
        })
    }

    /// What the election knows; `None` before its first step.
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Heartbeats with the right signature that were no sign of life: copies
    /// that came by another path, or recordings.
    pub fn old_heartbeats(&self) -> u64 {
        self.old.load(Ordering::Relaxed)
    }

    /// Gives an order; says why it cannot be carried out.
    pub async fn order(&self, order: Order) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        // The driver ends only with the process.
        let _ends = self.mouth.0.send(Message::Order(order, reply)).await;
        answer.await.unwrap_or(Ok(()))
    }

    /// Gives the name away, for at most `patience`.
    pub async fn leave(&self, patience: Duration) {
        let (reply, answer) = oneshot::channel();
        let _ends = self.mouth.0.send(Message::Shutdown(reply)).await;
        let _either = timeout(patience, answer).await;
    }
}

/// The thread never outlives its handle.
impl Drop for Driver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // A full box makes it look soon enough.
        let _full = self.mouth.0.try_send(Message::End);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook.
            let _reported = thread.join();
        }
    }
}

/// Where each twin's workers attest that they live.
fn data_addresses(settings: &PairSettings) -> HashMap<Name, SocketAddr> {
    let nodes = settings.nodes.iter();
    let address = |it: &super::PairNode| Some((it.name.clone(), *it.heartbeat.first()?));
    nodes.filter_map(address).collect()
}

/// An election for `settings` that has not begun.
pub fn election(settings: &PairSettings, mode: super::Mode, seed: Seed) -> Election {
    let members = settings.nodes.iter().map(|it| it.name.clone()).collect();
    let (me, timing) = (settings.me.clone(), settings.timing.clone());
    let mut election = Election::new(me, members, mode, timing, seed, clock::now());
    election.set_failback(settings.failback.clone());
    election
}

struct Run {
    election: Election,
    ports: Ports,
    data: HashMap<Name, SocketAddr>,
    probe_timeout: Duration,
    mouth: Mouth,
    inbox: mpsc::Receiver<Message>,
    view: Arc<ArcSwapOption<View>>,
    old: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    shown: Option<View>,
    /// Orders that wait for the answer of the election's next step.
    orders: Vec<oneshot::Sender<Result<(), Refusal>>>,
    leaving: Option<oneshot::Sender<()>>,
}

impl Run {
    async fn run(mut self) {
        while !self.is_over.load(Ordering::Relaxed) {
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            }
            let now = clock::now();
            if now >= self.election.deadline() {
                self.election.set_config((self.ports.config)());
                let fitness = (self.ports.fitness)();
                self.election.handle(now, Event::Fitness(fitness));
                self.election.handle(now, Event::Tick);
                self.act();
            }
            let wait = self.election.deadline().since(clock::now());
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = sleep(wait) => {}
            }
        }
    }

    fn take(&mut self, message: Message) {
        let event = match message {
            Message::End => return,
            Message::Event(event) => event,
            Message::Order(order, reply) => {
                self.orders.push(reply);
                Event::Order(order)
            }
            Message::Shutdown(reply) => {
                self.leaving = Some(reply);
                Event::Shutdown
            }
        };
        self.election.handle(clock::now(), event);
        self.act();
    }

    fn act(&mut self) {
        self.old.store(self.election.old(), Ordering::Relaxed);
        // The world hears of it before the twins do.
        let view = self.election.view(clock::now());
        if self.shown.as_ref() != Some(&view) {
            self.ports.outlet.show(&view);
            self.view.store(Some(Arc::new(view.clone())));
            self.shown = Some(view);
        }
        while let Some(action) = self.election.poll_action() {
            self.carry_out(action);
        }
        // What was not refused by now is under way.
        for reply in self.orders.drain(..) {
            let _gone = reply.send(Ok(()));
        }
        if self.election.may_end()
            && let Some(reply) = self.leaving.take()
        {
            let _gone = reply.send(());
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Forget(node) => {
                if let Some(witness) = self.ports.witness.clone() {
                    tokio::spawn(async move { witness.forget(node).await });
                }
            }
            Action::Probe(node) => self.probe(node),
            // The outlet sees every change of the view.
            Action::Publish(_) => {}
            Action::Read => self.read(),
            Action::Refuse(refusal) => {
                for reply in self.orders.drain(..) {
                    let _gone = reply.send(Err(refusal.clone()));
                }
            }
            Action::Send(heartbeat) => self.ports.outlet.send(&heartbeat),
            Action::Tell(transition) => self.ports.outlet.tell(&transition),
            Action::Write { expect, new } => self.write(expect, new),
        }
    }

    fn probe(&self, node: Name) {
        let Some(address) = self.data.get(&node).copied() else {
            return;
        };
        let (mouth, limit) = (self.mouth.clone(), self.probe_timeout);
        tokio::spawn(async move {
            let probe = watch::reach(address, limit).await;
            mouth.say(Event::Probed { node, probe }).await;
        });
    }

    fn read(&self) {
        let Some(witness) = self.ports.witness.clone() else {
            return;
        };
        let mouth = self.mouth.clone();
        tokio::spawn(async move {
            let read = witness.read().await;
            mouth.say(Event::Read(read)).await;
        });
    }

    fn write(&self, expect: Option<Registered>, new: Registered) {
        let Some(witness) = self.ports.witness.clone() else {
            return;
        };
        let mouth = self.mouth.clone();
        tokio::spawn(async move {
            let wrote = witness.write(expect, new).await;
            mouth.say(Event::Wrote(wrote)).await;
        });
    }
}

impl Mouth {
    async fn say(&self, event: Event) {
        // The driver ends only with the process.
        let _ends = self.0.send(Message::Event(event)).await;
    }
}
