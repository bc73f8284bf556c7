//! The messages: which prerequisites, which changes, on which names.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name as Fqdn, RData, Record, RecordType};

use super::settings::{Rfc2136Settings, SettingsError};
use crate::dns::register::RegisterError;
use crate::dns::text;
use crate::types::{Name, Registered};

/// The label of the records that tandem keeps for itself.
const OURS: &str = "_tandem";

/// The largest UDP answer we ask for: fits every path without fragments.
const MAX_PAYLOAD: u16 = 1232;

/// The names in question, and how long what is written lives.
#[derive(Clone, Debug)]
pub(super) struct Names {
    zone: Fqdn,
    public: Fqdn,
    register: Fqdn,
    ttl: u32,
}

impl Names {
    pub(super) fn new(settings: &Rfc2136Settings) -> Result<Self, SettingsError> {
        let zone = fqdn(&settings.zone)?;
        let public = fqdn(&settings.name)?;
        if !zone.zone_of(&public) {
            return Err(SettingsError::Outside {
                name: settings.name.clone(),
                zone: settings.zone.clone(),
            });
        }
        let register = under(OURS, &public)?;
        let ttl = u32::try_from(settings.ttl.as_secs()).unwrap_or(u32::MAX);
        Ok(Self {
            zone,
            public,
            register,
            ttl,
        })
    }

    /// Asks what the register says.
    pub(super) fn read(&self) -> Message {
        query(&self.register, RecordType::TXT)
    }

    /// Asks whether the public name is an alias.
    pub(super) fn alias(&self) -> Message {
        query(&self.public, RecordType::CNAME)
    }

    /// Whether the answer to [`Self::alias`] has one.
    pub(super) fn is_alias(&self, answer: &Message) -> bool {
        let mut answers = answer.answers.iter();
        answers.any(|it| it.record_type() == RecordType::CNAME && it.name == self.public)
    }

    /// What the answer to [`Self::read`] says.
    pub(super) fn registered(&self, answer: &Message) -> Result<Option<Registered>, RegisterError> {
        let mut found = None;
        for record in answer.answers.iter().filter(|it| it.name == self.register) {
            let RData::TXT(txt) = &record.data else {
                continue;
            };
            let text = String::from_utf8_lossy(&txt.txt_data.concat()).into_owned();
            let one_string = txt.txt_data.len() == 1;
            let registered = text::parse(&text).filter(|_| one_string && found.is_none());
            found = Some(registered.ok_or_else(|| RegisterError::Garbled {
                name: plain(&self.register),
                text,
            })?);
        }
        Ok(found)
    }

    /// Swaps the register and the public addresses. The public name may not
    /// be an alias: servers ignore addresses beside one without a word (RFC
    /// 2136 section 3.4.2.2), and the register would promise what is not so.
    pub(super) fn write(
        &self,
        expect: Option<&Registered>,
        new: &Registered,
        addresses: &[IpAddr],
    ) -> Message {
        let mut update = Update::of(&self.zone);
        let text = expect.map(text::of);
        update.require(&self.register, RecordType::TXT, text.as_deref().map(txt));
        update.require(&self.public, RecordType::CNAME, None);
        update.delete(&self.register, &[RecordType::TXT]);
        update.add(&self.register, self.ttl, [txt(&text::of(new))]);
        self.replace(&mut update, &self.public, addresses);
        update.0
    }

    /// The own name of `node`: beside the public name, unless that is the
    /// zone itself; or the node's name as it is, if it is one of the zone.
    pub(super) fn own(&self, node: &Name) -> Result<Fqdn, RegisterError> {
        let not_in_zone = |_| RegisterError::NotZone(node.to_string());
        let whole = fqdn(node.as_str()).map_err(not_in_zone)?;
        let own = if self.zone.zone_of(&whole) {
            whole
        } else {
            let above = self.public.base_name();
            let within = self.zone.zone_of(&above);
            let above = if within { above } else { self.zone.clone() };
            under(node.as_str(), &above).map_err(not_in_zone)?
        };
        if own == self.public || own == self.zone || own == self.register {
            return Err(RegisterError::Foreign(plain(&own)));
        }
        Ok(own)
    }

    /// Gives an own name other addresses, if it is in the state `found`.
    pub(super) fn put_own(
        &self,
        node: &Name,
        addresses: &[IpAddr],
        found: Found,
    ) -> Result<Message, RegisterError> {
        let own = self.own(node)?;
        let mark = self.mark(&own)?;
        let ours = self.mark_of(node);
        let mut update = Update::of(&self.zone);
        match found {
            Found::Marked => update.require(&mark, RecordType::TXT, Some(ours.clone())),
            Found::Nothing => {
                update.require(&mark, RecordType::TXT, None);
                update.require(&own, RecordType::A, None);
                update.require(&own, RecordType::AAAA, None);
            }
            Found::Same => {
                update.require(&mark, RecordType::TXT, None);
                update.require_addresses(&own, addresses);
            }
        }
        update.require(&own, RecordType::CNAME, None);
        update.delete(&mark, &[RecordType::TXT]);
        update.add(&mark, self.ttl, [ours]);
        self.replace(&mut update, &own, addresses);
        Ok(update.0)
    }

