//! Mixes of faults, each with what it may cost.

use std::time::Duration;

use tandem::pair::{Failback, Rules};

use crate::files;
use crate::world::{Fault, Kind, Link, MS, SECOND, Whims, World};

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// The nodes start while they cannot reach each other.
    Apart,
    /// Loss to 20 %, copies, pauses to 450 ms: nothing may move.
    Benign,
    /// Everything, at any time.
    Chaos,
    /// Heartbeats are lost, connections are not: nothing may move.
    Deaf,
    /// The data plane of one node dies again and again.
    Flap,
    /// The holder is killed, or its host dies, and comes back.
    Kill,
    /// The holder's data plane hangs, and the register loses its answers.
    HangAndLostReplies,
    /// The holder's answers come late, then none come, and its twins do not
    /// hear it.
    Lonely,
    /// The nodes cannot reach each other, in one direction or both.
    Partition,
    /// One node and the holder cannot reach each other, in one direction or
    /// both; what others there are reach both. Then the holder dies.
    OneLink,
    /// Orders and orderly ends.
    Plan,
    /// The preferred node dies again and again, and gets the name back.
    Restless,
    /// An attacker plays recordings while the holder dies.
    Replay,
    /// One node loses its backends, or its listeners.
    Sick,
    /// The nodes' files name different nodes; then each gets the whole list.
    Strangers,
}

pub const MIXES: [Mix; 12] = [
    Mix::Apart,
    Mix::Chaos,
    Mix::Lonely,
    Mix::Partition,
    Mix::HangAndLostReplies,
    Mix::Benign,
    Mix::Kill,
    Mix::Chaos,
    Mix::Sick,
    Mix::Plan,
    Mix::Replay,
    Mix::Deaf,
];

/// Mixes that take longer, and are run less often.
const RARE: Mix = Mix::Flap;

/// Mixes of later days, in turn; the seeds of the others keep their meaning.
const LATER: [Mix; 3] = [Mix::OneLink, Mix::Restless, Mix::Strangers];

/// What a run has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub moves: u32,
    pub moves_since_heal: u32,
    /// How long after the heal all agreed.
    pub agreed_after: u64,
    /// How long the holder's death went unanswered.
    pub takeover: Option<(Death, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Host,
    Process,
}

pub fn mix_of(seed: u64) -> Mix {
    if seed % 40 == 39 {
        return RARE;
    }
    if seed % 10 == 6 {
        return LATER[usize::try_from(seed / 10 % LATER.len() as u64).unwrap()];
    }
    MIXES[usize::try_from(seed % MIXES.len() as u64).unwrap()]
}

/// Runs one seed; an error says what went wrong.
pub fn run(kind: Kind, seed: u64, rules: Rules, log: bool) -> Result<Figures, String> {
    let mix = mix_of(seed);
    let mut world = World::new(kind, seed, rules, log);
    let mut figures = Figures::default();
    start(&mut world, mix)?;
    let end = faults(&mut world, mix, &mut figures)?;
    world.at(end, Fault::Heal);
    world.run_until(end)?;
    settle(&mut world, mix, end, &mut figures)?;
    Ok(figures)
}

/// Boots the nodes, all at once or one after the other, and lets them agree.
fn start(world: &mut World, mix: Mix) -> Result<(), String> {
    let apart = [0, 0, 300 * MS, 3 * SECOND][world.below(4) as usize];
    if mix == Mix::Strangers {
        return files::start(world);
    }
    for node in 0..world.nodes.len() {
        world.at(node as u64 * apart, Fault::Boot(node));
    }
    if mix == Mix::Apart {
        let cut = Link {
            is_cut: true,
            ..Link::default()
        };
        for from in 0..world.nodes.len() {
            for to in 0..world.nodes.len() {
                world.at(0, Fault::Link(from, to, cut));
            }
        }
        return world.run_until(8 * SECOND);
    }
    if mix == Mix::Chaos && world.below(2) == 0 {
        // Things go wrong from the first moment on.
        return world.run_until(10 * MS);
    }
    let booted = apart * (world.nodes.len() as u64 - 1);
    world.run_until(booted + 5 * SECOND)?;
    match world.disagreement() {
        Some(why) => Err(format!("5 s after the start: {why}")),
        None => Ok(()),
    }
}

