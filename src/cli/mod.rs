//! The command line: one table of commands; parser, `--help`, man page and
//! completions come from it.

mod check;
mod client;
mod demo;
mod events;
mod init;
mod online;
mod pair;
mod probe;
mod quick;
mod reload;
mod run;
mod status;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{Config, LoadError};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It worked, or the answer is yes.
    Ok = 0,
    /// It was refused, or the answer is no.
    Refused = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No running tandem answers.
    Unreachable = 3,
    /// It took too long.
    TimedOut = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A Layer-4 TCP load balancer that is its own failover pair.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    arg_required_else_help = false,
    after_help = "Exit codes: 0 ok, 1 refused or false, 2 usage or config error, \
                  3 cannot reach the daemon, 4 timed out."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: ConfigFile,
}

/// Which lb.yaml.
#[derive(Args, Clone, Debug, Default)]
struct ConfigFile {
    /// The configuration [default: ./lb.yaml, else /etc/tandem/lb.yaml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Which node of the pair this is [default: by host name or address]
    #[arg(long, value_name = "NAME", global = true)]
    node: Option<String>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, LoadError> {
        Config::load(&self.path(), self.node.as_deref())
    }

    fn path(&self) -> PathBuf {
        match &self.config {
            Some(path) => path.clone(),
            None if Path::new("lb.yaml").exists() => PathBuf::from("lb.yaml"),
            None => PathBuf::from("/etc/tandem/lb.yaml"),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what lb.yaml says; the default
    Run,
    /// Say everything that is wrong with lb.yaml
    Check(CheckArgs),
    /// Print a first lb.yaml
    Init {
        /// For what
        kind: InitKind,
    },
    /// Serve without a file: one listener, one pool
    Quick(QuickArgs),
    /// Probe a backend or an address once, as a running tandem would
    Probe(ProbeArgs),
    /// Show what a running tandem does
    Status(StatusArgs),
    /// Make a running tandem read its lb.yaml again
    Reload(ReloadArgs),
    /// Show and order who holds the public name
    Pair(PairArgs),
    /// Show what has happened lately: roles, backends, reloads, troubles
    Events(EventsArgs),
    /// Show what the embedded name server answers
    Dns(DnsArgs),
    /// See servers and balancers die without one failed request
    Demo(DemoArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
    /// A tiny web server for the demo
    #[command(hide = true)]
    DemoBackend {
        /// Its name, which it answers with
        name: String,
        /// Where it listens
        bind: SocketAddr,
    },
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Try every address to listen at and probe every backend once, too
    #[arg(long)]
    online: bool,
    /// Print every setting that is in force, defaults included
    #[arg(long)]
    print: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InitKind {
    /// A MySQL or MariaDB cluster
    Mysql,
    /// Web servers
    Web,
}

#[derive(Args, Debug)]
struct QuickArgs {
    /// Where to listen, like :8080
    bind: String,
    /// Backends, like 10.0.0.11:8080
    #[arg(required = true)]
    backends: Vec<String>,
    /// Probe by asking for this path
    #[arg(long, value_name = "PATH", conflicts_with = "mysql")]
    http: Option<String>,
    /// Probe as a MySQL client
    #[arg(long)]
    mysql: bool,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("kind").args(["http", "https", "mysql", "tcp"])))]
#[command(group(clap::ArgGroup::new("request").args(["http", "https"]).multiple(true)))]
struct ProbeArgs {
    /// A backend of lb.yaml (POOL/BACKEND, POOL for all, or its address), which
    /// is probed as its pool says; or any address with one of --tcp, --http,
    /// --https, --mysql
    what: String,
    /// Ask for this path
    #[arg(long, value_name = "PATH")]
    http: Option<String>,
    /// Ask for this path over TLS; the certificate must be right
    #[arg(long, value_name = "PATH")]
    https: Option<String>,
    /// Ask for it at this host, whose name must be in the certificate [default:
    /// that of the address]
    #[arg(long, value_name = "HOST", requires = "request")]
    host: Option<String>,
    /// Trust the certificates in this file, not the system's authorities
    #[arg(long, value_name = "FILE", requires = "https")]
    ca_file: Option<PathBuf>,
    /// Take any certificate
    #[arg(long, requires = "https", conflicts_with = "ca_file")]
    insecure: bool,
    /// Shake hands as a MySQL client
    #[arg(long)]
    mysql: bool,
    /// Connect
    #[arg(long)]
    tcp: bool,
    /// Log in as this MySQL account
    #[arg(long, requires_all = ["mysql", "password_file"])]
    user: Option<String>,
    /// Where its password is
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Give up after this many milliseconds [default: what the pool says, else
    /// 800]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: Option<u64>,
}

impl ProbeArgs {
    fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// Which running tandem.
#[derive(Args, Debug)]
struct AdminSocket {
    /// Its admin socket [default: the one in lb.yaml, else
    /// /run/tandem/admin.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    admin: AdminSocket,
    /// The whole status as JSON
    #[arg(long)]
    json: bool,
    /// Once a second, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

#[derive(Args, Debug)]
struct EventsArgs {
    #[command(flatten)]
    admin: AdminSocket,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Go on with what happens, until interrupted
    #[arg(short, long)]
    follow: bool,
}

#[derive(Args, Debug)]
struct ReloadArgs {
    #[command(flatten)]
    admin: AdminSocket,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct PairArgs {
    #[command(flatten)]
    admin: AdminSocket,
    #[command(subcommand)]
    command: PairCommand,
}

#[derive(Debug, Subcommand)]
enum PairCommand {
    /// Who holds the name, and how the twins are
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give the name to a twin; to be asked of its holder
    Handover {
        /// Which [default: the first that can take it]
        to: Option<String>,
    },
    /// Let nothing move by itself
    Hold {
        /// Take that back
        #[arg(long)]
        off: bool,
    },
    /// Show that a takeover would work
    Drill {
        /// Move the name, and say how long it took
        #[arg(long)]
        really: bool,
    },
}

#[derive(Args, Debug)]
struct DnsArgs {
    #[command(flatten)]
    admin: AdminSocket,
    #[command(subcommand)]
    command: DnsCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum DnsCommand {
    /// The records, and what the zone above needs
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct DemoArgs {
    /// How long the client goes on
    #[arg(long, default_value_t = 18)]
    seconds: u64,
    /// Leave everything running at the end, and say what to try
    #[arg(long)]
    keep: bool,
}

/// Parses the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain.
            let _closed = error.print();
            let is_wrong = error.use_stderr();
            return if is_wrong { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let exit = match cli.command.unwrap_or(Command::Run) {
        Command::Check(args) => check::check(&args, &cli.file),
        Command::Completions { shell } => completions(shell),
        Command::Demo(args) => demo::demo(&args),
        Command::DemoBackend { name, bind } => demo::backend(&name, bind),
        Command::Dns(args) => pair::dns(&args, &cli.file),
        Command::Events(args) => events::events(&args, &cli.file),
        Command::Init { kind } => init::init(kind),
        Command::Pair(args) => pair::pair(&args, &cli.file),
        Command::Man => man(),
        Command::Probe(args) => probe::probe(&args, &cli.file),
        Command::Quick(args) => quick::quick(&args),
        Command::Reload(args) => reload::reload(&args, &cli.file),
        Command::Run => run::run(&cli.file),
        Command::Status(args) => status::status(&args, &cli.file),
        Command::Version => {
            out(&format!("tandem {}\n", env!("CARGO_PKG_VERSION")));
            Exit::Ok
        }
    };
    exit.into()
}

fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tandem", &mut script);
    out(&String::from_utf8_lossy(&script));
    Exit::Ok
}

fn man() -> Exit {
    let mut page = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut page) {
        Ok(()) => {
            out(&String::from_utf8_lossy(&page));
            Exit::Ok
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Refused
        }
    }
}

/// Says `text` on standard output.
fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    // Who has closed the pipe does not want to hear more.
    let _closed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Says on standard error what went wrong.
fn complain(what: &str) {
    let _closed = writeln!(io::stderr().lock(), "tandem: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }
}
