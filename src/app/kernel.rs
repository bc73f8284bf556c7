//! Keeps the kernel's rules as the newest snapshot wants them, and brings back
//! what the kernel counts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::world::{Source, World};
use crate::clock::{self, Moment};
use crate::config::Config;
use crate::event::{Event, Sink};
use crate::kernel::{self, Measured, MissingRight, NftError, Ruleset};
use crate::pool::{Plane, Snapshot};
use crate::types::{Endpoint, Name};

/// Between looks at the counters: a walk through 100,000 connections takes the
/// kernel some tens of milliseconds.
const LOOK: Duration = Duration::from_secs(5);
/// Before rules that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Between looks at how many connections are left at the end.
const COUNT: Duration = Duration::from_millis(250);

/// Why the kernel cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The rules cannot be written.
    #[error("cannot start the kernel plane: {0}")]
    Nft(#[from] NftError),
    /// They may not be written.
    #[error("{0}")]
    Right(#[from] MissingRight),
}

/// The kernel plane of this process.
pub(super) struct KernelPlane {
    /// Its table; nobody else's is ever touched.
    table: String,
    wanted: watch::Sender<Arc<Ruleset>>,
    /// What was last put in force; `None`: nothing ever.
    installed: ArcSwapOption<Ruleset>,
    measured: ArcSwapOption<Measured>,
    is_closed: AtomicBool,
    /// Whether the rules have ever been what they should be.
    caught_up: AtomicBool,
    /// Held by whoever writes rules; `true` once they have been taken away for
    /// good.
    is_gone: Mutex<bool>,
}

impl KernelPlane {
    /// For the process that serves `source` as `node`.
    pub(super) fn new(source: &Source, node: Option<&Name>) -> Self {
        Self {
            table: table_name(&source.file, node),
            wanted: watch::Sender::default(),
            installed: ArcSwapOption::empty(),
            measured: ArcSwapOption::empty(),
            is_closed: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
            is_gone: Mutex::new(false),
        }
    }

    /// What was last counted.
    pub(super) fn measured(&self) -> Option<Arc<Measured>> {
        self.measured.load_full()
    }

    /// Whether the rules have been what they should be, once asked: they lag
    /// by milliseconds after each change, and that is no reason to look ill.
    pub(super) fn has_caught_up(&self) -> bool {
        if self.caught_up.load(Ordering::Relaxed) {
            return true;
        }
        let wanted = self.wanted.borrow();
        let is_equal = match &*self.installed.load() {
            Some(installed) => **installed == **wanted,
            None => wanted.is_empty(),
        };
        self.caught_up.store(is_equal, Ordering::Relaxed);
        is_equal
    }

    /// The rules are to follow `snapshot`.
    pub(super) fn want(&self, snapshot: &Snapshot) {
        let mut rules = Ruleset::of(snapshot);
        if self.is_closed.load(Ordering::Relaxed) {
            rules = rules.closed();
        }
        self.wanted.send_if_modified(|wanted| {
            let is_new = **wanted != rules;
            if is_new {
                *wanted = Arc::new(rules);
            }
            is_new
        });
    }

    /// No more new connections, from `snapshot` on.
    pub(super) fn close(&self, snapshot: &Snapshot) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.want(snapshot);
    }

    /// Puts the first rules in force. What a process that was killed has left
    /// is replaced, or taken away if there are none.
    async fn begin(&self, sink: &Sink) -> Result<(), KernelError> {
        let rules = Arc::clone(&self.wanted.borrow());
        if rules.is_empty() {
            return Ok(());
        }
        kernel::check_right()?;
        kernel::run(&rules.replace(&self.table)).await?;
        sink.say(Event::Change {
            what: format!("the kernel plane is table inet {}", self.table),
        });
        warn(&rules, sink);
        self.installed.store(Some(rules));
        Ok(())
    }

    /// Makes the rules what they should be.
    async fn update(&self, rules: &Arc<Ruleset>, sink: &Sink) -> Result<(), NftError> {
        let is_gone = self.is_gone.lock().await;
        if *is_gone {
            return Ok(());
        }
        let before = self.installed.load_full();
        let text = match &before {
            Some(before) if before == rules => return Ok(()),
            Some(before) => rules.rewrite(&self.table, before),
            None if rules.is_empty() => return Ok(()),
            None => rules.replace(&self.table),
        };
        if let Err(error) = kernel::run(&text).await {
            // Somebody may have taken the table away: then all of it is
            // written anew, with counters that begin at zero.
            kernel::run(&rules.replace(&self.table))
                .await
                .map_err(|_| error)?;
        }
        if before.is_none() {
            warn(rules, sink);
        }
        self.installed.store(Some(Arc::clone(rules)));
        Ok(())
    }

    /// Asks the kernel for its counts, beside the control loop.
    async fn look(&self) {
        let Some(rules) = self.installed.load_full() else {
            return;
        };
        let table = self.table.clone();
        let measured = spawn_blocking(move || kernel::measure(&table, &rules)).await;
        // What cannot be counted is not shown: better no figure than an old one.
        let measured = measured.ok().and_then(Result::ok);
        self.measured.store(measured.map(Arc::new));
    }

    /// Connections that are open now, if the kernel says.
    async fn open(&self) -> Option<u64> {
        let Some(rules) = self.installed.load_full() else {
            return Some(0);
        };
        let open = spawn_blocking(move || kernel::open(&rules)).await;
        open.ok()?.ok().map(|it| it.total())
    }

    /// Waits until the kernel's connections have ended, until `deadline` at
    /// the most.
    pub(super) async fn drain(&self, deadline: Moment) {
        while self.open().await != Some(0) && clock::now() < deadline {
            sleep(COUNT).await;
        }
    }

    /// Takes the table away for good. Returns how many connections were open.
    pub(super) async fn remove(&self, sink: &Sink) -> u64 {
        *self.is_gone.lock().await = true;
        if self.installed.load().is_none() {
            return 0;
        }
        let left = self.open().await.unwrap_or(0);
        if let Err(error) = kernel::run(&kernel::removal(&self.table)).await {
            sink.say(Event::Trouble {
                what: format!("table inet {} stays: {error}", self.table),
            });
        }
        left
    }
}

