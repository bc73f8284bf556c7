//! How far the process is on its way out, and what may still be done there.
//! Pure.

/// The stages of a life. They only ever follow each other in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// It serves.
    #[default]
    Running,
    /// It has been told to end, and serves on until resolvers know.
    Leaving,
    /// It accepts nobody any more, and waits for its sessions.
    Draining,
    /// Its sessions have ended. What it has left with others is taken away.
    Ended,
}

/// What may come up at any time, wanted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Follow backends whose host names have new addresses.
    FollowNames,
    /// Open a listening socket, or change one that is open.
    Open,
    /// Carry out an order of a person's about the pair.
    Order,
    /// Put lb.yaml in force again, or say what that would change.
    Reload,
    /// Follow what the probes say of a backend.
    Verdict,
}

impl Stage {
    /// Every stage, in order.
    const ALL: [Self; 4] = [Self::Running, Self::Leaving, Self::Draining, Self::Ended];

    /// Whether `deed` is still done in this stage.
    ///
    /// Who has been told to end changes nothing of what it was told before:
    /// nothing opens, and no order is taken. But as long as clients come,
    /// backends are followed to where they are, and as long as sessions last,
    /// backends that die are left.
    pub(super) const fn permits(self, deed: Deed) -> bool {
        match deed {
            Deed::Open | Deed::Order | Deed::Reload => matches!(self, Self::Running),
            Deed::FollowNames => matches!(self, Self::Running | Self::Leaving),
            Deed::Verdict => !matches!(self, Self::Ended),
        }
    }

    /// The stage with this number; beyond the last there is none.
    pub(super) fn of(number: u8) -> Self {
        let at = usize::from(number).min(Self::ALL.len() - 1);
        Self::ALL[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_in_which_stage() {
        let table = [
            (Deed::FollowNames, [true, true, false, false]),
            (Deed::Open, [true, false, false, false]),
            (Deed::Order, [true, false, false, false]),
            (Deed::Reload, [true, false, false, false]),
            (Deed::Verdict, [true, true, true, false]),
        ];
        for (deed, wanted) in table {
            let found = Stage::ALL.map(|stage| stage.permits(deed));
            assert_eq!(found, wanted, "{deed:?}");
            let is_over = found.windows(2).any(|it| !it[0] && it[1]);
            assert!(!is_over, "{deed:?}: what has ended does not begin again");
        }
    }

    #[test]
    fn stages_are_numbered_in_order() {
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, at);
            assert_eq!(Stage::of(stage as u8), stage);
        }
        assert_eq!(Stage::of(u8::MAX), Stage::Ended);
        assert!(Stage::ALL.is_sorted());
    }
}
