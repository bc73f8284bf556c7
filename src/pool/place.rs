//! Where clients come in. Sockets, and the clients that the kernel has taken in
//! for us, belong to a place and not to a listener: listeners come, go and are
//! renamed, and the place stays.

use super::settings::ListenerSettings;
use crate::types::{Endpoint, Name};

/// An address or a path that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The address or the path, as the file says it.
    pub bind: Endpoint,
    /// Whose it is, where the file leaves the port to the kernel: two such
    /// addresses are the same in the file and not in the world.
    owner: Option<Name>,
}

impl Place {
    /// Whether a socket on the one could take clients of the other.
    pub fn meets(&self, other: &Self) -> bool {
        self.bind.meets(&other.bind)
    }
}

impl ListenerSettings {
    /// Where its clients come in.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.binds.iter().map(|bind| Place {
            bind: bind.clone(),
            owner: (bind.tcp().is_some_and(|it| it.port() == 0)).then(|| self.name.clone()),
        })
    }

    /// Whether clients that come in at `place` are its own.
    pub fn is_at(&self, place: &Place) -> bool {
        self.binds.contains(&place.bind) && place.owner.as_ref().is_none_or(|it| *it == self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixPath;

    fn place(text: &str) -> Place {
        let name = |it| Name::new(it).unwrap();
        let listener = ListenerSettings::new(name("a"), text.parse().unwrap(), name("p"));
        listener.places().next().unwrap()
    }

    #[test]
    fn a_wide_address_meets_each_narrow_one_of_its_family_and_port() {
        let meets = |one, two| place(one).meets(&place(two));
        assert!(meets("0.0.0.0:80", "127.0.0.1:80"));
        assert!(meets("127.0.0.1:80", "0.0.0.0:80"));
        assert!(meets("[::]:80", "[::1]:80"));
        assert!(!meets("0.0.0.0:80", "[::1]:80"));
        assert!(!meets("0.0.0.0:80", "0.0.0.0:81"));
        assert!(!meets("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!meets("0.0.0.0:0", "0.0.0.0:0"));
    }

    #[test]
    fn a_path_meets_itself_only() {
        let path = |text| Endpoint::Unix(UnixPath::parse(text).unwrap());
        let at = |bind| Place { bind, owner: None };
        let meets = |one: Endpoint, two: Endpoint| at(one).meets(&at(two));
        assert!(meets(path("/run/a.sock"), path("/run/a.sock")));
        assert!(!meets(path("/run/a.sock"), path("/run/b.sock")));
        assert!(!meets(path("/run/a.sock"), place("0.0.0.0:80").bind));
    }

    #[test]
    fn a_port_that_the_kernel_chooses_is_its_listeners_own() {
        let name = |it| Name::new(it).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = ["a", "b"].map(|it| ListenerSettings::new(name(it), any, name("p")));
        let at = listeners[0].places().next().unwrap();
        assert!(listeners[0].is_at(&at) && !listeners[1].is_at(&at));
    }
}