pub fn holder(world: &World) -> usize {
    let name = world.checks.holder();
    let at = world.nodes.iter().position(|it| Some(&it.name) == name);
    at.unwrap_or(0)
}

fn other(world: &mut World, node: usize) -> usize {
    let n = world.nodes.len();
    (node + 1 + world.below(n as u64 - 1) as usize) % n
}

fn mostly(world: &mut World) -> Whims {
    Whims {
        lost: [0, 5, 30][world.below(3) as usize],
        unanswered: [0, 5, 50][world.below(3) as usize],
        copies: [0, 10, 60][world.below(3) as usize],
        stale: [0, 0, 30][world.below(3) as usize],
        slow: [0, 100 * MS, 3 * SECOND][world.below(3) as usize],
        slow_back: [0, 50 * MS, 400 * MS][world.below(3) as usize],
        is_down: false,
        only: None,
    }
}

fn any_link(world: &mut World, loss: u64) -> Link {
    Link {
        is_cut: false,
        is_deaf: false,
        loss: world.below(loss) as u8,
        copies: world.below(30) as u8,
        delay: [0, 2 * MS, 20 * MS, 120 * MS][world.below(4) as usize],
    }
}

fn links(world: &mut World, loss: u64, delay: u64) {
    let now = world.now;
    let n = world.nodes.len();
    for from in 0..n {
        for to in 0..n {
            let link = any_link(world, loss);
            let link = Link {
                delay: link.delay.min(delay),
                ..link
            };
            world.at(now, Fault::Link(from, to, link));
        }
    }
}

/// Injects what the mix wants; the answer is when to heal.
fn faults(world: &mut World, mix: Mix, figures: &mut Figures) -> Result<u64, String> {
    let from = world.now;
    match mix {
        Mix::Apart => {}
        Mix::Benign => benign(world)?,
        Mix::Chaos => {
            for _ in 0..4 + world.below(12) {
                let at = from + world.below(12 * SECOND);
                chaos(world, at);
            }
            return Ok(from + 12 * SECOND);
        }
        Mix::Deaf => {
            let both = world.below(2) == 0;
            let (a, b) = (holder(world), 1 - holder(world).min(1));
            let link = Link {
                is_deaf: true,
                ..Link::default()
            };
            world.at(from, Fault::Link(a, b, link));
            if both {
                world.at(from, Fault::Link(b, a, link));
            }
            world.run_until(from + 8 * SECOND)?;
            expect_moves(world, 0)?;
        }
        Mix::Flap => flap(world)?,
        Mix::Kill => kill(world, false, figures)?,
        Mix::HangAndLostReplies => hang(world)?,
        Mix::Lonely => lonely(world)?,
        Mix::OneLink => one_link(world, figures)?,
        Mix::Partition => partition(world)?,
        Mix::Plan => plan(world)?,
        Mix::Replay => {
            world.at(from, Fault::Replay(true));
            world.run_until(from + 4 * SECOND)?;
            expect_moves(world, 0)?;
            // A second life, so that there are recordings of an ended one.
            let who = holder(world);
            world.at(world.now, Fault::Kill(who));
            world.at(world.now + 100 * MS, Fault::Boot(who));
            world.run_until(from + 7 * SECOND)?;
            kill(world, false, figures)?;
        }
        Mix::Restless => restless(world)?,
        Mix::Sick => sick(world)?,
        Mix::Strangers => files::strangers(world)?,
    }
    Ok(world.now)
}

pub fn expect_moves(world: &World, most: u32) -> Result<(), String> {
    let moves = world.checks.moves;
    if moves > most {
        return Err(format!("{moves} moves, {most} allowed"));
    }
    Ok(())
}

fn benign(world: &mut World) -> Result<(), String> {
    // Either the network is bad or the processes stand still for long: half a
    // second of both is a death without a register.
    let loses = world.below(2) == 0;
    links(
        world,
        if loses { 21 } else { 1 },
        if loses { 20 * MS } else { 2 * MS },
    );
    for _ in 0..8 {
        let node = world.below(world.nodes.len() as u64) as usize;
        let long = 50 * MS + world.below(if loses { 200 } else { 350 } * MS);
        let at = world.now;
        world.at(at, Fault::Pause(node, long));
        world.run_until(at + SECOND)?;
    }
    expect_moves(world, 0)
}

