//! This node's part in the pair: the election, its heartbeats, and the name
//! server, tied to what the process knows of itself.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::StartError;
use super::given::{self, Given};
use super::memory::Keeper;
use super::observe::Observer;
use super::registry::{Hook, Registry};
use super::stage::Stage;
use super::world::World;
use crate::clock::{self, Moment, Seed};
use crate::config::PairConfig;
use crate::dns::rfc2136::Rfc2136;
use crate::dns::{self, Dns, ServeSettings, Zone};
use crate::event::{Event, Sink};
use crate::net::listen;
use crate::pair::{
    Driver, Fitness, Heartbeat, Link, Memory, Order, Outlet, PairSettings, Ports, Role, Transition,
    View, Witness, channel, election,
};
use crate::status::{DnsStatus, ObservedStatus, PairStatus, TwinStatus};
use crate::types::{Claim, Name, Term};

/// A worker that has not turned for this long is dead to the twin: far more
/// than a turn takes under full load.
const STALL: Duration = Duration::from_millis(500);
/// Twins that may ask in the same moment.
const BACKLOG: u32 = 64;
/// Changes that may wait for the hook.
const NEWS: usize = 16;
/// How long giving the name away may take at the end.
pub(super) const LEAVE: Duration = Duration::from_secs(2);

/// The pair, as this process takes part in it.
pub(super) struct Twin {
    settings: PairSettings,
    serve: Option<ServeSettings>,
    /// How long resolvers may keep an answer.
    ttl: Duration,
    driver: Driver,
    link: Arc<Link>,
    dns: Option<Arc<Dns>>,
    registry: Option<Arc<Registry>>,
    register: Option<SocketAddr>,
    observer: Observer,
    record: Arc<Record>,
}

/// What has happened to this node's role.
#[derive(Debug)]
pub(super) struct Record {
    /// Whether the public name has this node's address.
    given: Mutex<Given>,
    /// Transitions by role and reason.
    transitions: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    last: Mutex<Option<String>>,
    /// Connections that came after the name had gone elsewhere and resolvers
    /// should have known.
    stale: AtomicU64,
}

impl Twin {
    /// Takes part in the pair from now on. The workers serve already: a name
    /// is claimed only by those who can.
    pub(super) fn start(
        config: &PairConfig,
        world: &Arc<World>,
        seed: Seed,
    ) -> Result<Self, StartError> {
        let settings = config.pair.clone();
        attest(&settings, world)?;
        let (mouth, inbox) = channel();
        let hearing = mouth.clone();
        let link = Arc::new(Link::start(&settings, move |it| hearing.heard(it))?);
        let dns = match &config.serve {
            Some(serve) => Some(Arc::new(Dns::start(serve, world.sink.clone())?)),
            None => None,
        };
        let registry = registry(config, &world.sink)?;
        if let Some(registry) = &registry {
            tokio::spawn(Arc::clone(registry).put_own(settings.me.clone()));
        }
        let news = config.hook.clone().map(|it| {
            let hook = Hook::new(it, &settings, world.sink.clone());
            let (news, mut changes) = mpsc::channel::<(Role, Claim)>(NEWS);
            tokio::spawn(async move {
                while let Some((role, claim)) = changes.recv().await {
                    hook.tell(role.as_str(), &claim).await;
                }
            });
            news
        });
        let record = Arc::new(Record::new(clock::now()));
        let loaded = world.loaded.load();
        let dir = loaded.config.state_dir.as_ref();
        let keeper = dir.map(|dir| Keeper::new(dir, &settings.me, world.sink.clone()));
        let memory = keeper.as_ref().map_or_else(Memory::default, Keeper::recall);
        let (memory_sender, changes) = watch::channel(memory);
        if let Some(keeper) = keeper {
            tokio::spawn(keeper.keep(changes));
        }
        let voice = Voice {
            link: Arc::clone(&link),
            dns: dns.clone(),
            serve: config.serve.clone(),
            active_active: settings.active_active,
            sink: world.sink.clone(),
            record: Arc::clone(&record),
            published: None,
            change: 0,
            twins: HashMap::new(),
            strangers: Vec::new(),
            holder: None,
            news,
            told: None,
            memory: memory_sender,
        };
        let (fit, configured) = (Arc::downgrade(world), Arc::downgrade(world));
        let ports = Ports {
            fitness: Box::new(move || fitness(&fit)),
            config: Box::new(move || configured.upgrade().map_or(0, |it| it.shared_hash())),
            outlet: Box::new(voice),
            witness: registry.clone().map(|it| it as Arc<dyn Witness>),
        };
        let mut election = election(&settings, config.mode, seed);
        election.resume(memory);
        let driver = Driver::start(&settings, election, ports, mouth, inbox)?;
        Ok(Self {
            settings,
            serve: config.serve.clone(),
            ttl: ttl(config),
            driver,
            link,
            dns,
            registry,
            register: config.register.as_ref().map(|it| it.server),
            observer: Observer::new(config),
            record,
        })
    }

