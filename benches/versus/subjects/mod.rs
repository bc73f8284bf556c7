//! What is compared: balancers, and the two ways of doing without one.

mod direct;
mod haproxy;
mod nft;
mod nginx;
mod tandem;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::Args;
use crate::child::{Process, STOP};
use crate::fault::Fault;
use crate::load::say_hello;
use crate::sched;

/// Where balancers listen, one port after the other.
pub(crate) const FIRST_PORT: u16 = 20_001;
pub(crate) const LAST_PORT: u16 = 20_999;
/// Not for connections: those of backends and balancers.
pub(crate) const PORTS: &str = "19999-20999";
const BACKEND_PORT: u16 = 20_000;
/// Translated connections come with the time stamps of another destination; in
/// the TIME_WAIT of an untranslated one they would be refused.
const NFT_PORT: u16 = 19_999;
/// Several addresses: four times the ports.
const BACKENDS: u8 = 4;

/// A balancer that does not serve by then is broken.
const START: Duration = Duration::from_secs(15);
/// Answers in a row before it counts as started.
const HELLOS: usize = 8;

/// All that the backend listens on.
pub(crate) fn served() -> Vec<SocketAddr> {
    let mut all = backends();
    all.extend(
        backends()
            .iter()
            .map(|it| SocketAddr::from((it.ip(), NFT_PORT))),
    );
    all
}

fn backends() -> Vec<SocketAddr> {
    let address = |last| Ipv4Addr::new(127, 0, 0, 10 + last);
    let all = (1..=BACKENDS).map(address);
    all.map(|it| SocketAddr::from((it, BACKEND_PORT))).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Tandem { program: PathBuf, variant: Variant },
    Haproxy { program: PathBuf, tuned: bool },
    Nginx { program: PathBuf },
    Direct,
    Nft,
}

/// What is not by default in the tandem that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Variant {
    /// Workers look for events before they sleep.
    Busy,
    /// The listener waits for the client's first bytes, as it does for HTTP.
    First,
    /// Nothing.
    Plain,
}

impl Kind {
    pub(crate) fn is_process(&self) -> bool {
        !matches!(self, Self::Direct | Self::Nft)
    }

    pub(crate) fn is_tandem(&self) -> bool {
        matches!(self, Self::Tandem { .. })
    }
}

pub(crate) struct Found {
    pub(crate) subjects: Vec<Subject>,
    /// Names, and what to install.
    pub(crate) missing: Vec<(String, String)>,
}

/// The wanted subjects that can run here.
pub(crate) fn find(args: &Args) -> Result<Found, Fault> {
    let wanted = wanted(args)?;
    let mut found = Found {
        subjects: Vec::new(),
        missing: Vec::new(),
    };
    for (name, kind) in wanted {
        let version = match &kind {
            Kind::Tandem { program, .. } => tandem::version(program),
            Kind::Haproxy { program, .. } => haproxy::version(program),
            Kind::Nginx { program } => nginx::version(program),
            Kind::Nft => nft::version(),
            Kind::Direct => Ok("no balancer".to_owned()),
        };
        match version {
            Ok(version) => found.subjects.push(Subject {
                name,
                kind,
                version,
            }),
            Err(fault) => found.missing.push((name, fault.to_string())),
        }
    }
    if found.subjects.is_empty() {
        return Err(Fault::new("there is nothing to measure"));
    }
    Ok(found)
}

fn wanted(args: &Args) -> Result<Vec<(String, Kind)>, Fault> {
    let mut all: Vec<(String, Kind)> = Vec::new();
    for (name, program) in args.tandems() {
        for (ending, variant) in [
            ("", Variant::Plain),
            ("-first", Variant::First),
            ("-busy", Variant::Busy),
        ] {
            let program = program.clone();
            all.push((format!("{name}{ending}"), Kind::Tandem { program, variant }));
        }
    }
    for (name, tuned) in [("haproxy", false), ("haproxy-tuned", true)] {
        let program = args.haproxy();
        all.push((name.to_owned(), Kind::Haproxy { program, tuned }));
    }
    let program = args.nginx();
    all.push(("nginx".to_owned(), Kind::Nginx { program }));
    all.push(("direct".to_owned(), Kind::Direct));
    all.push(("nft".to_owned(), Kind::Nft));
    let names: HashSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < all.len() {
        return Err(Fault::new("two subjects have the same name"));
    }
    let smoke = ["tandem".to_owned(), "direct".to_owned()];
    let asked = if args.smoke && args.subjects.is_empty() {
        &smoke[..]
    } else {
        &args.subjects
    };
    if let Some(name) = asked
        .iter()
        .find(|name| *name != "tandem" && !names.contains(name.as_str()))
    {
        return Err(Fault::new(format!("no subject is called {name}")));
    }
    // `tandem` means every tandem.
    all.retain(|(name, kind)| {
        let is_plain = matches!(
            kind,
            Kind::Tandem {
                variant: Variant::Plain,
                ..
            }
        );
        let group = is_plain && asked.iter().any(|it| it == "tandem");
        // Staying awake burns what is measured; it is asked for by name.
        let is_all = asked.is_empty() && !name.ends_with("-busy");
        is_all || group || asked.contains(name)
    });
    Ok(all)
}

