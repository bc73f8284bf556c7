//! The places that this process listens at, and for what: two of them that meet
//! could not both be opened.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::links;
use crate::admin::AdminSettings;
use crate::config::PairConfig;
use crate::config::fields::Fields;
use crate::config::node::Place;
use crate::config::reader::Reader;
use crate::types::Endpoint;

/// What is taken so far, and by which setting.
#[derive(Default)]
pub(super) struct Taken(Vec<(Endpoint, String)>);

impl Taken {
    /// Takes what `admin` and the name server of `pair` listen at.
    pub(super) fn by(
        root: &Fields<'_>,
        admin: &AdminSettings,
        pair: Option<&PairConfig>,
        reader: &mut Reader<'_>,
    ) -> Self {
        let mut taken = Self::default();
        let place = |section| root.get(section).map_or(root.at, |it| it.at);
        let at = place("pair");
        let serve = pair.and_then(|it| it.serve.as_ref());
        for bind in serve.into_iter().flat_map(|it| &it.binds) {
            taken.claim(&(*bind).into(), at, "pair.dns.serve.bind", reader);
        }
        if let Some(pair) = pair {
            taken.heartbeats(pair, at, reader);
        }
        if reader.is_told("admin") {
            return taken;
        }
        let at = place("admin");
        if let Some(socket) = &admin.socket {
            let socket = Endpoint::Unix(socket.as_unix().clone());
            taken.claim(&socket, at, "admin.socket", reader);
        }
        if let Some(bind) = admin.bind {
            taken.claim(&bind.into(), at, "admin.bind", reader);
            if bind.ip() == Ipv6Addr::UNSPECIFIED {
                // Unlike a listener's it takes both families.
                let also = SocketAddr::from((Ipv4Addr::UNSPECIFIED, bind.port()));
                taken.claim(&also.into(), at, "admin.bind", reader);
            }
        }
        taken
    }

    /// Heartbeats take UDP, as the name server does and nothing else here: by
    /// now it is the only one that has taken anything.
    fn heartbeats(&self, pair: &PairConfig, at: Place, reader: &mut Reader<'_>) {
        let own = pair.pair.node(&pair.pair.me);
        for heartbeat in own.into_iter().flat_map(|it| &it.heartbeat) {
            let heartbeat = Endpoint::Tcp(*heartbeat);
            if self.0.iter().any(|(other, _)| heartbeat.meets(other)) {
                let what = format!("{heartbeat} is taken by pair.dns.serve.bind");
                reader.fault(at, "pair.heartbeat.port", what, "choose another port");
            }
        }
    }

    /// Takes `place` for the setting `path`, which stands `at`.
    pub(super) fn claim(
        &mut self,
        place: &Endpoint,
        at: Place,
        path: &str,
        reader: &mut Reader<'_>,
    ) {
        let around = reader.around();
        let by_link = |other: &Endpoint| match (place, other) {
            (Endpoint::Unix(one), Endpoint::Unix(other)) => links::are_one(one, other, around),
            (Endpoint::Unix(_) | Endpoint::Tcp(_), _) => false,
        };
        let meets = |(other, _): &&(Endpoint, String)| place.meets(other) || by_link(other);
        if let Some((other, owner)) = self.0.iter().find(meets) {
            let what = if other == place {
                format!("{place} is taken by {owner}")
            } else if place.is_unix() {
                format!("{place} is {other} of {owner}: a symbolic link leads there")
            } else {
                format!("{place} meets {other} of {owner}")
            };
            let hint = if place.is_unix() {
                "choose another path"
            } else {
                "choose another port or address"
            };
            reader.fault(at, path, what, hint);
        }
        self.0.push((place.clone(), path.to_owned()));
    }
}
