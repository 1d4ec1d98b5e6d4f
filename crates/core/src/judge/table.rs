//! A table by id: a slab of entries with a hash index of 4 bytes per entry.
//!
//! The index has parts, each of which grows on its own: a large one would hold up everything else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::id::FailureId;

/// Hashes ids so that nobody outside can choose colliding ones: the seed goes
/// in first.
#[derive(Clone, Debug)]
pub(super) struct Seeded(DefaultHasher);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        Seeded(hasher)
    }

    fn of(&self, id: &FailureId) -> u64 {
        let mut hasher = self.0.clone();
        match id {
            // The same as a hash of its parts, in fewer of them.
            FailureId::Net(net) => match net.addr() {
                IpAddr::V4(addr) => hasher.write_u64(u64::from(u32::from(addr)) << 8 | u64::from(net.prefix())),
                IpAddr::V6(addr) => {
                    let [high, low] = halves(u128::from(addr));
                    hasher.write_u64(high);
                    hasher.write_u64(low);
                    hasher.write_u64(1 << 63 | u64::from(net.prefix()));
                }
            },
            FailureId::Text(text) => text.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// The upper and the lower half.
#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

/// Place of an entry; stays the same until the entry is removed.
pub(super) type Slot = u32;

/// Entries of one part of a slab.
const PART: usize = 1024;

/// Places for entries, in parts that never move: a slab that grows copies
/// nothing and leaves no holes in memory behind.
#[derive(Clone, Debug)]
struct Slab<E> {
    parts: Vec<Vec<Option<E>>>,
    len: Slot,
}

impl<E> Slab<E> {
    fn new() -> Self {
        Slab { parts: Vec::new(), len: 0 }
    }

    fn get(&self, slot: Slot) -> Option<&E> {
        let slot = slot as usize;
        self.parts.get(slot / PART)?.get(slot % PART)?.as_ref()
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<E>> {
        let slot = slot as usize;
        self.parts.get_mut(slot / PART)?.get_mut(slot % PART)
    }

    /// Adds an entry behind all others; `None` only if 4 billion slots are in use.
    fn push(&mut self, entry: E) -> Option<Slot> {
        let slot = self.len;
        self.len = slot.checked_add(1)?;
        if self.parts.last().is_none_or(|part| part.len() >= PART) {
            // The first one grows: most tables are small.
            let room = if self.parts.is_empty() { 0 } else { PART };
            self.parts.push(Vec::with_capacity(room));
        }
        self.parts.last_mut()?.push(Some(entry));
        Some(slot)
    }

    fn iter(&self) -> impl Iterator<Item = (Slot, &E)> {
        (0..).zip(self.parts.iter().flatten()).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }
}

/// Parts of an index.
const PARTS: usize = 16;

/// The part of an index for a hash; its bits are not those that a part itself goes by.
#[expect(clippy::indexing_slicing, reason = "cut down to 0..16")]
fn part<P>(parts: &[P; PARTS], hash: u64) -> &P {
    &parts[(hash >> 40) as usize % PARTS]
}

/// As [`part`].
#[expect(clippy::indexing_slicing, reason = "cut down to 0..16")]
fn part_mut<P>(parts: &mut [P; PARTS], hash: u64) -> &mut P {
    &mut parts[(hash >> 40) as usize % PARTS]
}

/// Entries by id. Iteration is by slot and does not depend on the seed.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    index: Box<[HashTable<Slot>; PARTS]>,
    len: usize,
    slots: Slab<(FailureId, T)>,
    free: Vec<Slot>,
    seeded: Seeded,
}

impl<T> Table<T> {
    pub(super) fn new(seeded: Seeded) -> Self {
        Table { index: Box::default(), len: 0, slots: Slab::new(), free: Vec::new(), seeded }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the highest slot in use.
    pub(super) fn slot_count(&self) -> Slot {
        self.slots.len
    }

    pub(super) fn find(&self, id: &FailureId) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let hash = self.seeded.of(id);
        part(&self.index, hash).find(hash, |slot| self.is_at(*slot, id)).copied()
    }

    fn is_at(&self, slot: Slot, id: &FailureId) -> bool {
        self.at(slot).is_some_and(|(there, _)| there == id)
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&(FailureId, T)> {
        self.slots.get(slot)
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.place(slot)?.as_mut().map(|(_, entry)| entry)
    }

    pub(super) fn get(&self, id: &FailureId) -> Option<&T> {
        self.at(self.find(id)?).map(|(_, entry)| entry)
    }

    /// Puts an entry in; an old one of the same id is replaced (and returned).
    /// `None` for the slot only if 4 billion slots are in use.
    pub(super) fn insert(&mut self, id: FailureId, entry: T) -> (Option<Slot>, Option<T>) {
        let Table { index, len, slots, free, seeded } = self;
        let hash = seeded.of(&id);
        let same = |slot: &Slot| slots.get(*slot).is_some_and(|(there, _)| *there == id);
        let rehash = |slot: &Slot| slots.get(*slot).map_or(0, |(there, _)| seeded.of(there));
        match part_mut(index, hash).entry(hash, same, rehash) {
            Entry::Occupied(found) => {
                let slot = *found.get();
                let old = slots.place(slot).and_then(|place| place.replace((id, entry)));
                (Some(slot), old.map(|(_, entry)| entry))
            }
            Entry::Vacant(vacant) => {
                let slot = match free.pop() {
                    Some(slot) => {
                        if let Some(place) = slots.place(slot) {
                            *place = Some((id, entry));
                        }
                        slot
                    }
                    None => match slots.push((id, entry)) {
                        Some(slot) => slot,
                        None => return (None, None),
                    },
                };
                vacant.insert(slot);
                *len += 1;
                (Some(slot), None)
            }
        }
    }

    pub(super) fn remove(&mut self, id: &FailureId) -> Option<(FailureId, T)> {
        let slot = self.find(id)?;
        self.remove_at(slot)
    }

    pub(super) fn remove_at(&mut self, slot: Slot) -> Option<(FailureId, T)> {
        let taken = self.slots.place(slot)?.take()?;
        let hash = self.seeded.of(&taken.0);
        if let Ok(found) = part_mut(&mut self.index, hash).find_entry(hash, |there| *there == slot) {
            found.remove();
            self.len -= 1;
        }
        self.free.push(slot);
        if self.len == 0 {
            // An attack that is over gives its memory back.
            self.slots = Slab::new();
            self.free = Vec::new();
            *self.index = Default::default();
        }
        Some(taken)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &FailureId, &T)> {
        self.slots.iter().map(|(slot, (id, entry))| (slot, id, entry))
    }

    /// Those of some slots only.
    pub(super) fn within(&self, slots: Range<Slot>) -> impl Iterator<Item = (Slot, &T)> {
        slots.filter_map(|slot| self.at(slot).map(|(_, entry)| (slot, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_replaced_and_removed() {
        let mut table = Table::new(Seeded::new(7));
        let id = |n: u32| FailureId::Text(n.to_string().into());
        for n in 0..3000 {
            assert_eq!(table.insert(id(n), n), (Some(n), None));
        }
        assert_eq!(table.insert(id(5), 55).1, Some(5));
        assert_eq!(table.get(&id(5)), Some(&55));
        for n in (0..3000).step_by(2) {
            assert_eq!(table.remove(&id(n)).map(|(_, n)| n), Some(n));
        }
        assert_eq!(table.len(), 1500);
        assert_eq!(table.get(&id(4)), None);
        assert!(table.iter().all(|(slot, id, _)| table.find(id) == Some(slot)));
        for n in 0..3000 {
            table.insert(id(n), n);
        }
        assert_eq!(table.len(), 3000);
        assert!(table.slot_count() == 3000, "slots are used again");
        assert_eq!(table.within(1000..4000).count(), 2000);
    }
}
