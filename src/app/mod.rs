//! The composition root: a [`Config`] becomes running threads and tasks. Only
//! the command line imports it.

mod candidates;
mod closing;
mod control;
mod given;
mod kernel;
mod limits;
mod look;
mod memory;
mod notify;
mod observe;
mod ports;
mod probers;
mod registry;
mod reload;
mod resolve;
mod samples;
mod signals;
mod sockets;
mod stage;
mod stopping;
mod twin;
mod vacancy;
mod world;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{self, Node, ReloadError};
use crate::clock::Seed;
use crate::config::Config;
use crate::event::{Event, Sink};
use crate::metrics;
use crate::pool::Snapshot;
use crate::proxy::Workers;
use crate::status::Status;

use crate::admin::PairOrder;
use crate::status::{DnsStatus, PairStatus};
use control::{Control, Inbox, Request};
pub use kernel::KernelError;
use reload::Reload;
use resolve::Addresses;
pub use signals::Signals;
pub use sockets::BindError;
use stage::Deed;
use twin::Twin;
pub use vacancy::{Obstacle, Seat, seats};
pub use world::Source;
use world::{Loaded, World};

/// Messages that may wait for the control loop.
const QUEUE: usize = 1024;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin interface could not be opened.
    #[error("{0}")]
    Admin(#[from] admin::OpenError),
    /// A listener could not be opened.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The kernel plane could not be started.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// The system refused a thread, a signal handler or the like.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Serves `config`, which came from `source`, until one of `signals` ends it.
pub async fn serve(
    config: Config,
    source: Source,
    sink: Sink,
    signals: &mut Signals,
) -> Result<(), StartError> {
    sink.guard(&config.taint);
    let seed = Seed::random();
    let mut addresses = Addresses::default();
    tokio::select! {
        found = resolve::look_up_all(resolve::wishes(&config), &config.taint, &sink) => {
            addresses.merge(found);
        }
        // Nothing has been opened yet.
        () = signals.asked(1) => {
            signals.done();
            return Ok(());
        }
    }
    let (seen, seen_inbox) = mpsc::channel(QUEUE);
    let (reports, reports_inbox) = mpsc::channel(QUEUE);
    let (requests, requests_inbox) = mpsc::channel(QUEUE);
    let (found, found_inbox) = mpsc::channel(1);
    let snapshot = Arc::<ArcSwap<Snapshot>>::default();
    let workers = limits::worker_count(&config);
    let budget = limits::budget(&config, workers, &sink);
    let workers = Workers::start(
        workers,
        Arc::clone(&snapshot),
        budget,
        config.limits.busy_poll,
        sink.clone(),
        seed.fork(0),
        // A full box means that the control loop has heard enough.
        Box::new(move |id, what| {
            let _enough = seen.try_send((id, what));
        }),
    )?;
    let loaded = Loaded::new(config, source);
    let world = Arc::new(World::new(snapshot, workers, sink.clone(), loaded));
    let mut control = Control::new(
        Arc::clone(&world),
        addresses,
        reports,
        requests.clone(),
        seed.fork(1),
    );
    let admin = open_admin(&world, &requests).await?;
    control.start()?;
    kernel::start(&world).await?;
    if let Err(error) = start_twin(&world, seed.fork(2)) {
        // The rules outlive who has written them, and would go on promising.
        world.kernel.remove(&sink).await;
        return Err(error);
    }
    admin.start();
    sink.say(Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        workers: world.workers.count(),
        max_connections: budget.sessions,
    });
    notify::tell(notify::READY, &sink);
    let inbox = Inbox {
        reports: reports_inbox,
        seen: seen_inbox,
        requests: requests_inbox,
        found: found_inbox,
    };
    tokio::spawn(control::watch_names(Arc::clone(&world), found));
    let loop_task = tokio::spawn(control.run(inbox));
    if let Some(hangups) = signals.hangups() {
        tokio::spawn(reload_on(hangups, requests.clone()));
    }
    signals.asked(1).await;
    stopping::stop(&world, signals, &requests).await;
    loop_task.abort();
    Ok(())
}

