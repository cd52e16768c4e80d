//! What was worked out from commits: they never change, and so neither does it.

use std::collections::HashMap;
use std::hash::Hash;

/// Answers by what was asked. Those that nobody asks for in a pass are forgotten in the next one.
pub(super) struct Memo<K, V> {
    now: HashMap<K, V>,
    before: HashMap<K, V>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self {
            now: HashMap::new(),
            before: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Memo<K, V> {
    /// A new pass begins.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// The answer, worked out if it is not known. A failure is not kept: it may pass by.
    pub(super) fn get<E>(&mut self, key: &K, work: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(known) = self.now.get(key) {
            return Ok(known.clone());
        }
        let value = match self.before.remove(key) {
            Some(known) => known,
            None => work()?,
        };
        self.now.insert(key.clone(), value.clone());
        Ok(value)
    }
}