fn partition(world: &mut World) -> Result<(), String> {
    let from = world.now;
    let one_way = world.below(3);
    let long = [2, 6, 30][world.below(3) as usize] * SECOND;
    let cut = Link {
        is_cut: true,
        ..Link::default()
    };
    let at = holder(world);
    for node in (0..world.nodes.len()).filter(|it| *it != at) {
        if one_way != 1 {
            world.at(from, Fault::Link(at, node, cut));
        }
        if one_way != 2 {
            world.at(from, Fault::Link(node, at, cut));
        }
    }
    world.run_until(from + long)?;
    // The register tells them that the holder lives; without one, the claim
    // of the other is the one move that a cut may cost.
    expect_moves(world, u32::from(!world.kind.has_register()))
}

/// With two nodes this is a partition; a third one knows better.
fn one_link(world: &mut World, figures: &mut Figures) -> Result<(), String> {
    if world.nodes.len() == 2 {
        return partition(world);
    }
    let from = world.now;
    let (a, b) = (holder(world), other(world, holder(world)));
    let bad = Link {
        is_cut: world.below(2) == 0,
        is_deaf: true,
        ..Link::default()
    };
    let direction = world.below(3);
    for (nth, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
        if direction != nth as u64 {
            world.at(world.now, Fault::Link(from, to, bad));
        }
    }
    let asked = other(world, a);
    let third = 3 - a - b;
    if world.below(2) == 0 {
        // Nor does the third hear the second, which hears it.
        world.at(from, Fault::Link(b, third, bad));
    }
    world.run_until(from + 20 * SECOND)?;
    expect_moves(world, 0)?;
    // A claim that nobody hears would be made twice.
    world.at(world.now, Fault::Link(b, third, Link::default()));
    if world.below(2) == 0 {
        world.at(world.now, Fault::HandOver(a, asked));
        world.run_until(world.now + 3 * SECOND)?;
        expect_moves(world, 1)?;
    }
    kill(world, true, figures)
}

fn kill(world: &mut World, is_lonely: bool, figures: &mut Figures) -> Result<(), String> {
    let who = holder(world);
    figures.takeover = Some(kill_once(world, who, is_lonely)?);
    let moves = world.checks.moves;
    world.run_until(world.now + 2 * SECOND)?;
    world.at(world.now, Fault::Boot(who));
    world.run_until(world.now + 3 * SECOND)?;
    expect_moves(world, moves)
}

/// Ends the holder, and says how long that went unanswered.
fn kill_once(world: &mut World, who: usize, is_lonely: bool) -> Result<(Death, u64), String> {
    let from = world.now;
    let (death, fault) = if world.below(2) == 0 {
        (Death::Process, Fault::Kill(who))
    } else {
        (Death::Host, Fault::HostDown(who))
    };
    let moves = world.checks.moves;
    world.at(from, fault);
    while world.checks.moves == moves {
        if world.now > from + 4 * SECOND {
            return Err(format!(
                "nobody took the name within 4 s of {death:?}'s death"
            ));
        }
        world.run_until(world.now + 5 * MS)?;
    }
    let took = world.now - from;
    let bound = match (world.kind, death) {
        (Kind::Lease, _) => 2_900 * MS,
        (_, Death::Process) => 400 * MS,
        // A holder that one node does not hear beats in the register.
        (Kind::Cas3, Death::Host) if is_lonely => 2_200 * MS,
        (_, Death::Host) => 1_200 * MS,
    };
    if took > bound {
        return Err(format!(
            "{death:?}'s death was answered after {} ms",
            took / MS
        ));
    }
    Ok((death, took))
}

/// Cut from its twins, then from the register, whose last answer comes late:
/// the holder must stop in time.
fn lonely(world: &mut World) -> Result<(), String> {
    let from = world.now;
    let who = holder(world);
    let whims = Whims {
        slow_back: 490 * MS,
        only: Some(who),
        ..Whims::default()
    };
    let cut = Link {
        is_cut: true,
        ..Link::default()
    };
    // A holder that hears nobody is unsure before its lease ends.
    let hears = world.below(2) == 0;
    world.at(from, Fault::Register(whims));
    for node in (0..world.nodes.len()).filter(|it| *it != who) {
        world.at(from, Fault::Link(who, node, cut));
        if !hears {
            world.at(from, Fault::Link(node, who, cut));
        }
    }
    let at = from + SECOND + world.below(SECOND);
    world.at(at, Fault::CutFromRegister(who, true));
    world.run_until(at + 5 * SECOND)?;
    expect_moves(world, 1)
}

