//! `tandem demo`: two real balancers in front of three real servers, with a
//! client that never stops asking while servers and balancers die.

mod backend;
mod client;
mod stage;

use std::io;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use super::{DemoArgs, Exit, complain, out};
use crate::clock::{self, Moment};
use crate::types::count;
use client::{Asker, Tally};
use stage::{BACKENDS, NODES, Stage};

pub(super) use backend::backend;

/// The backend that dies.
const VICTIM: usize = 1;
/// How often the live line is drawn.
const FRAME: Duration = Duration::from_millis(250);
/// Closer looks while the name moves.
const GLANCE: Duration = Duration::from_millis(2);
/// How long the name may take to move.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn demo(args: &DemoArgs) -> Exit {
    match show(args) {
        Ok(tally) if tally.failed == 0 && tally.ok > 0 => Exit::Ok,
        Ok(_) => Exit::Refused,
        Err(error) => {
            complain(&format!("demo: {error}"));
            Exit::Refused
        }
    }
}

struct Show {
    stage: Stage,
    asker: Asker,
    start: Moment,
}

fn show(args: &DemoArgs) -> io::Result<Tally> {
    let length = Duration::from_secs(args.seconds.clamp(6, 3600));
    let stage = Stage::set()?;
    introduce(&stage);
    let asker = Asker::start(&stage.target, BACKENDS.len());
    let start = clock::now();
    let mut show = Show {
        stage,
        asker,
        start,
    };
    let at = |part: u32| start + length * part / 6;
    show.play(at(1))?;
    show.stage.kill_backend(VICTIM);
    show.say("kill -9 b: a web server is gone");
    show.play(at(2))?;
    show.stage.revive_backend(VICTIM)?;
    show.say("b is back, and gets traffic again when its probes have passed");
    show.play(at(3))?;
    let victim = show.kill_holder()?;
    show.play(at(4))?;
    show.stage.revive_node(victim)?;
    let name = NODES[victim].0;
    show.say(&format!(
        "{name} is back, and stands by: the name stays where it is well"
    ));
    show.play(at(5))?;
    show.hand_over()?;
    show.play(at(6))?;
    let tally = show.asker.stop();
    conclude(&tally);
    if args.keep {
        invite(&show.stage);
        show.stage.keep();
    }
    Ok(tally)
}

fn introduce(stage: &Stage) {
    let [(one, first), (two, second)] = NODES;
    let port = stage.target.port;
    out(&format!("three web servers:  {}\n", stage.addresses()));
    out(&format!(
        "two balancers:      {one} http://{first}:{port}  {two} http://{second}:{port}\n"
    ));
    let servers = stage.target.servers.iter();
    let servers: Vec<String> = servers.map(ToString::to_string).collect();
    let name = &stage.target.name;
    out(&format!(
        "name servers:       {} (TTL 1 s)\n",
        servers.join(" ")
    ));
    out(&format!(
        "look at them:       tandem status --socket {}\n",
        stage.socket(0).display()
    ));
    let holder = stage.holder().map_or("nobody", |node| NODES[node].0);
    out(&format!(
        "\n{holder} holds {name}. Four clients resolve it and ask, all the time.\n\n"
    ));
}

fn conclude(tally: &Tally) {
    let counts = BACKENDS.iter().zip(&tally.by_backend);
    let counts: Vec<String> = counts.map(|(name, n)| format!("{name} {n}")).collect();
    let all = tally.ok + tally.failed;
    out(&format!(
        "\n{}, {} failed ({})\n",
        count(all, "request"),
        tally.failed,
        counts.join(", ")
    ));
    if tally.repeated > 0 {
        out(&format!(
            "{} on the way to what was killed went through when asked again\n",
            count(tally.repeated, "request")
        ));
    }
}

