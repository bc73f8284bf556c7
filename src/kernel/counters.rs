//! The named counters of a table: how often each was passed.

use std::io;

use super::{attributes, netlink};

/// Subsystem nftables, `NFT_MSG_GETOBJ`.
const GET_OBJECTS: u16 = 10 << 8 | 19;
/// `NFPROTO_INET`.
const INET: u8 = 1;

const TABLE: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const DATA: u16 = 4;
const PACKETS: u16 = 2;
/// `NFT_OBJECT_COUNTER`.
const COUNTER: u32 = 1;

/// The counters of `table` with their packets.
pub(super) fn read(table: &str) -> io::Result<Vec<(String, u64)>> {
    let mut attributes = Vec::new();
    attributes::push(&mut attributes, TABLE, format!("{table}\0").as_bytes());
    attributes::push(&mut attributes, TYPE, &COUNTER.to_be_bytes());
    let mut counters = Vec::new();
    netlink::dump(GET_OBJECTS, INET, &attributes, |object| {
        // Older kernels hand over those of other tables, too.
        let is_ours = attributes::find(object, TABLE).and_then(attributes::text) == Some(table);
        counters.extend(counter(object).filter(|_| is_ours));
    })?;
    Ok(counters)
}

fn counter(object: &[u8]) -> Option<(String, u64)> {
    let name = attributes::find(object, NAME).and_then(attributes::text)?;
    let data = attributes::find(object, DATA)?;
    let packets = attributes::find(data, PACKETS).and_then(attributes::number)?;
    Some((name.to_owned(), packets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_a_name_and_its_packets() {
        let mut data = Vec::new();
        attributes::push(&mut data, 1, &5880u64.to_be_bytes());
        attributes::push(&mut data, PACKETS, &98u64.to_be_bytes());
        let mut object = Vec::new();
        attributes::push(&mut object, NAME, b"b7\0");
        assert_eq!(counter(&object), None, "no data");
        attributes::push(&mut object, 0x8000 | DATA, &data);
        assert_eq!(counter(&object), Some(("b7".to_owned(), 98)));
    }
}
