//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::child::said;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: f64,
    pub(crate) descriptors: u64,
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) profile: &'static str,
}

impl Machine {
    pub(crate) fn look(cpus: usize, descriptors: u64) -> Self {
        let unknown = || "unknown".to_owned();
        let line = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = line("/proc/meminfo", "MemTotal");
        let memory = memory.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        let date = said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]));
        // The program's own path says nothing about the run.
        let words: Vec<String> = std::env::args().skip(1).collect();
        Self {
            kernel: kernel.map_or_else(|_| unknown(), |it| it.trim().to_owned()),
            processor: line("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cpus,
            memory_gib: memory.unwrap_or(0.0) / f64::from(1 << 20),
            descriptors,
            date: date.map_or_else(|_| unknown(), |it| it.trim().to_owned()),
            command: format!("cargo bench --bench versus -- {}", words.join(" ")),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}