/// Puts the first rules in force, and keeps them right from then on.
pub(super) async fn start(world: &Arc<World>) -> Result<(), KernelError> {
    world.kernel.begin(&world.sink).await?;
    tokio::spawn(keep(Arc::downgrade(world), world.kernel.wanted.subscribe()));
    Ok(())
}

/// Whether `config` could be served, asked before it is put in force.
pub(super) async fn preflight(world: &World, config: &Config) -> Result<(), String> {
    let mut listeners = config.listeners.iter();
    let is_first = world.kernel.installed.load().is_none();
    if !is_first || !listeners.any(|it| it.plane == Plane::Kernel) {
        return Ok(());
    }
    kernel::check_right().map_err(|error| error.to_string())?;
    let text = Ruleset::default().replace(&world.kernel.table);
    let tried = kernel::dry_run(&text).await;
    tried.map_err(|error| KernelError::from(error).to_string())
}

/// A listener whose address would go from one plane to the other. Its port
/// cannot be held and listened on at once, so that takes a restart.
pub(super) fn changes_plane(old: &Config, new: &Config) -> Option<Name> {
    let binds = |config: &Config, plane: Plane| -> Vec<(Name, Endpoint)> {
        let listeners = config.listeners.iter().filter(|it| it.plane == plane);
        listeners
            .flat_map(|it| it.binds.iter().map(|bind| (it.name.clone(), bind.clone())))
            .collect()
    };
    let planes = [(Plane::Kernel, Plane::User), (Plane::User, Plane::Kernel)];
    let mut moved = planes.into_iter().flat_map(|(from, to)| {
        let before = binds(old, from);
        let is_same = move |bind: &Endpoint| before.iter().any(|(_, it)| it == bind);
        let after = binds(new, to).into_iter();
        after.filter(move |(_, bind)| is_same(bind))
    });
    moved.next().map(|(name, _)| name)
}

async fn keep(world: Weak<World>, mut wanted: watch::Receiver<Arc<Ruleset>>) {
    if let Some(world) = world.upgrade()
        && world.kernel.installed.load().is_none()
    {
        // What a killed process has left. Nobody who never uses the kernel
        // plane needs nft or the right to run it.
        let _nothing_left =
            kernel::run(&format!("delete table inet {}\n", world.kernel.table)).await;
    }
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_late = false;
    wanted.mark_changed();
    loop {
        let is_new = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep(RETRY), if is_late => true,
            _ = looks.tick() => false,
        };
        let Some(world) = world.upgrade() else {
            return;
        };
        if !is_new {
            world.kernel.look().await;
            continue;
        }
        let rules = Arc::clone(&wanted.borrow_and_update());
        let updated = world.kernel.update(&rules, &world.sink).await;
        if let Err(error) = &updated
            && !is_late
        {
            world.sink.say(Event::Trouble {
                what: format!("the kernel plane keeps its old rules: {error}"),
            });
        }
        is_late = updated.is_err();
    }
}

/// Says which switches are off that other machines' connections need.
fn warn(rules: &Ruleset, sink: &Sink) {
    for name in kernel::forwarding_off(rules) {
        sink.say(Event::Limited {
            what: format!(
                "{name} is off: the kernel plane serves clients on this machine only; \
                 `sysctl -w {name}=1` lets it serve others"
            ),
        });
    }
}

/// The same for every life of a node, and another one for each node of a
/// machine.
fn table_name(file: &Path, node: Option<&Name>) -> String {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let node = node.map_or("", Name::as_str);
    let hash = digest(&SHA256, format!("{}\n{node}", file.display()).as_bytes());
    let first = hash.as_ref().iter().take(6);
    let hash: String = first.map(|byte| format!("{byte:02x}")).collect();
    format!("tandem_{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_belongs_to_one_node_of_one_file() {
        let name = |file: &str, node: Option<&str>| {
            let node = node.map(|it| Name::new(it).unwrap());
            table_name(Path::new(file), node.as_ref())
        };
        let first = name("/nonexistent/lb.yaml", Some("lb1"));
        assert_eq!(first, name("/nonexistent/lb.yaml", Some("lb1")));
        assert_ne!(first, name("/nonexistent/lb.yaml", Some("lb2")));
        assert_ne!(first, name("/nonexistent/lb2.yaml", Some("lb1")));
        assert_eq!(first.len(), "tandem_".len() + 12);
    }
}
