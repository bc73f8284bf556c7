//! The run itself: in every round, for every cell, all subjects one after the
//! other, beginning with another one each time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal};
use serde::Serialize;

use crate::Ended;
use crate::args::{Args, INSIDE};
use crate::cells::{self, Cell, Kind};
use crate::child::{self, Process, STOP};
use crate::fault::{Fault, While};
use crate::guard;
use crate::load::{Outcome, Spec};
use crate::machine::Machine;
use crate::netns;
use crate::pin::{self, Cpus, Pin};
use crate::report;
use crate::sched::Watched;
use crate::subjects::{self, FIRST_PORT, Instance, LAST_PORT, Subject};

/// What a cell may take beside warm-up and window: connecting thousands,
/// waiting for the last answers.
const ALLOWANCE: Duration = Duration::from_secs(60);

/// Longer than the other warm-ups by this factor: three seconds.
const IDLE_WARM_UP: u32 = 10;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) pin: Pin,
    pub(crate) window_seconds: f64,
    pub(crate) rounds_wanted: usize,
    pub(crate) rounds_done: usize,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) missing: Vec<(String, String)>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) samples: Vec<Sample>,
}

/// One cell of one subject in one round.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) cell: String,
    pub(crate) subject: String,
    /// Why there is no outcome.
    pub(crate) failed: Option<String>,
    pub(crate) outcome: Option<Outcome>,
}

impl Sample {
    /// A cell with errors has no figures.
    pub(crate) fn good(&self) -> Option<&Outcome> {
        self.outcome.as_ref().filter(|it| it.errors.count == 0)
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(why) = &self.failed {
            return Some(why.clone());
        }
        let errors = &self.outcome.as_ref()?.errors;
        let first = errors.first.join("; ");
        (errors.count > 0).then(|| format!("{} errors: {first}", errors.count))
    }
}

