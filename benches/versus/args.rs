//! The command line.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::fault::Fault;
use crate::pin::Pin;

/// Names the scratch folder to the process inside the namespace.
pub(crate) const INSIDE: &str = "TANDEM_VERSUS_INSIDE";

/// tandem beside HAProxy, nginx, a direct connection and the kernel's DNAT.
#[derive(Debug, Clone, Parser)]
#[command(name = "versus")]
pub(crate) struct Args {
    /// Other tandems than the one just built, or TANDEM_BIN; several for before
    /// and after: the others are compared with the first one, too.
    #[arg(long, value_name = "[NAME=]PATH")]
    pub(crate) tandem: Vec<String>,

    /// Another HAProxy than HAPROXY_BIN or /usr/sbin/haproxy.
    #[arg(long, value_name = "PATH")]
    haproxy: Option<PathBuf>,

    /// Another nginx than NGINX_BIN or /usr/sbin/nginx.
    #[arg(long, value_name = "PATH")]
    nginx: Option<PathBuf>,

    /// Only these, by name: tandem (or NAME), tandem-first, tandem-busy, haproxy, haproxy-tuned, nginx, direct, nft.
    #[arg(long, value_delimiter = ',')]
    pub(crate) subjects: Vec<String>,

    /// Only these, by name or group (bulk, short, ping, open, many, idle, 2w).
    #[arg(long, value_delimiter = ',')]
    pub(crate) cells: Vec<String>,

    #[arg(long)]
    pub(crate) rounds: Option<usize>,

    /// The measured part of each cell.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,

    /// Cells with two workers are never pinned.
    #[arg(long, value_enum, default_value = "one")]
    pub(crate) pin: Pin,

    /// The report's folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// A few cells of each kind, three rounds.
    #[arg(long)]
    pub(crate) quick: bool,

    /// tandem and direct, 200 ms a cell: does the bench itself work?
    #[arg(long)]
    pub(crate) smoke: bool,

    /// Prints the names of all cells.
    #[arg(long)]
    pub(crate) list: bool,

    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What this process is to do.
pub(crate) enum Role {
    Outside,
    Inside,
    Serve,
    Load,
}

pub(crate) fn role() -> Role {
    match env::args().nth(1).as_deref() {
        Some("serve") => Role::Serve,
        Some("load") => Role::Load,
        Some(_) | None if env::var_os(INSIDE).is_some() => Role::Inside,
        Some(_) | None => Role::Outside,
    }
}

impl Args {
    /// Names and programs; the first one is the base of the others.
    pub(crate) fn tandems(&self) -> Vec<(String, PathBuf)> {
        if self.tandem.is_empty() {
            let built = PathBuf::from(env!("CARGO_BIN_EXE_tandem"));
            let path = program(None, "TANDEM_BIN", built);
            return vec![("tandem".to_owned(), path)];
        }
        let named = self.tandem.iter().enumerate().map(|(at, text)| {
            let number = if at == 0 {
                String::new()
            } else {
                format!("-{}", at + 1)
            };
            match text.split_once('=') {
                Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
                None => (format!("tandem{number}"), PathBuf::from(text)),
            }
        });
        named.collect()
    }

    pub(crate) fn haproxy(&self) -> PathBuf {
        let usual = PathBuf::from("/usr/sbin/haproxy");
        program(self.haproxy.as_ref(), "HAPROXY_BIN", usual)
    }

    pub(crate) fn nginx(&self) -> PathBuf {
        let usual = PathBuf::from("/usr/sbin/nginx");
        program(self.nginx.as_ref(), "NGINX_BIN", usual)
    }

    pub(crate) fn rounds(&self) -> usize {
        let usual = if self.smoke {
            1
        } else if self.quick {
            3
        } else {
            5
        };
        self.rounds.unwrap_or(usual).max(1)
    }

    pub(crate) fn window(&self) -> Duration {
        let usual = if self.smoke { 0.2 } else { 1.5 };
        Duration::from_secs_f64(self.seconds.unwrap_or(usual).clamp(0.05, 60.0))
    }

    pub(crate) fn warm_up(&self) -> Duration {
        let usual = if self.smoke { 50 } else { 300 };
        Duration::from_millis(usual)
    }

    /// `target/versus`, wherever `target` is.
    pub(crate) fn out(&self) -> Result<PathBuf, Fault> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let program = env::current_exe()?;
        // target/PROFILE/deps/versus-HASH
        let target = program.ancestors().nth(3);
        let target = target.ok_or_else(|| Fault::new("no folder for the report: use --out"))?;
        Ok(target.join(if self.smoke { "versus-smoke" } else { "versus" }))
    }
}

fn program(given: Option<&PathBuf>, variable: &str, usual: PathBuf) -> PathBuf {
    let named = || env::var_os(variable).map(PathBuf::from);
    given.cloned().or_else(named).unwrap_or(usual)
}