fn invite(stage: &Stage) {
    let config = stage.config();
    out(&format!(
        "\nEverything runs on, as {} says. Try:\n",
        config.display()
    ));
    for (node, (name, _)) in NODES.iter().enumerate() {
        let socket = stage.socket(node);
        out(&format!(
            "  tandem pair status --socket {}\n",
            socket.display()
        ));
        if let Some(pid) = stage.pid(node) {
            out(&format!("  kill -9 {pid}    # that is {name}\n"));
        }
    }
}

impl Show {
    /// Draws the live line until `until`.
    fn play(&mut self, until: Moment) -> io::Result<()> {
        let is_terminal = stdout().is_terminal();
        let mut drawn = 0u32;
        while clock::now() < until {
            self.asker.wait(FRAME);
            self.stage.check()?;
            drawn += 1;
            // In a file a line a second is enough.
            if is_terminal || drawn.is_multiple_of(4) {
                self.draw(is_terminal);
            }
        }
        Ok(())
    }

    fn draw(&self, is_terminal: bool) {
        let tally = self.asker.tally();
        let elapsed = clock::now().since(self.start).as_secs_f64();
        let counts = BACKENDS.iter().zip(&tally.by_backend);
        let counts: Vec<String> = counts.map(|(name, n)| format!("{name} {n:>5}")).collect();
        let (from, to) = if is_terminal {
            ("\r", "\x1b[K")
        } else {
            ("", "\n")
        };
        out(&format!(
            "{from}{elapsed:5.1} s  {:>6} ok  {} failed   {}{to}",
            tally.ok,
            tally.failed,
            counts.join("  ")
        ));
    }

    fn say(&self, what: &str) {
        let end = if stdout().is_terminal() { "\n" } else { "" };
        out(&format!("{end}  >> {what}\n"));
    }

    /// Kills the node that holds the name, and tells how long it was gone.
    fn kill_holder(&mut self) -> io::Result<usize> {
        let holder = self.holder()?;
        let before = self.asker.tally();
        self.asker.forget_longest();
        let start = clock::now();
        self.stage.kill_node(holder);
        let took = self.wait_for_move(holder, start)?;
        self.asker.wait(FRAME * 4);
        let tally = self.asker.tally();
        let (old, new) = (NODES[holder].0, NODES[1 - holder].0);
        self.say(&format!(
            "kill -9 {old}, which held the name: {new} took it after {took:.0} ms; {} asked \
             again, the longest waited {:.0} ms, {} failed",
            count(tally.repeated - before.repeated, "request"),
            tally.longest.as_secs_f64() * 1000.0,
            tally.failed - before.failed
        ));
        Ok(holder)
    }

    fn hand_over(&self) -> io::Result<()> {
        let holder = self.holder()?;
        let before = self.asker.tally();
        self.asker.forget_longest();
        let start = clock::now();
        self.stage.hand_over(holder)?;
        let took = self.wait_for_move(holder, start)?;
        self.asker.wait(FRAME * 4);
        let tally = self.asker.tally();
        let (old, new) = (NODES[holder].0, NODES[1 - holder].0);
        self.say(&format!(
            "tandem pair handover: {old} gave the name to {new} in {took:.0} ms; {} asked again, \
             {} failed",
            count(tally.repeated - before.repeated, "request"),
            tally.failed - before.failed
        ));
        Ok(())
    }

    fn holder(&self) -> io::Result<usize> {
        let holder = self.stage.holder();
        holder.ok_or_else(|| io::Error::other("nobody holds the name"))
    }

    /// Waits until somebody else than `from` holds the name; says how many
    /// milliseconds after `start` that was.
    fn wait_for_move(&self, from: usize, start: Moment) -> io::Result<f64> {
        while clock::now().since(start) < PATIENCE {
            let other = self.stage.pair(1 - from);
            let holds = other.is_some_and(|it| it.role == "holder");
            if holds {
                return Ok(clock::now().since(start).as_secs_f64() * 1000.0);
            }
            std::thread::park_timeout(GLANCE);
        }
        Err(io::Error::other("the name did not move"))
    }
}
