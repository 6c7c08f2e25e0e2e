//! Wires by name.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::wire::Wire;

/// The wires of a topology as they come and go, by name. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    laid: Arc<Mutex<BTreeMap<String, Arc<Wire>>>>,
}

impl Wires {
    /// The wire of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<Arc<Wire>> {
        self.laid.lock().get(name).cloned()
    }

    /// All that there are, in the order of their names.
    pub fn all(&self) -> Vec<Arc<Wire>> {
        self.laid.lock().values().cloned().collect()
    }

    pub(super) fn insert(&self, name: &str, wire: Arc<Wire>) {
        let earlier = self.laid.lock().insert(name.to_owned(), wire);
        // Whoever was the last to hold it waits for its threads, and needs no lock for that.
        drop(earlier);
    }

    pub(super) fn remove(&self, name: &str) {
        let removed = self.laid.lock().remove(name);
        drop(removed);
    }

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.laid.lock());
        drop(all);
    }
}
