//! The control loop: the one task that changes the world. Reports, reloads and
//! signals go in; snapshots and wishes to the workers come out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::probers::Probers;
use super::reload::{self, Reload, Reread};
use super::resolve::{self, Addresses, Found};
use super::sockets::{BindError, Opened, Sockets};
use super::stage::{Deed, Stage};
use super::world::{Loaded, World};
use super::{kernel, limits};
use crate::admin::ReloadError;
use crate::clock::{self, Moment, Seed};
use crate::config::{Change, Config, changes};
use crate::event::Event;
use crate::health::{News, Report};
use crate::pool::{Backend, BackendId, BackendState, Board, OnDead, Snapshot, Wanted};
use crate::proxy::Seen;
use crate::types::{Name, OwnFault, Reason};

/// How often rejected connections are summed up in the log.
const SHED_INTERVAL: Duration = Duration::from_secs(10);

/// What may be asked of the control loop.
pub(super) enum Request {
    /// Do what this stage begins with; its rules are in force already. The
    /// answer to `Draining` comes when all listening sockets have closed.
    Enter(Stage, oneshot::Sender<()>),
    /// Read the file again.
    Reload(Reload),
    /// The file has been read.
    Loaded(Box<Reread>),
}

/// Where the control loop hears of the rest of the world.
pub(super) struct Inbox {
    pub(super) reports: mpsc::Receiver<News>,
    pub(super) seen: mpsc::Receiver<(BackendId, Seen)>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) found: mpsc::Receiver<Found>,
}

pub(super) struct Control {
    world: Arc<World>,
    board: Board,
    sockets: Sockets,
    probers: Probers,
    addresses: Addresses,
    /// Backends whose sessions end with the next snapshot.
    lost: Vec<BackendId>,
    /// Usable backends of each pool, as last logged.
    usable: HashMap<Name, usize>,
    /// Rejected connections, as last logged.
    shed: HashMap<(Name, Reason), u64>,
    /// Where a reload hands in what it has read.
    requests: mpsc::Sender<Request>,
    /// Reloads that were asked for.
    asked: u64,
    /// The newest of them that was put in force.
    applied: u64,
    /// Who waits until a stage has begun.
    entered: Option<oneshot::Sender<()>>,
}

impl Control {
    pub(super) fn new(
        world: Arc<World>,
        addresses: Addresses,
        reports: mpsc::Sender<News>,
        requests: mpsc::Sender<Request>,
        seed: Seed,
    ) -> Self {
        Self {
            board: Board::new(world.workers.count()),
            world,
            sockets: Sockets::default(),
            probers: Probers::new(reports, seed),
            addresses,
            lost: Vec::new(),
            usable: HashMap::new(),
            shed: HashMap::new(),
            requests,
            asked: 0,
            applied: 0,
            entered: None,
        }
    }

    /// Puts the first configuration in force.
    pub(super) fn start(&mut self) -> Result<(), BindError> {
        let loaded = self.world.loaded.load_full();
        self.apply(&loaded.config)?;
        self.probers.warm();
        Ok(())
    }