/// The holder's data plane hangs while its heartbeats go on; the hand-over's
/// answer may be lost or late.
fn hang(world: &mut World) -> Result<(), String> {
    let from = world.now;
    let who = holder(world);
    let whims = Whims {
        unanswered: [0, 30, 100][world.below(3) as usize],
        slow_back: [0, 490 * MS][world.below(2) as usize],
        slow: [0, 300 * MS, 2 * SECOND][world.below(3) as usize],
        copies: 20,
        only: [None, Some(who)][world.below(2) as usize],
        ..Whims::default()
    };
    let at = from + world.below(2 * SECOND);
    if world.below(2) == 0 {
        // What the twin says arrives later than what the register says.
        let delay = 200 * MS;
        let late = Link {
            delay,
            ..Link::default()
        };
        let twin = other(world, who);
        world.at(from, Fault::Link(twin, who, late));
    }
    world.at(at, Fault::Register(whims));
    world.at(from, Fault::Hang(who, true));
    world.run_until(from + 7 * SECOND)?;
    let calm = whims.unanswered == 0 && whims.slow == 0;
    if (calm || !world.kind.has_register()) && world.checks.moves != 1 {
        let moves = world.checks.moves;
        return Err(format!("{moves} moves after the holder's data plane hung"));
    }
    Ok(())
}

/// A data plane that dies whenever it has the name: damping ends the dance.
fn flap(world: &mut World) -> Result<(), String> {
    let from = world.now;
    while world.now < from + 60 * SECOND {
        let who = holder(world);
        for node in 0..world.nodes.len() {
            world.at(world.now, Fault::Backends(node, node != who));
        }
        world.run_until(world.now + 200 * MS)?;
    }
    // Without damping there were one each 1.2 s; with it both nodes wait 3, 6,
    // 12 and 24 s.
    expect_moves(world, 16)
}

/// However often it has died: each of its deaths is answered at once. Only the
/// way back takes longer each time.
fn restless(world: &mut World) -> Result<(), String> {
    let who = holder(world);
    let after = Duration::from_millis(500 + world.below(1500));
    let node = world.nodes[who].name.clone();
    world.prefer(Failback::Prefer { node, after });
    let mut deaths = 0;
    let end = world.now + 90 * SECOND;
    while world.now < end {
        if holder(world) == who {
            kill_once(world, who, false)?;
            deaths += 1;
        } else {
            world.at(world.now, Fault::Kill(who));
            world.run_until(world.now + SECOND)?;
        }
        world.at(world.now, Fault::Boot(who));
        world.run_until(world.now + 5 * SECOND)?;
    }
    world.prefer(Failback::Never);
    // Without damping it would have had the name each time.
    if !(2..=7).contains(&deaths) {
        return Err(format!("it came back {deaths} times in 90 s"));
    }
    Ok(())
}

fn plan(world: &mut World) -> Result<(), String> {
    let who = holder(world);
    let to = other(world, who);
    let at = world.now;
    if world.below(2) == 0 {
        world.at(at, Fault::HandOver(who, to));
    } else {
        world.at(at, Fault::Shutdown(who));
        world.at(at + 600 * MS, Fault::Kill(who));
    }
    world.run_until(at + 150 * MS)?;
    if world.checks.moves != 1 {
        return Err("a planned hand-over took more than 150 ms".to_owned());
    }
    world.run_until(at + 3 * SECOND)?;
    world.at(world.now, Fault::Boot(who));
    world.run_until(at + 6 * SECOND)?;
    expect_moves(world, 1)
}

