//! Where a worker's sessions live: chunks that are given back when they are
//! empty, and keys that never hit a later tenant of the same place. Pure.

/// Which session of a worker: its place, and which tenant of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    const INDEX_BITS: u32 = 30;

    /// The key and a side as one number for the event loop. The top bit stays
    /// clear: it marks what is not a session.
    pub(super) fn token(self, server: bool) -> usize {
        (self.generation as usize) << 32 | (self.index as usize) << 1 | usize::from(server)
    }

    /// The key and the side in `token`.
    pub(super) fn of_token(token: usize) -> (Self, bool) {
        let low = token & 0xffff_ffff;
        (
            Self {
                index: u32::try_from(low >> 1).unwrap_or(u32::MAX),
                generation: u32::try_from(token >> 32).unwrap_or(u32::MAX),
            },
            low & 1 == 1,
        )
    }
}

/// Large enough that the allocator maps a chunk of sessions by itself and can
/// hand it back to the system by itself.
const CHUNK: usize = 512;

const _: () = assert!(CHUNK <= u16::MAX as usize, "places are numbered in u16");

struct Chunk<T> {
    places: Vec<Option<T>>,
    generations: Vec<u32>,
    free: Vec<u16>,
}

impl<T> Chunk<T> {
    fn new(generation: u32) -> Self {
        Self {
            places: (0..CHUNK).map(|_| None).collect(),
            generations: vec![generation; CHUNK],
            free: (0..u16::try_from(CHUNK).expect("checked above"))
                .rev()
                .collect(),
        }
    }
}

/// A table of `T`s with stable keys.
pub(super) struct Slab<T> {
    chunks: Vec<Option<Chunk<T>>>,
    /// Where generations of chunks that were given back go on.
    next_generation: u32,
    /// No chunk before this one has room.
    first_with_room: usize,
    len: usize,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            next_generation: 0,
            first_with_room: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a `value` that knows its key into the lowest free place, so that high chunks run empty.
    pub(super) fn insert(&mut self, value: impl FnOnce(Key) -> T) -> Key {
        let at = (self.first_with_room..self.chunks.len())
            .find(|&i| self.chunks[i].as_ref().is_none_or(|c| !c.free.is_empty()))
            .unwrap_or(self.chunks.len());
        assert!(
            at < (1 << Key::INDEX_BITS) / CHUNK,
            "a worker holds fewer than 2^30 sessions"
        );
        self.first_with_room = at;
        if at == self.chunks.len() {
            self.chunks.push(None);
        }
        let generation = self.next_generation;
        let chunk = self.chunks[at].get_or_insert_with(|| Chunk::new(generation));
        let place = usize::from(chunk.free.pop().expect("the chunk was chosen for its room"));
        let key = Key {
            index: u32::try_from(at * CHUNK + place).unwrap_or(u32::MAX),
            generation: chunk.generations[place],
        };
        chunk.places[place] = Some(value(key));
        self.len += 1;
        key
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (at, place) = (key.index as usize / CHUNK, key.index as usize % CHUNK);
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        if chunk.generations[place] != key.generation {
            return None;
        }
        chunk.places[place].as_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (at, place) = (key.index as usize / CHUNK, key.index as usize % CHUNK);
        let slot = self.chunks.get_mut(at)?;
        let chunk = slot.as_mut()?;
        if chunk.generations[place] != key.generation {
            return None;
        }
        let value = chunk.places[place].take()?;
        // The sign bit stays clear, see Key::token.
        chunk.generations[place] = (key.generation + 1) & 0x7fff_ffff;
        chunk
            .free
            .push(u16::try_from(place).expect("places are numbered in u16"));
        self.len -= 1;
        // The first chunk stays, so that a quiet worker does not map and unmap
        // memory at every connection.
        if chunk.free.len() == CHUNK && at > 0 {
            let newest = chunk.generations.iter().copied().max().unwrap_or(0);
            self.next_generation = self.next_generation.max(newest) & 0x7fff_ffff;
            *slot = None;
            while matches!(self.chunks.last(), Some(None)) {
                self.chunks.pop();
            }
        }
        self.first_with_room = self.first_with_room.min(at);
        Some(value)
    }

    /// The keys of all sessions at this moment.
    pub(super) fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::with_capacity(self.len);
        for (at, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            for (place, value) in chunk.places.iter().enumerate() {
                if value.is_some() {
                    keys.push(Key {
                        index: u32::try_from(at * CHUNK + place).unwrap_or(u32::MAX),
                        generation: chunk.generations[place],
                    });
                }
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_reaches_a_later_tenant() {
        let mut slab = Slab::new();
        let old = slab.insert(|_| "old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert(|_| "new");
        assert_eq!(old.index, new.index);
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut "new"));
    }

    #[test]
    fn keys_survive_the_trip_through_a_token() {
        let key = Key {
            index: (1 << Key::INDEX_BITS) - 1,
            generation: 0x7fff_ffff,
        };
        for server in [false, true] {
            assert_eq!(Key::of_token(key.token(server)), (key, server));
            assert_eq!(key.token(server) >> 63, 0, "the top bit is not ours");
        }
    }

    #[test]
    fn chunks_are_given_back_and_their_old_keys_stay_dead() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..CHUNK * 3).map(|i| slab.insert(|_| i)).collect();
        assert_eq!(slab.keys().len(), CHUNK * 3);
        for key in &keys {
            assert!(slab.remove(*key).is_some());
        }
        assert_eq!(slab.len(), 0);
        assert_eq!(slab.chunks.len(), 1);
        for i in 0..CHUNK * 3 {
            slab.insert(|_| i);
        }
        assert!(keys.iter().all(|key| slab.get_mut(*key).is_none()));
    }
}
