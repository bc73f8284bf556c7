//! The tree -> [`Config`]. Each rule is here or below, and finds its faults
//! without stopping at the first.

mod admin;
mod links;
mod listeners;
mod own;
mod pair;
mod plane;
mod pools;
mod probe;
mod publish;
mod taken;
mod tsig;
mod unix;

use std::path::PathBuf;
use std::time::Duration;

use taken::Taken;

use super::fields::Fields;
use super::given::Given;
use super::node::{Node, Value};
use super::public;
use super::reader::Reader;
use super::scalar::{Parsed, duration, number, number32, word, wrong};
use super::{Config, PoolConfig};
use crate::admin::AdminSettings;
use crate::event::{LogFormat, LogSettings};
use crate::pool::ListenerSettings;
use crate::proxy::Limits;
use crate::types::Taint;

const SECTIONS: [&str; 6] = ["listeners", "pools", "pair", "process", "admin", "log"];

const PROCESS: [&str; 5] = [
    "workers",
    "max_connections",
    "busy_poll",
    "shutdown_grace",
    "state_dir",
];

/// The admin interface of a file that may be wrong elsewhere; `None`: it is
/// wrong there, too.
pub(super) fn admin_alone(root: &Node, reader: &mut Reader<'_>) -> Option<AdminSettings> {
    let fields = reader.fields(root, "", &SECTIONS)?;
    let elsewhere = reader.faults.len();
    let admin = fields.get("admin").map(|it| admin::read(it, reader));
    let is_right = reader.faults.len() == elsewhere;
    is_right.then(|| admin.unwrap_or_else(AdminSettings::default))
}

/// The configuration, as far as it is right; `reader` has what is wrong.
pub(super) fn check(root: &Node, reader: &mut Reader<'_>) -> Option<Config> {
    if matches!(root.value, Value::Null) {
        reader.fault(
            root.at,
            "",
            "the file says nothing",
            "see `tandem init web`",
        );
        return None;
    }
    let fields = reader.fields(root, "", &SECTIONS)?;
    for section in ["listeners", "pools"] {
        if !fields.has(section) {
            reader.fault(fields.at, section, "is missing", "see `tandem init web`");
        }
    }
    let pools = fields.get("pools").map(|it| pools::read(it, reader));
    let pools: Vec<PoolConfig> = pools.unwrap_or_default();
    // Of a pool whose protocol is wrong nothing is said that follows from it.
    let is_told = |it: &&PoolConfig| reader.is_told(&format!("pools.{}.protocol", it.pool.name));
    let protocols = pools
        .iter()
        .filter(|it| !is_told(it))
        .map(|it| (it.pool.name.clone(), it.pool.protocol));
    let protocols = protocols.collect();
    let known = listeners::Pools {
        names: pool_names(&fields, reader),
        protocols,
    };
    let listeners = fields.get("listeners");
    let pair = fields.get("pair").and_then(|it| pair::read(it, reader));
    let own = match &pair {
        Some(pair) => Some(pair::own_addresses(pair)),
        // A broken pair has been told: `self:` in a listener is not wrong itself.
        None => fields.has("pair").then(Vec::new),
    };
    let admin = fields.get("admin");
    let admin = admin.map(|it| admin::read(it, reader)).unwrap_or_default();
    let mut taken = Taken::by(&fields, &admin, pair.as_ref(), reader);
    let listeners =
        listeners.map(|it| listeners::read(it, &known, own.as_deref(), &mut taken, reader));
    let listeners: Vec<ListenerSettings> = listeners.unwrap_or_default();
    plane::check(&fields, &listeners, &pools, reader);
    own::check(&fields, &listeners, &pools, &admin, reader);
    let config = Config {
        limits: limits(&fields, reader),
        state_dir: state_dir(&fields, reader),
        listeners,
        pools,
        pair,
        admin,
        log: log(&fields, reader),
        taint: Taint::default(),
        warnings: Vec::new(),
        public: Vec::new(),
        given: Given::default(),
    };
    // By now everything has been read.
    let clashes = public::faults(&reader.public, &reader.private);
    reader.faults.extend(clashes);
    let config = Config {
        taint: reader.taint.clone(),
        warnings: reader.warnings.clone(),
        public: reader.public.clone(),
        given: reader.given.clone(),
        ..config
    };
    reader.faults.is_empty().then_some(config)
}

