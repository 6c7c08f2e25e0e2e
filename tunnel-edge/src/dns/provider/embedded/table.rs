//! What is served, as it goes over the wire. Pure.
//!
//! Names are lower-case labels as in a message, so that a name's parent is its tail, and a question
//! is looked up without taking it apart.

use std::collections::HashMap;

use hickory_proto::ProtoError;
use hickory_proto::rr::{LowerName, RData};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use crate::dns::records::{Key, RecordSet};

/// The types that are looked up by themselves (RFC 1035, section 3.2.2).
pub(super) const CNAME: u16 = 5;
pub(super) const SOA: u16 = 6;

/// All names of a zone, and those between them that have no records (RFC 8020).
#[derive(Debug)]
pub(super) struct Table {
    origin: Box<[u8]>,
    nodes: HashMap<Box<[u8]>, Node>,
}

/// What there is under one name.
#[derive(Debug, Default)]
pub(super) struct Node {
    sets: Vec<Set>,
    /// How many names with records are below it.
    below: usize,
}

/// The records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) kind: u16,
    pub(super) ttl: u32,
    pub(super) data: Vec<Box<[u8]>>,
}

/// A set as it is to be from then on, ready to be served.
#[derive(Debug)]
pub(super) struct Replacement {
    name: Box<[u8]>,
    kind: u16,
    set: Option<Set>,
}

impl Replacement {
    pub(super) fn new(key: &Key, set: Option<&RecordSet>) -> Result<Self, ProtoError> {
        let kind = key.kind.into();
        let set = set.map(|set| Set::new(kind, set));
        Ok(Self {
            name: wire(&key.name)?,
            kind,
            set: set.transpose()?,
        })
    }
}

impl Set {
    fn new(kind: u16, set: &RecordSet) -> Result<Self, ProtoError> {
        let data = set.data.iter().map(wire::<RData>);
        let mut data = data.collect::<Result<Vec<_>, _>>()?;
        if kind == CNAME {
            // So that it is found here; a label's length is no letter.
            data.iter_mut().for_each(|name| name.make_ascii_lowercase());
        }
        Ok(Self {
            kind,
            ttl: set.ttl,
            data,
        })
    }
}

impl Node {
    pub(super) fn set(&self, kind: u16) -> Option<&Set> {
        self.sets.iter().find(|set| set.kind == kind)
    }

    /// All sets, by type.
    pub(super) fn sets(&self) -> &[Set] {
        &self.sets
    }
}

impl Table {
    /// A zone without any record.
    pub(super) fn new(origin: &LowerName) -> Result<Self, ProtoError> {
        let origin = wire(origin)?;
        Ok(Self {
            // The apex is there whatever happens to its records, so that every walk upwards ends.
            nodes: HashMap::from([(origin.clone(), Node::default())]),
            origin,
        })
    }

    /// The apex.
    pub(super) fn origin(&self) -> &[u8] {
        &self.origin
    }

    /// Whether a name is the apex or below it.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        let mut rest = name;
        while rest.len() > self.origin.len() {
            rest = parent(rest);
        }
        *rest == *self.origin
    }

    /// What answers for a name of the zone: itself, or the wildcard beside what would have been
    /// its next ancestor (RFC 4592, section 3.3.1). `None`: there is no such name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Node> {
        debug_assert!(self.contains(name), "a name of the zone");
        if let Some(node) = self.nodes.get(name) {
            return Some(node);
        }
        let mut encloser = parent(name);
        while !self.nodes.contains_key(encloser) {
            encloser = parent(encloser);
        }
        // The name is longer than its encloser by a label at least.
        let mut wildcard = [0; MAX_NAME];
        let wildcard = &mut wildcard[..encloser.len() + 2];
        wildcard[..2].copy_from_slice(b"\x01*");
        wildcard[2..].copy_from_slice(encloser);
        self.nodes.get(&*wildcard)
    }

    pub(super) fn replace(&mut self, replacement: Replacement) {
        let Replacement { name, kind, set } = replacement;
        let had_any = self
            .nodes
            .get(&name)
            .is_some_and(|node| !node.sets.is_empty());
        let node = self.nodes.entry(name.clone()).or_default();
        node.sets.retain(|set| set.kind != kind);
        node.sets.extend(set);
        node.sets.sort_by_key(|set| set.kind);
        let has_any = !node.sets.is_empty();
        if had_any != has_any {
            self.count_below_ancestors(&name, has_any);
        }
        self.forget_if_unused(&name);
    }

    fn count_below_ancestors(&mut self, name: &[u8], appeared: bool) {
        let mut ancestor = name;
        while ancestor.len() > self.origin.len() {
            ancestor = parent(ancestor);
            if appeared {
                self.nodes.entry(ancestor.into()).or_default().below += 1;
            } else {
                let node = self.nodes.get_mut(ancestor);
                node.expect("it was made for what is below it").below -= 1;
                self.forget_if_unused(ancestor);
            }
        }
    }

    fn forget_if_unused(&mut self, name: &[u8]) {
        let unused = |node: &Node| node.sets.is_empty() && node.below == 0;
        if *name != *self.origin && self.nodes.get(name).is_some_and(unused) {
            self.nodes.remove(name);
        }
    }
}

/// The longest name (RFC 1035, section 2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// A name without its first label; the root's is the root.
fn parent(name: &[u8]) -> &[u8] {
    match name.first() {
        None | Some(0) => name,
        Some(&length) => &name[usize::from(length) + 1..],
    }
}

/// Without compression, which data could not keep when it is moved into a message.
fn wire<T: BinEncodable>(item: &T) -> Result<Box<[u8]>, ProtoError> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    item.emit(&mut encoder)?;
    Ok(bytes.into_boxed_slice())
}
