//! Three nodes that answer for the name themselves, each on a host and with a
//! file of its own.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::net::Net;
use super::pair::{Asker, EMBEDDED, NAME, PAIR_SECRET};
use super::wait_until;

/// The nodes; index 0 is `lb1`, on the host `1`.
pub struct Crowd<'a> {
    net: &'a Net,
    dir: TempDir,
    nodes: [Option<Child>; 3],
}

fn name(node: usize) -> String {
    format!("lb{}", node + 1)
}

impl<'a> Crowd<'a> {
    pub fn new(net: &'a Net) -> Self {
        let dir = TempDir::new().unwrap();
        let nodes = [None, None, None];
        Self { net, dir, nodes }
    }

    /// Writes the file of one node, in which these are the pair; `more` are
    /// lines of `pair:`.
    pub fn write(&self, node: usize, members: &[usize], more: &str) {
        let ip = |it: &usize| format!("{}: {}", name(*it), self.net.address(&(it + 1).to_string()));
        let nodes: Vec<String> = members.iter().map(ip).collect();
        let dir = self.dir.path().display();
        let (nodes, me, backend) = (nodes.join(", "), name(node), self.net.backend());
        let publish = EMBEDDED.replace("@DNS", "53");
        let text = format!(
            "pair:\n  name: {NAME}\n  nodes: {{ {nodes} }}\n  secret: {PAIR_SECRET}\n  \
             dns: {publish}\n{more}\
             listeners:\n  web: {{ bind: \"self:8081\", pool: web }}\n\
             pools:\n  web:\n    backends: {{ a: \"{backend}\" }}\n    \
             probe: {{ type: tcp, interval: 200ms }}\n    protocol: http\n\
             process: {{ workers: 1, shutdown_grace: 2s, state_dir: \"{dir}/{me}\" }}\n\
             admin: {{ bind: off, socket: \"{dir}/{me}.sock\" }}\n\
             log: {{ format: json, connections: false }}\n"
        );
        fs::write(self.dir.path().join(format!("{me}.yaml")), text).unwrap();
    }

    pub fn start(&mut self, node: usize) {
        let me = name(node);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{me}.log")))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_tandem").to_owned();
        let words = [self.net.prefix(&(node + 1).to_string()), vec![program]].concat();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--node", &me, "--config"])
            .arg(self.dir.path().join(format!("{me}.yaml")))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.nodes[node] = Some(child.unwrap());
    }

    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            let _gone = child.kill();
            child.wait().unwrap();
        }
    }

    /// Ends a node in order.
    pub fn end(&mut self, node: usize) {
        let mut child = self.nodes[node].take().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_until("it ends", || child.try_wait().unwrap().is_some());
    }

    /// Moves the name by order, and waits until all that run know.
    pub fn hand_over(&self, from: usize, to: usize) {
        let path = format!("/v1/pair/handover?to={}", name(to));
        // It must have been reached since it started.
        wait_until("it is taken", || {
            self.asker(from).ask("POST", &path).contains("ordered")
        });
        wait_until("it has moved", || self.holders() == [to]);
    }

    fn asker(&self, node: usize) -> Asker {
        Asker(self.dir.path().join(format!("{}.sock", name(node))))
    }

    pub fn pair(&self, node: usize) -> Value {
        self.asker(node).pair()
    }

    pub fn metric(&self, node: usize, series: &str) -> f64 {
        self.asker(node).metric(series)
    }

    pub fn log(&self, node: usize) -> String {
        let file = self.dir.path().join(format!("{}.log", name(node)));
        fs::read_to_string(file).unwrap_or_default()
    }

    pub fn term(&self, node: usize) -> u64 {
        self.pair(node)["term"].as_u64().unwrap_or(0)
    }

    /// Who says that it holds the name.
    pub fn holders(&self) -> Vec<usize> {
        let holds = |node: &usize| self.pair(*node)["role"] == "holder";
        (0..3).filter(holds).collect()
    }

    /// Waits until these agree on one of them, hear each other, and have
    /// backends, and says on whom.
    pub fn settle(&self, nodes: &[usize]) -> usize {
        wait_until("all agree", || {
            let views: Vec<Value> = nodes.iter().map(|it| self.pair(*it)).collect();
            let is_well = |it: &Value| it["ready"] == true && it["has_backends"] == true;
            let others = |it: &Value| {
                let twins = it["twins"].as_array();
                twins.map_or(0, |twins| twins.iter().filter(|it| is_well(it)).count())
            };
            let same = |it: &Value| it["holder"] == views[0]["holder"] && !it["holder"].is_null();
            views
                .iter()
                .all(|it| same(it) && others(it) + 1 == nodes.len())
                && self.holders().len() == 1
        });
        self.holders()[0]
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        for node in 0..3 {
            if std::thread::panicking() {
                eprintln!("{} said:\n{}", name(node), self.log(node));
            }
            self.kill(node);
        }
    }
}
