//! text -> [`Config`], or [`Problems`].

mod change;
mod check;
mod fields;
mod given;
mod indent;
mod meant;
mod node;
mod print;
mod problem;
mod public;
mod reader;
mod scalar;
mod surroundings;
mod syntax;
mod warning;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::admin::AdminSettings;
use crate::dns::ServeSettings;
use crate::dns::hook::HookSettings;
use crate::dns::rfc2136::Rfc2136Settings;
use crate::event::LogSettings;
use crate::health::ProbeSettings;
use crate::pair::{Mode, PairSettings};
use crate::pool::{ListenerSettings, PoolSettings};
use crate::proxy::Limits;
use crate::types::Taint;

pub use change::{Change, changes};
pub use problem::{Problem, Problems};
pub use surroundings::{Process, Surroundings, is_open_to_all};

use given::Given;
use node::{Node, Place};
use public::Public;
use reader::Reader;
use warning::Warning;

/// A whole lb.yaml, checked. If you hold one, it is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bounds of the process.
    pub limits: Limits,
    /// Where the process keeps what should outlive it; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// The listeners, by name.
    pub listeners: Vec<ListenerSettings>,
    /// The pools, by name, each with its probe.
    pub pools: Vec<PoolConfig>,
    /// The pair, and how the world learns who holds its name.
    pub pair: Option<PairConfig>,
    /// The admin interface.
    pub admin: AdminSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// What must never be shown: what the environment gave, and secrets.
    pub taint: Taint,
    /// What is to be said of the file all the same: where, and of which setting.
    warnings: Vec<(Place, String, Warning)>,
    /// What the environment gave to addresses and names, which are shown.
    public: Vec<Public>,
    /// What the environment gave to which setting.
    given: Given,
}

/// The pair and its ways of publishing.
#[derive(Clone, Debug, PartialEq)]
pub struct PairConfig {
    /// The pair.
    pub pair: PairSettings,
    /// The embedded name server; `None`: somebody else answers for the name.
    pub serve: Option<ServeSettings>,
    /// A DNS server that takes updates, as the register; `None`: nothing
    /// arbitrates.
    pub register: Option<Rfc2136Settings>,
    /// What keeps two nodes from holding the name at once.
    pub mode: Mode,
    /// Whom to ask for the name now and then, besides those who answer for it.
    pub observe: Vec<SocketAddr>,
    /// A command that hears of every change.
    pub hook: Option<HookSettings>,
}

/// A pool and how it is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// The pool.
    pub pool: PoolSettings,
    /// Its probe.
    pub probe: ProbeSettings,
}

/// A file that is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It says something wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// It cannot be read.
    #[error("cannot read {path}: {cause}{hint}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
}

impl LoadError {
    /// The whole story, with the lines of the file that are meant: for the
    /// terminal of who may read the file. `Display` leaves out what the file
    /// says, for a password may stand beside a mistake.
    pub fn with_lines(&self) -> String {
        match self {
            Self::Problems(problems) => problems.with_lines(),
            Self::Read { .. } => self.to_string(),
        }
    }
}

impl Config {
    /// Reads the file at `path`, as the node `node` of its pair, or as the one
    /// that this machine seems to be.
    pub fn load(path: &Path, node: Option<&str>) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|cause| {
            let is_missing = cause.kind() == io::ErrorKind::NotFound;
            LoadError::Read {
                path: path.to_owned(),
                cause,
                hint: if is_missing {
                    " (`tandem init web > lb.yaml` writes a first one)"
                } else {
                    ""
                },
            }
        })?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let around = Process {
            folder,
            node: node.map(str::to_owned),
        };
        Ok(Self::parse_bytes(
            &bytes,
            &path.display().to_string(),
            &around,
        )?)
    }

    /// The same as [`Self::parse`] for what may be no text.
    pub fn parse_bytes(
        bytes: &[u8],
        file: &str,
        around: &dyn Surroundings,
    ) -> Result<Self, Problems> {
        syntax::decode(bytes)
            .map_err(|(at, wrong)| {
                let mut reader = Reader::new(around);
                reader.wrong(at, "", wrong);
                Problems::new(file, &String::from_utf8_lossy(bytes), None, reader)
            })
            .and_then(|text| Self::parse(text, file, around))
    }

    /// The configuration in `text`, or everything that is wrong with it.
    /// `file` is what the messages call it.
    pub fn parse(text: &str, file: &str, around: &dyn Surroundings) -> Result<Self, Problems> {
        let mut reader = Reader::new(around);
        let root = Node::read(text);
        let config = match &root {
            Ok(root) => check::check(root, &mut reader),
            Err((at, wrong)) => {
                reader.wrong(*at, "", wrong.clone());
                None
            }
        };
        config.ok_or_else(|| Problems::new(file, text, root.as_ref().ok(), reader))
    }

    /// The admin interface that the file at `path` describes, though it may be
    /// wrong elsewhere: whoever mends it must be able to ask the process.
    pub fn admin_of(path: &Path) -> Option<AdminSettings> {
        let text = std::fs::read_to_string(path).ok()?;
        let around = Process {
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            node: None,
        };
        check::admin_alone(&Node::read(&text).ok()?, &mut Reader::new(&around))
    }

    /// What is to be said of a good file all the same, by line: a secret that
    /// stands in it, where everybody on this machine may read the file, and an
    /// address to connect from that is not here.
    pub fn warnings(&self, is_open_to_all: bool) -> Vec<String> {
        let all = self.warnings.iter();
        let worth_it =
            all.filter(|(_, _, it)| is_open_to_all || !matches!(it, Warning::InlineSecret));
        let said = worth_it
            .map(|(at, path, warning)| format!("{}:{}: {path}: {warning}", at.line, at.column));
        said.collect()
    }

    /// What is to be known of a good file, by line: each variable whose value
    /// is shown, being an address or a name.
    pub fn notes(&self) -> Vec<String> {
        public::notes(&self.public)
    }

    /// Every setting as it came out, with what the environment gave and
    /// secrets masked: to be compared with a twin's, and not to be shown.
    pub fn to_compare(&self) -> serde_json::Value {
        print::all(self)
    }

    /// Every setting, defaults included, secrets masked, and what the
    /// environment gave by its name.
    pub fn to_json(&self) -> serde_json::Value {
        print::json(self)
    }

    /// The same as an lb.yaml.
    pub fn to_yaml(&self) -> String {
        // It fails on what YAML cannot say; JSON has nothing of that kind.
        serde_yaml::to_string(&print::as_file(self)).unwrap_or_default()
    }
}