/// Opens the doors of the admin interface, behind which nobody answers yet.
async fn open_admin(
    world: &Arc<World>,
    requests: &mpsc::Sender<Request>,
) -> Result<admin::Server, admin::OpenError> {
    let node = Arc::new(Handle {
        world: Arc::clone(world),
        requests: requests.clone(),
    });
    let loaded = world.loaded.load_full();
    let settings = &loaded.config.admin;
    let names = loaded.config.pair.iter().flat_map(|it| {
        let nodes = it.pair.nodes.iter().map(|node| node.name.to_string());
        nodes.chain([it.pair.name.as_str().to_owned()])
    });
    let admin = admin::Server::open(settings, names.collect(), node, world.sink.clone()).await?;
    if let Some(bind) = admin.bind() {
        let _first = world.admin_bind.set(bind);
    }
    Ok(admin)
}

/// Takes part in the pair, if there is one.
fn start_twin(world: &Arc<World>, seed: Seed) -> Result<(), StartError> {
    let loaded = world.loaded.load_full();
    let Some(pair) = &loaded.config.pair else {
        return Ok(());
    };
    let twin = Twin::start(pair, world, seed)?;
    let _first = world.twin.set(twin);
    let observing = Arc::downgrade(world);
    tokio::spawn(async move {
        let mut looks = tokio::time::interval(observe::EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(world) = observing.upgrade() else {
                return;
            };
            if let Some(twin) = world.twin.get() {
                twin.observe().await;
            }
        }
    });
    let counted = Arc::downgrade(world);
    tokio::spawn(async move {
        let mut before = 0;
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            let Some(world) = counted.upgrade() else {
                return;
            };
            if let Some(twin) = world.twin.get() {
                twin.count_stale(twin::accepted(&world), &mut before);
            }
        }
    });
    Ok(())
}

/// Reads lb.yaml again at each SIGHUP, as long as the process lives: one that
/// stops says so.
async fn reload_on(mut hangups: mpsc::Receiver<()>, requests: mpsc::Sender<Request>) {
    while hangups.recv().await.is_some() {
        let (reply, _log_has_it) = oneshot::channel();
        let dry_run = false;
        // A full box holds a reload already that will see the file.
        let _enough = requests.try_send(Request::Reload(Reload { dry_run, reply }));
    }
}

/// What the admin interface may ask of the process.
struct Handle {
    world: Arc<World>,
    requests: mpsc::Sender<Request>,
}

impl Node for Handle {
    fn status(&self) -> Status {
        look::status(&self.world)
    }

    fn metrics(&self) -> Result<String, String> {
        let samples = samples::samples(&self.world);
        metrics::exposition(samples).map_err(|error| error.to_string())
    }

    fn config(&self) -> serde_json::Value {
        self.world.loaded.load().config.to_json()
    }

    fn pair(&self) -> Option<PairStatus> {
        self.world.twin.get().and_then(Twin::status)
    }

    fn dns(&self) -> Option<DnsStatus> {
        self.world.twin.get().and_then(Twin::dns_status)
    }

    fn events(&self, after: u64) -> Vec<serde_json::Value> {
        self.world.sink.recent(after)
    }

    fn order(
        &self,
        order: PairOrder,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            if !self.world.stage().permits(Deed::Order) {
                return Err(ReloadError::Stopping.to_string());
            }
            match self.world.twin.get() {
                Some(twin) => twin.order(order).await,
                None => Err("there is no pair in lb.yaml".to_owned()),
            }
        })
    }

    fn is_ready(&self) -> bool {
        self.world.is_ready()
    }

    fn reload(
        &self,
        dry_run: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<String>, ReloadError>> + Send + '_>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let reload = Request::Reload(Reload { dry_run, reply });
            if self.requests.send(reload).await.is_err() {
                return Err(ReloadError::Stopping);
            }
            match answer.await {
                Ok(Ok(changes)) => Ok(changes),
                Ok(Err(why)) => Err(ReloadError::Refused(why)),
                Err(_) => Err(ReloadError::Stopping),
            }
        })
    }
}