    /// Gives the name away, if this node holds it and somebody can take it.
    pub(super) async fn leave(&self) {
        self.driver.leave(LEAVE).await;
    }

    /// Until when resolvers may send clients here, whatever this node is to
    /// the pair, if nobody gives its address out from `now` on.
    pub(super) fn known_until(&self, now: Moment) -> Moment {
        self.record.given().known_until(now, self.ttl)
    }

    /// Carries out what a person has ordered.
    pub(super) async fn order(&self, order: crate::admin::PairOrder) -> Result<(), String> {
        let order = match order {
            crate::admin::PairOrder::Hold(on) => Order::Hold(on),
            crate::admin::PairOrder::Handover(to) => Order::Handover {
                to: self.receiver(to)?,
            },
        };
        let done = self.driver.order(order).await;
        done.map_err(|refusal| refusal.to_string())
    }

    /// Who is to get the name: the one that was named, or the first that can
    /// take it.
    fn receiver(&self, wanted: Option<String>) -> Result<Name, String> {
        if let Some(wanted) = wanted {
            let mut nodes = self.settings.nodes.iter();
            let found = nodes.find(|it| it.name.as_str() == wanted);
            return match found {
                Some(node) => Ok(node.name.clone()),
                None => Err(format!("there is no node {wanted:?}")),
            };
        }
        let view = self.driver.view();
        let ready = view.iter().flat_map(|it| &it.twins).find(|it| it.is_ready);
        match ready {
            Some(twin) => Ok(twin.name.clone()),
            None => Err("no twin can take the name now".to_owned()),
        }
    }

    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.driver.view()
    }

    /// Genuine heartbeats that are no sign of life.
    pub(super) fn old_heartbeats(&self) -> u64 {
        self.driver.old_heartbeats()
    }

    /// The name that the pair is about.
    pub(super) fn public_name(&self) -> String {
        self.settings.name.as_str().to_owned()
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// What name servers said last of the public name.
    pub(super) fn observed(&self) -> Vec<ObservedStatus> {
        self.observer.seen()
    }

    /// Asks the name servers. To be called every [`super::observe::EVERY`].
    pub(super) async fn observe(&self) {
        if let Some(view) = self.driver.view() {
            self.observer.look(&self.settings, &view).await;
        }
    }

    pub(super) fn registry(&self) -> Option<&Registry> {
        self.registry.as_deref()
    }

    pub(super) fn dns(&self) -> Option<&Dns> {
        self.dns.as_deref()
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Counts clients that come although the name has gone. To be called once
    /// a second.
    pub(super) fn count_stale(&self, accepted: u64, before: &mut u64) {
        let new = accepted.saturating_sub(*before);
        *before = accepted;
        let Some(view) = self.driver.view() else {
            return;
        };
        let is_elsewhere = view.answer != view.me && !self.settings.active_active;
        if is_elsewhere && clock::now().since(view.since) > self.ttl {
            self.record.stale.fetch_add(new, Ordering::Relaxed);
        }
    }

    pub(super) fn status(&self) -> Option<PairStatus> {
        let view = self.driver.view()?;
        let now = clock::now();
        Some(PairStatus {
            name: self.settings.name.as_str().to_owned(),
            me: view.me.to_string(),
            role: view.role.as_str().to_owned(),
            role_seconds: now.since(view.since).as_secs(),
            term: view.term.0,
            holder: view.claim.as_ref().map(|it| it.holder.to_string()),
            exclusive: view.exclusive_until.is_some_and(|until| now < until),
            answer: view.answer.to_string(),
            functional: view.functional.iter().map(ToString::to_string).collect(),
            held: view.memory.hold.is_on,
            sick: view.is_sick,
            last_transition: self.record.last(),
            twins: view.twins.iter().map(|it| self.twin_status(it)).collect(),
            strangers: view.strangers.iter().map(ToString::to_string).collect(),
        })
    }

    fn twin_status(&self, twin: &crate::pair::TwinView) -> TwinStatus {
        let rtt = self.link.rtt(&twin.name).filter(|_| twin.is_up);
        TwinStatus {
            name: twin.name.to_string(),
            up: twin.is_up,
            ready: twin.is_ready,
            version: twin.version.as_ref().map(ToString::to_string),
            role: twin.role.map(|it| it.as_str().to_owned()),
            serving: twin.fitness.map(|it| it.serving),
            has_backends: twin.fitness.map(|it| it.has_backends),
            missed: twin.misses,
            failed_probes: twin.failures,
            rtt_ms: rtt.map(|it| it.as_secs_f64() * 1000.0),
            config_differs: twin.has_drifted,
        }
    }

    pub(super) fn dns_status(&self) -> Option<DnsStatus> {
        let mut status = DnsStatus {
            zone: self.settings.name.as_str().to_owned(),
            binds: Vec::new(),
            records: Vec::new(),
            queries: BTreeMap::new(),
            delegation: String::new(),
            register: self.register,
            observed: self.observer.seen(),
        };
        if let (Some(dns), Some(serve)) = (&self.dns, &self.serve) {
            let zone = dns.show();
            let records = zone.iter().flat_map(|zone| zone.records());
            let counts = dns.counts();
            let counted = counts.answers.iter().chain(&counts.unanswered);
            status.binds = dns.addresses().to_vec();
            status.records = records.map(ToString::to_string).collect();
            status.queries = counted.map(|(word, n)| ((*word).to_owned(), *n)).collect();
            status.delegation = dns::delegation(serve);
        }
        let says_nothing = status.binds.is_empty() && status.register.is_none();
        (!says_nothing || !status.observed.is_empty()).then_some(status)
    }
}

impl Record {
    fn new(now: Moment) -> Self {
        Self {
            given: Mutex::new(Given::at_start(now)),
            transitions: Mutex::default(),
            last: Mutex::default(),
            stale: AtomicU64::new(0),
        }
    }

    fn given(&self) -> Given {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_given(&self, is_given: bool) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.note(is_given, clock::now());
    }

    fn last(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    fn note(&self, transition: &Transition) {
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let why = transition.why.as_str();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(format!("{from} -> {to} ({why}, term {})", transition.term));
        let mut all = self
            .transitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *all.entry((to, why)).or_default() += 1;
    }

    /// Changes of role, by the new role and the reason.
    pub(super) fn transitions(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let all = self.transitions.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stale(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }
}

/// What this node can do for clients now: its workers turn, and a listener has
/// a pool that can serve. Shares the data plane's fate on purpose.
fn fitness(world: &Weak<World>) -> Fitness {
    let Some(world) = world.upgrade() else {
        return Fitness::default();
    };
    // An idle worker turns only when it is woken; the next look sees it.
    let is_awake = world.workers.wake().is_ok();
    let idle = clock::now().since(world.workers.oldest_turn());
    let snapshot = world.snapshot.load();
    let has_listeners = !snapshot.listeners.is_empty() && !world.binds.load().is_empty();
    Fitness {
        serving: is_awake && has_listeners && idle < STALL && world.stage() < Stage::Draining,
        has_backends: snapshot.listeners.iter().any(|it| it.pool.can_serve()),
    }
}

/// What the election says, passed on: heartbeats to the link, answers to the
/// name server, changes to the log.
struct Voice {
    link: Arc<Link>,
    dns: Option<Arc<Dns>>,
    serve: Option<ServeSettings>,
    active_active: bool,
    sink: Sink,
    record: Arc<Record>,
    /// What the zone was made of.
    published: Option<(Claim, Vec<Name>)>,
    /// Counts zones, so that each has its own serial.
    change: u8,
    /// Which twins are up, and which of those are configured otherwise.
    twins: HashMap<Name, (bool, bool)>,
    /// Nodes that lb.yaml does not name.
    strangers: Vec<Name>,
    holder: Option<Name>,
    /// Where the hook hears of changes, and what it has heard last.
    news: Option<mpsc::Sender<(Role, Claim)>>,
    told: Option<(Role, Claim)>,
    /// What the next life of this node should know.
    memory: watch::Sender<Memory>,
}

impl Outlet for Voice {
    fn show(&mut self, view: &View) {
        self.holder = view.claim.as_ref().map(|it| it.holder.clone());
        self.record
            .note_given(given::is_given(view, self.active_active));
        self.publish(view);
        self.tell_hook(view);
        self.memory.send_if_modified(|it| {
            let is_new = *it != view.memory;
            *it = view.memory;
            is_new
        });
        let new = view.strangers.iter();
        for node in new.filter(|it| !self.strangers.contains(it)) {
            let node = node.clone();
            let what = "is in the pair and not in this node's lb.yaml; give all nodes the same one";
            self.sink.say(Event::Twin { node, what });
        }
        self.strangers.clone_from(&view.strangers);
        for twin in &view.twins {
            let state = (twin.is_up, twin.is_up && twin.has_drifted);
            let before = self.twins.insert(twin.name.clone(), state);
            let (was_up, had_drifted) = before.unwrap_or((false, false));
            let say = |what| {
                let node = twin.name.clone();
                self.sink.say(Event::Twin { node, what });
            };
            if was_up != twin.is_up {
                say(if twin.is_up { "is up" } else { "is silent" });
            }
            if state.1 && !had_drifted {
                say("has another configuration; run `tandem check --print` on both");
            }
        }
    }

    fn tell(&mut self, transition: &Transition) {
        self.record.note(transition);
        self.sink.say(Event::Pair {
            from: transition.from.as_str(),
            to: transition.to.as_str(),
            why: transition.why.as_str(),
            term: transition.term.0,
            holder: self.holder.clone(),
        });
    }

    fn send(&mut self, heartbeat: &Heartbeat) {
        self.link.send(heartbeat);
    }
}

impl Voice {
    fn tell_hook(&mut self, view: &View) {
        let (Some(news), Some(claim)) = (&self.news, &view.claim) else {
            return;
        };
        let change = (view.role, claim.clone());
        // A command that hangs loses changes, never the election's time; the
        // next change tells it what is true then.
        if self.told.as_ref() != Some(&change) && news.try_send(change.clone()).is_ok() {
            self.told = Some(change);
        }
    }

    /// Answers for the name as the view wants it: whoever asks this node can
    /// reach it, so a node that hears nobody names itself.
    fn publish(&mut self, view: &View) {
        let (Some(dns), Some(serve)) = (&self.dns, &self.serve) else {
            return;
        };
        if view.role == Role::Init {
            return;
        }
        let term = view.claim.as_ref().map_or(Term::NONE, |it| it.term);
        let claim = Claim {
            term: term.max(view.term),
            holder: view.answer.clone(),
            nonce: 0,
        };
        let functional = if self.active_active {
            view.functional.clone()
        } else {
            Vec::new()
        };
        let wanted = (claim, functional);
        if self.published.as_ref() == Some(&wanted) {
            return;
        }
        let mode = if self.active_active {
            dns::Mode::ActiveActive {
                functional: wanted.1.clone(),
            }
        } else {
            dns::Mode::Single
        };
        self.change = self.change.wrapping_add(1);
        dns.publish(Zone::of(serve, &wanted.0, &mode, self.change));
        self.published = Some(wanted);
    }
}

/// The longest time that a resolver may keep an answer of ours.
fn ttl(config: &PairConfig) -> Duration {
    let serve = config.serve.as_ref().map(|it| it.ttl);
    let register = config.register.as_ref().map(|it| it.ttl);
    serve.max(register).unwrap_or(Duration::ZERO)
}

/// Lets the workers answer twins that ask whether they live, where this node's
/// heartbeats come from.
fn attest(settings: &PairSettings, world: &World) -> std::io::Result<()> {
    let own = settings.node(&settings.me);
    for address in own.into_iter().flat_map(|it| &it.heartbeat) {
        let open = || listen::shared(*address, BACKLOG);
        let sockets = listen::check_free(*address)
            .and_then(|()| (0..world.workers.count()).map(|_| open()).collect())
            .map_err(|error| {
                let hint = listen::hint(error.kind());
                let what = format!("pair: cannot listen on {address}: {error}{hint}");
                std::io::Error::new(error.kind(), what)
            })?;
        world.workers.attest(sockets)?;
    }
    Ok(())
}

/// The register that the configuration wants, if it wants one.
fn registry(config: &PairConfig, sink: &Sink) -> Result<Option<Arc<Registry>>, StartError> {
    let Some(settings) = &config.register else {
        return Ok(None);
    };
    // Checked with the configuration; it fails on the same grounds.
    let register = Rfc2136::new(settings).map_err(std::io::Error::other)?;
    let registry = Registry::new(Arc::new(register), &config.pair, sink.clone());
    Ok(Some(Arc::new(registry)))
}

/// The number of clients that all listeners have accepted.
pub(super) fn accepted(world: &World) -> u64 {
    let snapshot = world.snapshot.load();
    let all = snapshot.listeners.iter();
    all.map(|it| it.door.live.cells.sum(|cells| cells.accepted.get()))
        .sum()
}
