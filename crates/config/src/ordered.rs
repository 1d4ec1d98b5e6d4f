//! A map that remembers the order in which its keys came.

use std::collections::HashMap;
use std::sync::Arc;

/// Keys in order of first insertion; overwriting a value keeps its key's place,
/// as Python's dictionaries do. The order of the command stream rests on it.
#[derive(Clone, Debug)]
pub(crate) struct Ordered<V> {
    index: HashMap<Arc<str>, usize>,
    items: Vec<(Arc<str>, V)>,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered { index: HashMap::new(), items: Vec::new() }
    }
}

impl<V> Ordered<V> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.items.get(*self.index.get(key)?).map(|(_, value)| value)
    }

    /// The value of `key`, to be changed.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.items.get_mut(*self.index.get(key)?).map(|(_, value)| value)
    }

    /// Is `key` there?
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets the value of `key`; a new key goes to the end.
    pub(crate) fn insert(&mut self, key: &Arc<str>, value: V) {
        if let Some(old) = self.get_mut(key) {
            *old = value;
            return;
        }
        self.index.insert(Arc::clone(key), self.items.len());
        self.items.push((Arc::clone(key), value));
    }

    /// Like [`Ordered::insert`], for a key that is not shared yet.
    pub(crate) fn put(&mut self, key: &str, value: V) {
        if let Some(old) = self.get_mut(key) {
            *old = value;
            return;
        }
        self.insert(&Arc::from(key), value);
    }

    /// All pairs in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.items.iter().map(|(key, value)| (key, value))
    }

    /// All keys in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.items.iter().map(|(key, _)| key)
    }
}
