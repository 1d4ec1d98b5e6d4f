//! A table by id: a slab of entries with a hash index of 4 bytes per entry.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

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

/// Entries by id. Iteration is by slot and does not depend on the seed.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    index: HashTable<Slot>,
    slots: Vec<Option<(FailureId, T)>>,
    free: Vec<Slot>,
    seeded: Seeded,
}

impl<T> Table<T> {
    pub(super) fn new(seeded: Seeded) -> Self {
        Table { index: HashTable::new(), slots: Vec::new(), free: Vec::new(), seeded }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// One more than the highest slot in use.
    pub(super) fn slot_count(&self) -> Slot {
        Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX)
    }

    pub(super) fn find(&self, id: &FailureId) -> Option<Slot> {
        if self.index.is_empty() {
            return None;
        }
        self.index.find(self.seeded.of(id), |slot| self.is_at(*slot, id)).copied()
    }

    fn is_at(&self, slot: Slot, id: &FailureId) -> bool {
        self.at(slot).is_some_and(|(there, _)| there == id)
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&(FailureId, T)> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|(_, entry)| entry)
    }

    pub(super) fn get(&self, id: &FailureId) -> Option<&T> {
        self.at(self.find(id)?).map(|(_, entry)| entry)
    }

    /// Puts an entry in; an old one of the same id is replaced (and returned).
    /// `None` for the slot only if 4 billion slots are in use.
    pub(super) fn insert(&mut self, id: FailureId, entry: T) -> (Option<Slot>, Option<T>) {
        let Table { index, slots, free, seeded } = self;
        let hash = seeded.of(&id);
        let same =
            |slot: &Slot| slots.get(*slot as usize).is_some_and(|s| s.as_ref().is_some_and(|(there, _)| *there == id));
        let rehash =
            |slot: &Slot| slots.get(*slot as usize).and_then(Option::as_ref).map_or(0, |(there, _)| seeded.of(there));
        match index.entry(hash, same, rehash) {
            Entry::Occupied(found) => {
                let slot = *found.get();
                let old = slots.get_mut(slot as usize).and_then(|place| place.replace((id, entry)));
                (Some(slot), old.map(|(_, entry)| entry))
            }
            Entry::Vacant(vacant) => {
                let slot = match free.pop() {
                    Some(slot) => slot,
                    None => match Slot::try_from(slots.len()) {
                        Ok(slot) => {
                            slots.push(None);
                            slot
                        }
                        Err(_) => return (None, None),
                    },
                };
                vacant.insert(slot);
                if let Some(place) = slots.get_mut(slot as usize) {
                    *place = Some((id, entry));
                }
                (Some(slot), None)
            }
        }
    }

    pub(super) fn remove(&mut self, id: &FailureId) -> Option<(FailureId, T)> {
        let slot = self.find(id)?;
        self.remove_at(slot)
    }

    pub(super) fn remove_at(&mut self, slot: Slot) -> Option<(FailureId, T)> {
        let taken = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.index.find_entry(self.seeded.of(&taken.0), |there| *there == slot) {
            found.remove();
        }
        self.free.push(slot);
        if self.index.is_empty() {
            // An attack that is over gives its memory back.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
        Some(taken)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &FailureId, &T)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let (id, entry) = slot.as_ref()?;
            Some((Slot::try_from(at).ok()?, id, entry))
        })
    }

    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| {
            let (_, entry) = slot.as_mut()?;
            Some((Slot::try_from(at).ok()?, entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_replaced_and_removed() {
        let mut table = Table::new(Seeded::new(7));
        let id = |n: u32| FailureId::Text(n.to_string().into());
        for n in 0..1000 {
            assert_eq!(table.insert(id(n), n).1, None);
        }
        assert_eq!(table.insert(id(5), 55).1, Some(5));
        assert_eq!(table.get(&id(5)), Some(&55));
        for n in (0..1000).step_by(2) {
            assert_eq!(table.remove(&id(n)).map(|(_, n)| n), Some(n));
        }
        assert_eq!(table.len(), 500);
        assert_eq!(table.get(&id(4)), None);
        assert!(table.iter().all(|(slot, id, _)| table.find(id) == Some(slot)));
        for n in 0..1000 {
            table.insert(id(n), n);
        }
        assert_eq!(table.len(), 1000);
        assert!(table.slots.len() == 1000, "slots are used again");
    }
}
