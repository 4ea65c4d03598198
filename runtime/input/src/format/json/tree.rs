//! The read plan as a tree of names, and the slots into which decoding puts what it finds.
//!
//! Owns: which path of a record belongs to which field of the plan.
//! Does not own: parsing (`parse`, `shape`), nor conversion.
//!
//! Invariants: slot `i` below the number of fields is field `i` of the plan. Each inner node (`bid` of `bid.price`)
//! has a slot of its own, so that something that stands in the way can be named. The last slot is a sink for values
//! that nobody reads.

use crate::format::plan::Plan;
use crate::format::rows::Fields;
use crate::format::value::Value;

/// What kind of value was found; `Value` with its bytes still to be cut out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    #[default]
    Missing,
    Null,
    True,
    False,
    Int,
    Number,
    Text,
    Escaped,
    Array,
    Object,
}

/// A value's place in the buffer; for text without its quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub found: Found,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub name: String,
    pub slot: u16,
    pub children: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// For each field, the slots of the nodes above it, outermost first, with their paths.
    parents: Vec<Vec<(u16, String)>>,
    slots: usize,
}

pub(crate) const ROOT: usize = 0;

impl Tree {
    pub fn new(plan: &Plan) -> Tree {
        let mut tree = Tree {
            nodes: vec![Node { name: String::new(), slot: u16::MAX, children: Vec::new() }],
            parents: Vec::new(),
            slots: plan.fields.len(),
        };
        for (field, path) in plan.fields.iter().enumerate() {
            let mut at = ROOT;
            let mut parents = Vec::new();
            let mut walked = 0;
            let mut names = path.split('.').peekable();
            while let Some(name) = names.next() {
                walked += name.len();
                at = tree.child_or_new(at, name);
                if names.peek().is_none() {
                    tree.nodes[at].slot = field as u16;
                } else {
                    if tree.nodes[at].slot == u16::MAX {
                        tree.nodes[at].slot = tree.slots as u16;
                        tree.slots += 1;
                    }
                    parents.push((tree.nodes[at].slot, path[..walked].to_owned()));
                }
                walked += 1;
            }
            tree.parents.push(parents);
        }
        tree
    }

    fn child_or_new(&mut self, parent: usize, name: &str) -> usize {
        if let Some(child) = self.child(parent, name.as_bytes()) {
            return child;
        }
        self.nodes.push(Node { name: name.to_owned(), slot: u16::MAX, children: Vec::new() });
        let child = self.nodes.len() - 1;
        self.nodes[parent].children.push(child);
        child
    }

    pub fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        self.nodes[parent].children.iter().copied().find(|&child| self.nodes[child].name.as_bytes() == name)
    }

    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// Fresh slots, one more than are read: the last takes what nobody reads.
    pub fn new_slots(&self) -> Vec<Slot> {
        vec![Slot::default(); self.slots + 1]
    }

    /// The slot that takes what nobody reads.
    pub fn sink(&self) -> u16 {
        self.slots as u16
    }
}

/// One record: slots over the buffer that they point into.
pub(crate) struct Record<'a> {
    pub tree: &'a Tree,
    pub slots: &'a [Slot],
    pub buf: &'a [u8],
}

impl Record<'_> {
    #[inline]
    fn at(&self, slot: usize) -> Value<'_> {
        let Slot { found, start, end } = self.slots[slot];
        let bytes = || &self.buf[start as usize..end as usize];
        match found {
            Found::Missing => Value::Missing,
            Found::Null => Value::Null,
            Found::True => Value::Bool(true),
            Found::False => Value::Bool(false),
            Found::Int => Value::Int(bytes()),
            Found::Number => Value::Number(bytes()),
            Found::Text => Value::Text(bytes()),
            Found::Escaped => Value::Escaped(bytes()),
            Found::Array => Value::Array(bytes()),
            Found::Object => Value::Object(bytes()),
        }
    }
}

impl Fields for Record<'_> {
    #[inline]
    fn value(&self, field: usize) -> Value<'_> {
        self.at(field)
    }

    fn blocked(&self, field: usize) -> Option<(&str, Value<'_>)> {
        for (slot, path) in &self.tree.parents[field] {
            match self.slots[*slot as usize].found {
                Found::Missing | Found::Null | Found::Object => {}
                _ => return Some((path, self.at(*slot as usize))),
            }
        }
        None
    }
}