/// The names of all pools, the broken ones too: a listener that names a broken
/// pool is not wrong itself.
fn pool_names<'n>(fields: &Fields<'n>, reader: &mut Reader<'_>) -> Vec<&'n str> {
    let pools = fields.get("pools");
    let pools = pools.and_then(|it| reader.again(|reader| reader.map(it, "pools")));
    // Settings that stand in the place of names have been told.
    let pools = pools.filter(|_| !reader.is_told_of("pools"));
    let names = pools.map(|pools| pools.entries().map(|(key, _)| key.name.as_str()).collect());
    names.unwrap_or_default()
}

fn limits(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Limits {
    let mut limits = Limits::default();
    let known = PROCESS;
    let Some(node) = fields.get("process") else {
        return limits;
    };
    let Some(process) = reader.fields(node, "process", &known) else {
        return limits;
    };
    let workers = |text: &str| {
        let count = number32(1, 1024)(text)?;
        Ok(u16::try_from(count).unwrap_or(1024))
    };
    reader.set(&process, "workers", &mut limits.workers, or_auto(workers));
    let most = or_auto(number32(1, 100_000_000));
    reader.set(
        &process,
        "max_connections",
        &mut limits.max_connections,
        most,
    );
    reader.set(&process, "busy_poll", &mut limits.busy_poll, busy_poll);
    reader.set(
        &process,
        "shutdown_grace",
        &mut limits.shutdown_grace,
        duration,
    );
    limits
}

/// Up to a millisecond: more is a core burnt for nothing.
fn busy_poll(text: &str) -> Parsed<Duration> {
    let hint = "off, or from 1us to 1000us";
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let Some(micros) = text.strip_suffix("us") else {
        return wrong(format!("{text:?} is not in microseconds"), hint);
    };
    match number(1, 1000)(micros) {
        Ok(micros) => Ok(Duration::from_micros(micros)),
        Err(_) => wrong(format!("{text:?} is out of range"), hint),
    }
}

/// Where state is kept: systemd says it (`StateDirectory=`) if the file does
/// not.
fn state_dir(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let around = reader.around();
    let given = around.env("STATE_DIRECTORY");
    let given = given.as_deref().and_then(|it| it.split(':').next());
    let mut dir = given.filter(|it| !it.is_empty()).map(PathBuf::from);
    let folder = around.folder().to_owned();
    let process = fields.get("process");
    let process =
        process.and_then(|it| reader.again(|reader| reader.fields(it, "process", &PROCESS)));
    if let Some(process) = process {
        reader.set(&process, "state_dir", &mut dir, |text| match text {
            "off" => Ok(None),
            "" => wrong("is empty", "like /var/lib/tandem, or off"),
            path => Ok(Some(folder.join(path))),
        });
    }
    dir
}

fn or_auto<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| match text {
        "auto" => Ok(None),
        _ => parse(text).map(Some),
    }
}

fn log(fields: &Fields<'_>, reader: &mut Reader<'_>) -> LogSettings {
    let mut settings = LogSettings::default();
    let Some(node) = fields.get("log") else {
        return settings;
    };
    let Some(log) = reader.fields(node, "log", &["format", "connections"]) else {
        return settings;
    };
    let formats = word(&[
        ("auto", LogFormat::Auto),
        ("json", LogFormat::Json),
        ("text", LogFormat::Text),
    ]);
    reader.set(&log, "format", &mut settings.format, formats);
    let connections = &mut settings.connections;
    reader.set(&log, "connections", connections, super::scalar::boolean);
    settings
}