    /// Removes an own name, if it is marked and has these addresses only.
    pub(super) fn forget(
        &self,
        node: &Name,
        addresses: &[IpAddr],
    ) -> Result<Message, RegisterError> {
        let own = self.own(node)?;
        let mark = self.mark(&own)?;
        let mut update = Update::of(&self.zone);
        update.require(&mark, RecordType::TXT, Some(self.mark_of(node)));
        update.require_addresses(&own, addresses);
        update.delete(&own, &[RecordType::A, RecordType::AAAA]);
        update.delete(&mark, &[RecordType::TXT]);
        Ok(update.0)
    }

    pub(super) fn public(&self) -> String {
        plain(&self.public)
    }

    fn mark(&self, own: &Fqdn) -> Result<Fqdn, RegisterError> {
        under(OURS, own).map_err(|_| RegisterError::NotZone(plain(own)))
    }

    /// A comparison compares bytes, so that one spelling must do.
    fn mark_of(&self, node: &Name) -> RData {
        txt(&text::mark(node, &plain(&self.public.to_lowercase())))
    }

    fn replace(&self, update: &mut Update, name: &Fqdn, addresses: &[IpAddr]) {
        update.delete(name, &[RecordType::A, RecordType::AAAA]);
        update.add(name, self.ttl, unique(addresses));
    }
}

/// In which state an own name must be for us to write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has our mark.
    Marked,
    /// It has no address and nobody's mark.
    Nothing,
    /// It has nobody's mark, and the addresses that we would write.
    Same,
}

/// Which message goes into one datagram.
pub(super) fn fits_a_datagram(bytes: &[u8]) -> bool {
    bytes.len() <= usize::from(MAX_PAYLOAD)
}

/// A name without its last dot, for people.
fn plain(name: &Fqdn) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn fqdn(text: &str) -> Result<Fqdn, SettingsError> {
    let name = Fqdn::from_ascii(text).ok().filter(|it| it.num_labels() > 0);
    let mut name = name.ok_or_else(|| SettingsError::Name(text.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

fn under(labels: &str, above: &Fqdn) -> Result<Fqdn, SettingsError> {
    let wrong = |_| SettingsError::Name(format!("{labels}.{above}"));
    let name = Fqdn::from_ascii(labels).map_err(wrong)?;
    name.append_domain(above).map_err(wrong)
}

fn query(name: &Fqdn, kind: RecordType) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_PAYLOAD);
    message.set_edns(edns);
    message
}

fn txt(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

/// Each address once, in their order.
fn unique(addresses: &[IpAddr]) -> Vec<RData> {
    let mut all = Vec::with_capacity(addresses.len());
    for address in addresses {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(*v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
        };
        if !all.contains(&data) {
            all.push(data);
        }
    }
    all
}

/// An UPDATE being built: the question is the zone, the answers are the
/// prerequisites, the authorities are the changes (RFC 2136 section 2).
struct Update(Message);

impl Update {
    fn of(zone: &Fqdn) -> Self {
        let mut message = Message::new(0, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(zone.clone(), RecordType::SOA));
        Self(message)
    }

    /// The set must be exactly this one record (2.4.2), or be empty (2.4.3).
    fn require(&mut self, name: &Fqdn, kind: RecordType, only: Option<RData>) {
        let record = only.map_or_else(
            || {
                let mut nothing = Record::update0(name.clone(), 0, kind);
                nothing.dns_class = DNSClass::NONE;
                nothing
            },
            |data| Record::from_rdata(name.clone(), 0, data),
        );
        self.0.add_answer(record);
    }

    /// Both sets must be exactly these addresses.
    fn require_addresses(&mut self, name: &Fqdn, addresses: &[IpAddr]) {
        let all = unique(addresses);
        for kind in [RecordType::A, RecordType::AAAA] {
            let mut any = false;
            for data in all.iter().filter(|it| it.record_type() == kind) {
                any = true;
                self.require(name, kind, Some(data.clone()));
            }
            if !any {
                self.require(name, kind, None);
            }
        }
    }

    fn delete(&mut self, name: &Fqdn, kinds: &[RecordType]) {
        for kind in kinds {
            let mut all = Record::update0(name.clone(), 0, *kind);
            all.dns_class = DNSClass::ANY;
            self.0.add_authority(all);
        }
    }

    fn add(&mut self, name: &Fqdn, ttl: u32, data: impl IntoIterator<Item = RData>) {
        for data in data {
            self.0
                .add_authority(Record::from_rdata(name.clone(), ttl, data));
        }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