pub(crate) fn run(args: &Args) -> Ended {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    guard::on_signals()?;
    netns::set_up()?;
    let mut bench = Bench::new(args)?;
    let started = Instant::now();
    let finished = bench.rounds();
    let run = bench.run;
    let out = args.out()?;
    report::write(&run, &out)?;
    let troubles = run.samples.iter().filter(|it| it.trouble().is_some());
    let troubles = troubles.count();
    println!("{}", report::summary(&run));
    println!(
        "{} cells in {:.0} s, {troubles} with errors; report in {}",
        run.samples.len(),
        started.elapsed().as_secs_f64(),
        out.display()
    );
    finished?;
    let good = troubles == 0 && run.missing.is_empty();
    // A smoke test is to fail; a long run is to say what it has.
    Ok(if good || !args.smoke {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Bench {
    run: Run,
    cpus: Cpus,
    folder: PathBuf,
    server: Process,
    instances: HashMap<(String, usize), Instance>,
    ports: std::ops::RangeInclusive<u16>,
    connections: usize,
    warm_up: Duration,
    window: Duration,
}

impl Bench {
    fn new(args: &Args) -> Result<Self, Fault> {
        let folder = std::env::var_os(INSIDE).map(PathBuf::from);
        let folder = folder.ok_or_else(|| Fault::new("no scratch folder"))?;
        let cpus = Cpus::allowed()?;
        if args.pin == Pin::Split && cpus.count() < 2 {
            return Err(Fault::new("--pin split needs two CPUs"));
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let found = subjects::find(args)?;
        let mut server = child::own("serve")?;
        server.args(subjects::served().iter().map(ToString::to_string));
        let mut server = Process::start("the backend", &mut server)?;
        server.await_line(Duration::from_secs(5))?;
        Ok(Self {
            run: Run {
                machine: Machine::look(cpus.count(), most),
                pin: args.pin,
                window_seconds: args.window().as_secs_f64(),
                rounds_wanted: args.rounds(),
                rounds_done: 0,
                subjects: found.subjects,
                missing: found.missing,
                cells: cells_of(args, most)?,
                samples: Vec::new(),
            },
            cpus,
            folder,
            server,
            instances: HashMap::new(),
            ports: FIRST_PORT..=LAST_PORT,
            // A little more than any cell opens: probes come on top.
            connections: cells::most_connections(most, 10_000) + 100,
            warm_up: args.warm_up(),
            window: args.window(),
        })
    }

    fn rounds(&mut self) -> Result<(), Fault> {
        for round in 0..self.run.rounds_wanted {
            for at in 0..self.run.cells.len() {
                let cell = self.run.cells[at].clone();
                let mut order = self.run.subjects.clone();
                order.retain(|it| it.kind.is_process() || !cell.needs_process());
                let by = (round + at) % order.len().max(1);
                order.rotate_left(by);
                for subject in order {
                    self.sample(round, &cell, &subject);
                    if STOP.load(Ordering::Relaxed) {
                        return Err(Fault::new("interrupted"));
                    }
                }
            }
            self.run.rounds_done += 1;
        }
        Ok(())
    }

    fn sample(&mut self, round: usize, cell: &Cell, subject: &Subject) {
        let mut sample = Sample {
            round,
            cell: cell.name.clone(),
            subject: subject.name.clone(),
            failed: None,
            outcome: None,
        };
        match self.measure(cell, subject) {
            Ok(outcome) => sample.outcome = Some(outcome),
            Err(fault) => sample.failed = Some(fault.to_string()),
        }
        if STOP.load(Ordering::Relaxed) {
            return;
        }
        eprintln!("{}", report::line(&sample, cell));
        self.run.samples.push(sample);
    }

    fn measure(&mut self, cell: &Cell, subject: &Subject) -> Result<Outcome, Fault> {
        let key = (subject.name.clone(), cell.workers);
        // Memory is that of a fresh process; rules are for one cell.
        let lasting = subject.kind.is_process() && !matches!(cell.kind, Kind::Idle { .. });
        let running = lasting.then(|| self.instances.remove(&key)).flatten();
        let mut instance = match running {
            Some(instance) => instance,
            None => self.start(cell, subject)?,
        };
        let done = self.load(cell, &instance);
        let alive = instance.expect_alive();
        if lasting && alive.is_ok() {
            self.instances.insert(key, instance);
        }
        let outcome = done?;
        alive?;
        Ok(outcome)
    }

    fn start(&mut self, cell: &Cell, subject: &Subject) -> Result<Instance, Fault> {
        let port = self.ports.next();
        let port = port.ok_or_else(|| Fault::new("out of ports for balancers"))?;
        let folder: &Path = &self.folder;
        Instance::start(subject, cell.workers, self.connections, port, folder)
            .doing(|| format!("starting {}", subject.name))
    }

    /// Connections are idle once the timers of their beginning have passed.
    fn warm_up_of(&self, cell: &Cell) -> Duration {
        match cell.kind {
            Kind::Idle { .. } => self.warm_up * IDLE_WARM_UP,
            Kind::Bulk { .. } | Kind::Short { .. } | Kind::Ping { .. } | Kind::Open { .. } => {
                self.warm_up
            }
        }
    }

    fn load(&self, cell: &Cell, instance: &Instance) -> Result<Outcome, Fault> {
        // Two workers on one CPU would only be in each other's way.
        let pin = if cell.workers > 1 {
            Pin::None
        } else {
            self.run.pin
        };
        let watched = Watched {
            proxy: instance.pids()?,
            server: self.server.pid(),
        };
        for pid in &watched.proxy {
            pin::process(*pid, &self.cpus.for_proxy(pin))?;
        }
        pin::process(watched.server, &self.cpus.for_load(pin))?;
        let spec = Spec {
            kind: cell.kind,
            targets: instance.targets.clone(),
            warm_up: self.warm_up_of(cell),
            window: self.window,
            watched,
            cpus: self.cpus.for_load(pin),
        };
        let mut command = child::own("load")?;
        command.arg(serde_json::to_string(&spec)?);
        let load = Process::start("load", &mut command)?;
        let said = load.output(ALLOWANCE + self.warm_up_of(cell) + self.window)?;
        serde_json::from_str(&said).doing(|| "the load's answer".to_owned())
    }
}

fn cells_of(args: &Args, descriptors: u64) -> Result<Vec<Cell>, Fault> {
    let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
    let chosen: Vec<String> = if !args.cells.is_empty() {
        args.cells.clone()
    } else if args.smoke {
        names(cells::SMOKE)
    } else if args.quick {
        names(cells::QUICK)
    } else {
        Vec::new()
    };
    let mut cells = cells::choose(cells::all(descriptors), &chosen)?;
    if args.smoke {
        cells.iter_mut().for_each(Cell::shrink);
    }
    Ok(cells)
}
