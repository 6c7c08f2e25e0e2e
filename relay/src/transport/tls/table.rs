//! Hash tables of streams.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// By keys and numbers that count up one by one, so that nobody can choose them to collide.
pub(super) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// After ten thousand streams, the tables of a few are small again.
pub(super) fn give_back_memory<K: Hash + Eq, V>(table: &mut Table<K, V>) {
    const WORTH_IT: usize = 256;
    if table.capacity() > WORTH_IT && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}

#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // An odd constant without a pattern; the table takes both ends of the product.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}