    /// Serves until the process ends.
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let mut shed = tokio::time::interval(SHED_INTERVAL);
        loop {
            let ramp = self.board.next_ramp(clock::now());
            let look = self.sockets.next_look();
            tokio::select! {
                Some(news) = inbox.reports.recv() => {
                    if !self.world.stage().permits(Deed::Verdict) {
                        return;
                    }
                    let mut moves = self.take_news(&news);
                    // One snapshot for all that has happened by now.
                    while let Ok(news) = inbox.reports.try_recv() {
                        moves |= self.take_news(&news);
                    }
                    if !(moves && self.follow()) {
                        self.publish();
                    }
                }
                Some((id, seen)) = inbox.seen.recv() => {
                    self.probers.tell(id, seen);
                }
                Some(request) = inbox.requests.recv() => self.answer(request),
                Some(found) = inbox.found.recv() => {
                    if self.addresses.merge(found) {
                        self.follow();
                    }
                }
                () = wait_until(ramp) => self.publish(),
                () = wait_until(look) => {
                    let closed = self.sockets.close_done(&self.world.workers, clock::now());
                    self.check(closed);
                    self.tell_entered();
                }
                _ = shed.tick() => self.log_shed(),
                else => return,
            }
        }
    }

    /// Backends have moved. Says whether the world has been published so.
    fn follow(&mut self) -> bool {
        if !self.world.stage().permits(Deed::FollowNames) {
            return false;
        }
        let loaded = self.world.loaded.load_full();
        // No listener changes, so no socket can fail to open.
        let applied = self.apply(&loaded.config);
        if let Err(error) = &applied {
            self.trouble(&error.to_string());
        }
        applied.is_ok()
    }

    /// Says whether a backend moves to another of its addresses.
    fn take_news(&mut self, news: &News) -> bool {
        match news {
            News::State(report) => return self.take_report(report),
            News::Blind {
                id,
                state,
                blindness,
            } => {
                let why = Some((blindness.fault, blindness.detail.clone()));
                self.say_blind(*id, why, *state);
            }
            News::Seeing { id, state } => self.say_blind(*id, None, *state),
        }
        false
    }

    /// A backend cannot be probed, or can be again.
    fn say_blind(&self, id: BackendId, fault: Option<(OwnFault, String)>, state: BackendState) {
        if let Some((backend, _)) = self.board.backends().find(|(it, _)| it.id == id) {
            self.world.sink.say(Event::Blind {
                pool: backend.pool.clone(),
                backend: backend.name.clone(),
                fault,
                state: state.as_str(),
            });
        }
    }

    fn take_report(&mut self, report: &Report) -> bool {
        let now = clock::now();
        let Some(before) = self.board.set_state(report.id, report.state, now) else {
            return false;
        };
        let mut backends = self.board.backends();
        let Some((backend, pool)) = backends.find(|(it, _)| it.id == report.id) else {
            return false;
        };
        let resets = report.is_lost && pool.on_dead == OnDead::Reset;
        // One that has refused probes may be found lost later, with sessions or
        // without.
        if before != report.state || (resets && backend.live.active() > 0) {
            self.world.sink.say(Event::Backend {
                pool: backend.pool.clone(),
                backend: backend.name.clone(),
                address: backend.whereabouts(pool),
                from: before.as_str(),
                to: report.state.as_str(),
                why: report.why.clone(),
            });
        }
        if matches!(report.state, BackendState::Up { .. }) {
            backend.live.clear();
        }
        if resets {
            self.lost.push(report.id);
        }
        self.addresses.note(backend, report.state)
    }

    /// Makes the newest world the one that workers see.
    fn publish(&mut self) {
        let snapshot = Arc::new(self.board.compose(clock::now()));
        self.log_usable(&snapshot);
        self.world.kernel.want(&snapshot);
        let mut views = snapshot.pools.iter().flat_map(|pool| &pool.backends);
        let has_new = views.any(|view| view.state == BackendState::Starting);
        if !self.world.is_ready() && !has_new {
            self.world.become_ready();
        }
        let lost = std::mem::take(&mut self.lost);
        let shown = self.world.workers.show(snapshot, &lost);
        self.check(shown);
    }

    fn log_usable(&mut self, snapshot: &Snapshot) {
        for pool in &snapshot.pools {
            let name = &pool.settings.name;
            let usable = pool.usable();
            let before = self.usable.insert(name.clone(), usable);
            let was_usable = before.is_some_and(|it| it > 0);
            if was_usable != (usable > 0) {
                self.world.sink.say(Event::Pool {
                    pool: name.clone(),
                    usable,
                    of: pool.backends.len(),
                });
            }
        }
    }

    fn log_shed(&mut self) {
        let snapshot = self.world.snapshot.load_full();
        for view in &snapshot.listeners {
            for reason in Reason::ALL {
                let cells = &view.door.live.cells;
                let total = cells.sum(|it| it.rejected[reason as usize].get());
                let key = (view.door.listener.name.clone(), reason);
                let before = self.shed.insert(key, total).unwrap_or(0);
                if total > before {
                    self.world.sink.say(Event::Shed {
                        listener: view.door.listener.name.clone(),
                        reason,
                        count: total - before,
                    });
                }
            }
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Enter(stage, reply) => {
                self.enter(stage);
                self.entered = Some(reply);
                self.tell_entered();
            }
            Request::Reload(reload) if self.may_reload() => self.begin_reload(reload),
            Request::Loaded(reread) if self.may_reload() => self.finish_reload(*reread),
            // Who has asked hears it by the reply that never comes.
            Request::Reload(_) | Request::Loaded(_) => {
                let why = ReloadError::Stopping.to_string();
                self.world.sink.say(Event::ReloadFailed { why });
            }
        }
    }

    /// Answers who waits for a stage, if it has begun.
    fn tell_entered(&mut self) {
        if self.world.stage() == Stage::Draining && self.sockets.is_closing() {
            return;
        }
        if let Some(reply) = self.entered.take() {
            // Who asked may have gone; it is done all the same.
            let _gone = reply.send(());
        }
    }

    fn may_reload(&self) -> bool {
        self.world.stage().permits(Deed::Reload)
    }

    fn enter(&mut self, stage: Stage) {
        match stage {
            Stage::Running | Stage::Leaving => {}
            Stage::Draining => {
                // The workers hold the last copies of the sockets from here on.
                let retired = self.sockets.retire_all(&self.world.workers, clock::now());
                self.check(retired);
                self.world.kernel.close(&self.world.snapshot.load());
            }
            Stage::Ended => self.probers.end(),
        }
    }

    /// Reads the file again, beside the loop: files and resolvers may be slow,
    /// and a backend that dies meanwhile must not wait for them.
    fn begin_reload(&mut self, reload: Reload) {
        self.asked += 1;
        let number = self.asked;
        let read = reload::read(
            Arc::clone(&self.world),
            self.addresses.clone(),
            reload,
            number,
        );
        let requests = self.requests.clone();
        tokio::spawn(async move {
            // The loop has ended only if the process does.
            let _ends = requests.send(Request::Loaded(Box::new(read.await))).await;
        });
    }

    /// Puts what was read in force. On any problem the old configuration stays.
    fn finish_reload(&mut self, reread: Reread) {
        let Reread {
            reload,
            number,
            result,
        } = reread;
        let result = result.and_then(|(config, found)| {
            if number < self.applied {
                return Err("a later reload is in force already".to_owned());
            }
            let old = self.world.loaded.load_full();
            if let Some(listener) = kernel::changes_plane(&old.config, &config) {
                return Err(format!(
                    "listener {listener}: its plane changes with a restart only, or with another \
                     address"
                ));
            }
            let said = changes(&old.config, &config);
            let said: Vec<String> = said.iter().map(Change::to_string).collect();
            if !reload.dry_run {
                self.put_in_force(config, found, &old)?;
                self.applied = number;
            }
            Ok(said)
        });
        let result = result.map_err(|why| self.world.sink.clean(&why));
        if !reload.dry_run {
            self.say_reload(&result);
        }
        // Who asked may have gone; the log has it all the same.
        let _gone = reload.reply.send(result);
    }

    fn say_reload(&self, result: &Result<Vec<String>, String>) {
        match result {
            Ok(changes) => {
                for what in changes {
                    self.world.sink.say(Event::Change { what: what.clone() });
                }
                self.world.sink.say(Event::Reloaded {
                    changes: changes.len(),
                });
            }
            Err(why) => self
                .world
                .sink
                .say(Event::ReloadFailed { why: why.clone() }),
        }
        self.world.set_reload_error(result.as_ref().err().cloned());
    }

    fn put_in_force(&mut self, config: Config, found: Found, old: &Loaded) -> Result<(), String> {
        let before = self.addresses.clone();
        self.addresses.merge(found);
        self.addresses.keep(&config);
        self.world.sink.guard(&config.taint);
        if let Err(error) = self.apply(&config) {
            self.addresses = before;
            let why = self.world.sink.clean(&error.to_string());
            // The old one stays in force, and what it hides stays hidden.
            self.world.sink.guard(&old.config.taint);
            return Err(why);
        }
        let budget = limits::budget(&config, self.world.workers.count(), &self.world.sink);
        self.world.workers.set_budget(budget);
        let loaded = old.followed_by(config);
        self.world.loaded.store(Arc::new(loaded));
        Ok(())
    }

    /// Makes the world as `config` wants it: all of it, or, if a socket cannot
    /// be opened, nothing.
    fn apply(&mut self, config: &Config) -> Result<(), BindError> {
        let world = Arc::clone(&self.world);
        let workers = &world.workers;
        let may_open = world.stage().permits(Deed::Open);
        let mut opened = Opened::default();
        if may_open {
            let (wanted, count) = (&config.listeners, workers.count());
            opened = self.sockets.open(wanted, count, &world.sink)?;
        }
        let pools = config.pools.iter();
        let wanted: Vec<Wanted> = pools.map(|it| self.addresses.locate(&it.pool)).collect();
        let now = clock::now();
        let before: Vec<_> = self.board.states().collect();
        let delta = self.board.configure(&config.listeners, &wanted, now);
        let named = |it: &Backend| self.addresses.is_named(it);
        let found_again = self
            .probers
            .adjust(&self.board, config, &delta, &before, named);
        for (id, state, since) in found_again {
            let before = self.board.set_state(id, state, since);
            let mut backends = self.board.backends();
            if let Some(before) = before.filter(|it| *it != state && *it != BackendState::Starting)
                && let Some((backend, pool)) = backends.find(|(it, _)| it.id == id)
            {
                self.world.sink.say(Event::Backend {
                    pool: backend.pool.clone(),
                    backend: backend.name.clone(),
                    address: backend.whereabouts(pool),
                    from: before.as_str(),
                    to: state.as_str(),
                    why: "its new probe has found it so elsewhere".to_owned(),
                });
            }
        }
        world.probes.store(Arc::new(self.probers.cells()));
        workers.log_connections(config.log.connections);
        self.publish();
        if may_open {
            let published = self.sockets.publish(opened, workers, &world.sink, now);
            self.check(published);
            let retired = self.sockets.retire(&config.listeners, workers, now);
            self.check(retired);
            self.sockets.adjust(&config.listeners);
            let addresses = self.sockets.addresses(&config.listeners);
            world.binds.store(Arc::new(addresses));
        }
        for (backend, timeout) in &delta.removed {
            if let Some(timeout) = timeout {
                let drained = workers.drain(backend.id, now + *timeout);
                self.check(drained);
            }
        }
        Ok(())
    }

    /// A mailbox bell that cannot ring is the kernel's trouble: said, and the
    /// worker finds the letter at its next turn.
    fn check(&self, result: std::io::Result<()>) {
        if let Err(error) = result {
            self.trouble(&format!("cannot wake a worker: {error}"));
        }
    }

    fn trouble(&self, what: &str) {
        self.world.sink.say(Event::Trouble {
            what: what.to_owned(),
        });
    }
}

/// Looks host names up for ever.
pub(super) async fn watch_names(world: Arc<World>, tell: mpsc::Sender<Found>) {
    loop {
        sleep(resolve::INTERVAL).await;
        let loaded = world.loaded.load_full();
        let wishes = resolve::wishes(&loaded.config);
        let found = resolve::look_up_all(wishes, &loaded.config.taint, &world.sink).await;
        if tell.send(found).await.is_err() {
            return;
        }
    }
}

async fn wait_until(when: Option<Moment>) {
    match when {
        Some(when) => sleep(when.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
