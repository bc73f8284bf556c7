//! What must hold in every world.

use std::collections::{HashMap, HashSet};

use tandem::pair::{Role, Transition};
use tandem::types::{Claim, Name, Registered, Term};

use crate::world::Kind;

type Triple = (Term, Name, u64);

fn triple(claim: &Claim) -> Triple {
    (claim.term, claim.holder.clone(), claim.nonce)
}

pub struct Checks {
    kind: Kind,
    failure: Option<String>,
    /// Claims that somebody made, or that the register held.
    made: HashSet<Triple>,
    /// Who was a holder in which term.
    held: HashMap<Term, Name>,
    newest: HashMap<(Name, u32), Term>,
    /// Who holds the name, seen from outside.
    authority: Option<(Term, Name)>,
    /// How often that changed.
    pub moves: u32,
    pub moves_since_heal: u32,
    pub transitions: Vec<(u64, Name, Transition)>,
}

impl Checks {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            failure: None,
            made: HashSet::new(),
            held: HashMap::new(),
            newest: HashMap::new(),
            authority: None,
            moves: 0,
            moves_since_heal: 0,
            transitions: Vec::new(),
        }
    }

    pub fn verdict(&self) -> Result<(), String> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub fn healed(&mut self) {
        self.moves_since_heal = 0;
    }

    pub fn told(&mut self, at: u64, node: &Name, transition: Transition) {
        self.transitions.push((at, node.clone(), transition));
    }

    /// The register was written: terms grow, and each names one holder.
    pub fn registered(&mut self, old: Option<&Registered>, new: &Registered) {
        if let Some(old) = old
            && old.claim != new.claim
            && old.claim.term >= new.claim.term
        {
            self.fail(format!("the register went from {old:?} to {new:?}"));
        }
        self.made.insert(triple(&new.claim));
    }

    /// A node believes in a claim: one that was made, by whoever may make it.
    pub fn believes(&mut self, node: &Name, life: u32, before: Option<&Claim>, after: &Claim) {
        let newest = self.newest.entry((node.clone(), life)).or_default();
        if after.term < *newest {
            let why = format!("{node} went back from term {newest} to {after:?}");
            self.fail(why);
            return;
        }
        *newest = after.term;
        let is_known = self.made.contains(&triple(after));
        let may_make = !self.kind.has_register()
            && (after.holder == *node || before.is_some_and(|it| it.holder == *node));
        if !is_known && !may_make {
            self.fail(format!("{node} believes in {after:?}, which nobody made"));
        }
        self.made.insert(triple(after));
    }

    /// A node has made a step.
    pub fn stepped(&mut self, node: &Name, role: Role, claim: Option<&Claim>) {
        let Some(claim) = claim else { return };
        if role == Role::Holder && self.kind.has_register() {
            let holder = self.held.entry(claim.term).or_insert_with(|| node.clone());
            if holder != node {
                let why = format!("{holder} and {node} held the name in term {}", claim.term);
                self.fail(why);
            }
        }
    }

    pub fn exclusive(&mut self, nodes: usize) {
        if nodes > 1 {
            self.fail(format!("{nodes} nodes are exclusive at once"));
        }
    }

    /// Who holds the name, seen from outside: the register, or the best claim.
    pub fn authority<'a>(
        &mut self,
        register: Option<&Registered>,
        claims: impl Iterator<Item = &'a Claim>,
    ) {
        let best = if !self.kind.has_register() {
            claims.max_by(|a, b| a.term.cmp(&b.term).then(b.holder.cmp(&a.holder)))
        } else {
            register.map(|it| &it.claim)
        };
        let Some(best) = best else { return };
        match &self.authority {
            Some((term, holder)) if best.term < *term && !self.kind.has_register() => {
                // Who knew the newest claim is dead; it may come to light again.
                let _ = holder;
            }
            Some((_, holder)) if *holder == best.holder => {
                self.authority = Some((best.term, best.holder.clone()));
            }
            Some(_) => {
                self.moves += 1;
                self.moves_since_heal += 1;
                self.authority = Some((best.term, best.holder.clone()));
            }
            None => self.authority = Some((best.term, best.holder.clone())),
        }
    }

    /// Who holds the name, seen from outside.
    pub fn holder(&self) -> Option<&Name> {
        self.authority.as_ref().map(|it| &it.1)
    }
}