fn sick(world: &mut World) -> Result<(), String> {
    let from = world.now;
    let who = holder(world);
    let bystander = other(world, who);
    match world.below(4) {
        0 => {
            // All the holder's backends fail, and the others still have some.
            world.at(from, Fault::Backends(who, false));
            world.run_until(from + 3 * SECOND)?;
            if world.checks.moves != 1 {
                return Err("a holder without backends kept the name".to_owned());
            }
        }
        1 => {
            world.at(from, Fault::Serving(who, false));
            world.run_until(from + SECOND)?;
            if world.checks.moves != 1 {
                return Err("a holder that cannot serve kept the name".to_owned());
            }
        }
        2 => {
            // The backends themselves die: one after the other sees it.
            world.at(from, Fault::Backends(who, false));
            let lag = world.below(900 * MS);
            for node in (0..world.nodes.len()).filter(|it| *it != who) {
                world.at(from + lag, Fault::Backends(node, false));
            }
            world.run_until(from + 4 * SECOND)?;
            expect_moves(world, 0)?;
        }
        _ => {
            // A standby is cut from its backends and from its twins: it is the
            // sick one, whatever it thinks of them.
            if world.nodes.len() == 2 {
                let cut = Link {
                    is_cut: true,
                    ..Link::default()
                };
                world.at(from, Fault::Backends(bystander, false));
                world.at(from, Fault::Link(who, bystander, cut));
                world.at(from, Fault::Link(bystander, who, cut));
                world.run_until(from + 5 * SECOND)?;
                expect_moves(world, 0)?;
            }
        }
    }
    Ok(())
}

/// Anything, at about `at`.
fn chaos(world: &mut World, at: u64) {
    let n = world.nodes.len();
    let node = world.below(n as u64) as usize;
    let to = other(world, node);
    let later = at + 100 * MS + world.below(5 * SECOND);
    match world.below(14) {
        0 => world.at(at, Fault::Kill(node)),
        1 => {
            world.at(at, Fault::HostDown(node));
            world.at(later, Fault::Boot(node));
        }
        2 => world.at(at, Fault::Boot(node)),
        3 => {
            let long = world.below(6 * SECOND);
            world.at(at, Fault::Pause(node, long));
        }
        4 => {
            world.at(at, Fault::Hang(node, true));
            world.at(later, Fault::Hang(node, false));
        }
        5 => {
            world.at(at, Fault::Backends(node, false));
            world.at(later, Fault::Backends(node, true));
        }
        6 => {
            world.at(at, Fault::Serving(node, false));
            world.at(later, Fault::Serving(node, true));
        }
        7 => world.at(at, Fault::HandOver(node, to)),
        8 => world.at(at, Fault::Shutdown(node)),
        9 => {
            world.at(at, Fault::CutFromRegister(node, true));
            world.at(later, Fault::CutFromRegister(node, false));
        }
        10 => {
            let whims = Whims {
                is_down: true,
                ..Whims::default()
            };
            world.at(at, Fault::Register(whims));
            world.at(later, Fault::Register(Whims::default()));
        }
        11 => {
            let whims = mostly(world);
            world.at(at, Fault::Register(whims));
        }
        12 => {
            let link = any_link(world, 51);
            world.at(at, Fault::Link(node, to, link));
        }
        _ => {
            let both = world.below(2) == 0;
            let cut = Link {
                is_cut: true,
                ..Link::default()
            };
            world.at(at, Fault::Link(node, to, cut));
            if both {
                world.at(at, Fault::Link(to, node, cut));
                world.at(later, Fault::Link(to, node, Link::default()));
            }
            world.at(later, Fault::Link(node, to, Link::default()));
        }
    }
}

/// After the heal all agree, soon, and stay so; a settled pair writes nothing.
fn settle(world: &mut World, mix: Mix, healed: u64, figures: &mut Figures) -> Result<(), String> {
    let limit = healed + 12 * SECOND;
    let mut agreed_since = None;
    let mut writes = 0;
    loop {
        world.run_until(world.now + 50 * MS)?;
        match (world.disagreement(), agreed_since) {
            (Some(why), _) if world.now > limit => {
                return Err(format!("12 s after the heal: {why}"));
            }
            (Some(_), _) => agreed_since = None,
            (None, None) => {
                agreed_since = Some(world.now);
                writes = world.writes;
            }
            (None, Some(since)) if world.now >= since + 3 * SECOND => {
                figures.agreed_after = since - healed;
                break;
            }
            (None, Some(_)) => {}
        }
    }
    figures.moves = world.checks.moves;
    figures.moves_since_heal = world.checks.moves_since_heal;
    if world.checks.moves_since_heal > 1 {
        return Err(format!(
            "{} moves after the heal",
            world.checks.moves_since_heal
        ));
    }
    if mix == Mix::Partition && world.checks.moves_since_heal > 0 {
        return Err("a move after a cut was healed".to_owned());
    }
    let is_quiet = matches!(world.kind, Kind::Cas2 | Kind::Cas3);
    if is_quiet && world.writes > writes + 4 {
        return Err(format!("{} writes in 3 s of peace", world.writes - writes));
    }
    Ok(())
}
