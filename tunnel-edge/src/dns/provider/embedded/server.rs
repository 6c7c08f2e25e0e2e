//! What the listeners share: the table, and the counts of what was answered.

use parking_lot::RwLock;

use super::answer::{Transport, answer};
use super::metrics::ServerMetrics;
use super::table::{Replacement, Table};

/// Answers questions from a table that changes meanwhile.
#[derive(Debug)]
pub(super) struct Server {
    /// Held to look up one name, or to replace the sets of one change.
    table: RwLock<Table>,
    metrics: ServerMetrics,
}

impl Server {
    pub(super) fn new(table: Table, metrics: ServerMetrics) -> Self {
        Self {
            table: RwLock::new(table),
            metrics,
        }
    }

    /// Writes the answer to a message into `out`; false if it gets none.
    pub(super) fn answer(&self, message: &[u8], transport: Transport, out: &mut Vec<u8>) -> bool {
        let code = answer(&self.table.read(), message, transport, out);
        if let Some(code) = code {
            self.metrics.answered(transport, code);
        }
        code.is_some()
    }

    /// Replaces all of them at once: no answer is made from a part.
    pub(super) fn replace(&self, replacements: Vec<Replacement>) {
        let mut table = self.table.write();
        for replacement in replacements {
            table.replace(replacement);
        }
    }
}
