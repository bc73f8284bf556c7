//! Whether a backend can be probed at all, and when to say that this has
//! changed. Pure.

use crate::types::OwnFault;

/// So many probes in a row must find something out before it is said that the
/// backend can be probed again: at the edge of a limit every other probe finds
/// a descriptor, and that is not worth a line each.
const SURE: u32 = 2;

/// What is known of our own ability to probe a backend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    blind: Option<OwnFault>,
    seen: u32,
}

impl Sight {
    /// A probe could not be made (`Some`), or found something out. Returns
    /// what is to be said, if that is something new.
    pub(super) fn observe(&mut self, fault: Option<OwnFault>) -> Option<Option<OwnFault>> {
        let Some(fault) = fault else {
            self.seen += 1;
            let is_over = self.blind.is_some() && self.seen >= SURE;
            return is_over.then(|| {
                self.blind = None;
                None
            });
        };
        self.seen = 0;
        let is_new = self.blind.replace(fault) != Some(fault);
        is_new.then_some(Some(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let (fds, ports) = (Some(OwnFault::OutOfFds), Some(OwnFault::OutOfPorts));
        let mut sight = Sight::default();
        assert_eq!(sight.observe(None), None, "nothing was wrong");
        assert_eq!(sight.observe(fds), Some(fds));
        assert_eq!(sight.observe(fds), None);
        assert_eq!(sight.observe(ports), Some(ports), "another reason");
        for _ in 0..10 {
            assert_eq!(sight.observe(None), None, "not sure yet");
            assert_eq!(sight.observe(ports), None, "the same trouble");
        }
        assert_eq!(sight.observe(None), None);
        assert_eq!(sight.observe(None), Some(None));
        assert_eq!(sight.observe(None), None);
        assert_eq!(sight.observe(ports), Some(ports));
    }
}