/// A subject that is being measured.
pub(crate) struct Instance {
    pub(crate) targets: Vec<SocketAddr>,
    process: Option<Process>,
    /// In the kernel only as long as this lives.
    _rules: Option<nft::Rules>,
}

/// How a process is to be started.
struct Launch {
    command: Command,
    listen: SocketAddr,
}

/// Ports and files of one instance.
struct Place<'a> {
    listen: SocketAddr,
    folder: &'a Path,
    workers: usize,
    /// Client connections at the same time.
    connections: usize,
}

impl Instance {
    pub(crate) fn start(
        subject: &Subject,
        workers: usize,
        connections: usize,
        port: u16,
        folder: &Path,
    ) -> Result<Self, Fault> {
        let folder = folder.join(format!("{}-{port}", subject.name));
        std::fs::create_dir_all(&folder)?;
        let place = Place {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            folder: &folder,
            workers,
            connections,
        };
        let launch = match &subject.kind {
            Kind::Direct => return Ok(direct::instance()),
            Kind::Nft => return nft::instance(),
            Kind::Tandem { program, variant } => tandem::launch(program, *variant, &place)?,
            Kind::Haproxy { program, tuned } => haproxy::launch(program, *tuned, &place)?,
            Kind::Nginx { program } => nginx::launch(program, &place)?,
        };
        let Launch {
            mut command,
            listen,
        } = launch;
        let log = std::fs::File::create(folder.join("stderr"))?;
        let process = Process::start(&subject.name, command.stderr(log))?;
        let mut instance = Self {
            targets: vec![listen],
            process: Some(process),
            _rules: None,
        };
        instance.await_service().map_err(|fault| {
            let said = std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            Fault::new(format!("{fault}; it said: {}", last.join(" | ")))
        })?;
        Ok(instance)
    }

    /// Every process of the balancer.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Fault> {
        let Some(process) = &self.process else {
            return Ok(Vec::new());
        };
        let mut pids = vec![process.pid()];
        let mut at = 0;
        while let Some(pid) = pids.get(at).copied() {
            at += 1;
            for task in sched::tasks(pid)? {
                let path = format!("/proc/{pid}/task/{task}/children");
                let text = std::fs::read_to_string(path).unwrap_or_default();
                pids.extend(
                    text.split_whitespace()
                        .filter_map(|it| it.parse::<u32>().ok()),
                );
            }
        }
        Ok(pids)
    }

    pub(crate) fn expect_alive(&mut self) -> Result<(), Fault> {
        self.process.as_mut().map_or(Ok(()), Process::expect_alive)
    }

    /// Until several answers in a row came through.
    fn await_service(&mut self) -> Result<(), Fault> {
        let until = Instant::now() + START;
        let mut in_a_row = 0;
        while in_a_row < HELLOS {
            self.expect_alive()?;
            match say_hello(self.targets[0]) {
                Ok(_) => in_a_row += 1,
                Err(fault) if Instant::now() > until => return Err(fault),
                Err(_) if STOP.load(std::sync::atomic::Ordering::Relaxed) => {
                    return Err(Fault::new("interrupted"));
                }
                Err(_) => {
                    in_a_row = 0;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }
}

/// The first line of what a program says about itself, or what to install.
fn first_line(command: &mut Command, install: &str) -> Result<String, Fault> {
    match crate::child::said(command) {
        Ok(said) => Ok(said.lines().next().unwrap_or_default().trim().to_owned()),
        Err(fault) => Err(Fault::new(format!("{fault} ({install})"))),
    }
}
