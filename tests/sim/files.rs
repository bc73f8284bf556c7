//! Nodes whose files name different nodes.

use crate::mixes::{expect_moves, holder};
use crate::world::{Fault, SECOND, World};

/// Whether one of two nodes can speak to the other; that one answers.
fn meet(world: &World, a: usize, b: usize) -> bool {
    world.files[a].contains(&b) || world.files[b].contains(&a)
}

/// Whether all of these are tied to each other by files.
fn are_tied(world: &World, nodes: &[usize]) -> bool {
    let mut reached = vec![nodes[0]];
    for _ in nodes {
        let new = nodes.iter().filter(|it| !reached.contains(it));
        let new = new.filter(|a| reached.iter().any(|b| meet(world, **a, *b)));
        let new: Vec<usize> = new.copied().collect();
        reached.extend(new);
    }
    reached.len() == nodes.len()
}

/// One node is there before the others, or all start at once.
pub fn start(world: &mut World) -> Result<(), String> {
    choose(world);
    let n = world.nodes.len();
    let first = world.below(n as u64) as usize;
    let later = [0, 3 * SECOND][world.below(2) as usize];
    for node in 0..n {
        let at = if node == first { 0 } else { later };
        world.at(at, Fault::Boot(node));
    }
    world.run_until(later + 5 * SECOND)?;
    agree(world)?;
    expect_moves(world, if later > 0 { 0 } else { 2 })
}

/// Some files do not name all nodes.
fn choose(world: &mut World) {
    let all: Vec<usize> = (0..world.nodes.len()).collect();
    loop {
        for node in all.clone() {
            let mut file = vec![];
            for it in all.clone() {
                if it == node || world.below(2) == 0 {
                    file.push(it);
                }
            }
            if file.len() == 1 {
                // A pair has two nodes; this one does not run.
                file.push(all.len());
            }
            world.files[node] = file;
        }
        if are_tied(world, &all) && world.files.iter().any(|it| *it != all) {
            return;
        }
    }
}

fn agree(world: &World) -> Result<(), String> {
    match world.disagreement() {
        Some(why) => Err(format!("{:?}: {why}", world.files)),
        None => Ok(()),
    }
}

/// The holder dies; then each node gets the whole list, one after the other.
pub fn strangers(world: &mut World) -> Result<(), String> {
    let all: Vec<usize> = (0..world.nodes.len()).collect();
    let moves = world.checks.moves;
    // What was recorded of a node is no life of it, known or not.
    let is_recorded = world.below(2) == 0;
    world.at(world.now, Fault::Replay(is_recorded));
    world.run_until(world.now + 6 * SECOND)?;
    expect_moves(world, moves)?;
    if world.below(2) == 0 {
        let (from, who) = (world.now, holder(world));
        world.at(from, Fault::Kill(who));
        // Where nobody probes it, its silence must last.
        let limit = if world.kind.has_register() { 9 } else { 2 };
        world.run_until(from + limit * SECOND)?;
        if world.checks.moves == moves {
            return Err(format!("{:?}: nobody took the name of {who}", world.files));
        }
        world.at(world.now, Fault::Boot(who));
        world.run_until(world.now + 4 * SECOND)?;
        let left: Vec<usize> = all.iter().copied().filter(|it| *it != who).collect();
        // Two that cannot speak to each other are a partition, which ends when
        // the third is back.
        let more = if are_tied(world, &left) { 1 } else { 3 };
        expect_moves(world, moves + more)?;
        agree(world)?;
    }
    for node in all.clone() {
        let moves = world.checks.moves;
        world.files[node] = all.clone();
        let is_holder = holder(world) == node;
        world.at(world.now, Fault::Shutdown(node));
        world.at(world.now + 2 * SECOND, Fault::Boot(node));
        world.run_until(world.now + 8 * SECOND)?;
        // Two that do not know each other's rank may claim at the same time.
        let most = if world.kind.has_register() { 1 } else { 3 };
        expect_moves(world, moves + if is_holder { most } else { 0 })?;
        agree(world)?;
    }
    Ok(())
}
