//! Who owns which shard, as TypeScript decided it.

use std::collections::HashMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Result, Signal};

use crate::shard::{SHARDS, hash, shard_of_hash};
use crate::wire::{Cursor, Malformed};

/// Nodes of one cluster.
pub const MAX_NODES: usize = 1024;
/// Placement rules of one cluster.
pub const MAX_RULES: usize = 256;

/// A node, by its place in `Owners::names`; the local node is 0.
pub type OwnerIndex = u16;

/// The local node.
pub const LOCAL: OwnerIndex = 0;

/// Pins what carries an attribute's value to some nodes.
#[derive(Clone, Debug)]
pub struct PlacementRule {
    /// An attribute of the resource, such as `service.name`.
    pub attribute: String,
    /// Its value, a text.
    pub value: String,
    /// The nodes, by name; those that are not there are passed over.
    pub nodes: Vec<Arc<str>>,
}

/// By shard, who owns it, for each signal.
type Table = [Box<[OwnerIndex]>; 3];

struct Pinned {
    attribute: Box<[u8]>,
    value: Box<[u8]>,
    /// None where none of its nodes is there: what fits the rule is placed like all else.
    table: Option<Table>,
}

/// Who owns what: an immutable value, made anew at each change of the cluster.
pub struct Owners {
    names: Vec<Arc<str>>,
    table: Table,
    rules: Vec<Pinned>,
}

/// Which of the tables a resource's records are placed by.
#[derive(Clone, Copy, PartialEq)]
pub struct Placing(Option<usize>);

impl Owners {
    /// Who owns what in the eyes of the node `local`: the owner of each shard of traces, metrics
    /// and logs by name, and rules that come before it, the first that fits. `present` are the
    /// nodes that a rule may place records at.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for another number of shards than `SHARDS`, or more nodes or rules than
    /// `MAX_NODES` and `MAX_RULES`.
    pub fn new(
        local: Arc<str>,
        shards: [Vec<Arc<str>>; 3],
        rules: &[PlacementRule],
        present: &[Arc<str>],
    ) -> Result<Owners> {
        for (shards, wanted) in shards.iter().zip(SHARDS) {
            if shards.len() != wanted {
                let given = shards.len();
                let message = format!("owners are given for {given} shards of {wanted}");
                return Err(Error::new(Code::ConfigInvalid, message));
            }
        }
        if rules.len() > MAX_RULES {
            let message = format!("{} placement rules, of {MAX_RULES} at most", rules.len());
            return Err(Error::new(Code::ConfigInvalid, message));
        }
        let mut names = Names::new(local);
        let mut table = Vec::with_capacity(3);
        for shards in &shards {
            let owners: Result<Box<[_]>> = shards.iter().map(|name| names.index(name)).collect();
            table.push(owners?);
        }
        let mut pinned = Vec::with_capacity(rules.len());
        for rule in rules {
            let nodes: Vec<&Arc<str>> = rule
                .nodes
                .iter()
                .filter(|node| present.contains(node))
                .collect();
            pinned.push(Pinned {
                attribute: rule.attribute.as_bytes().into(),
                value: rule.value.as_bytes().into(),
                table: match nodes.is_empty() {
                    true => None,
                    false => Some(spread(&nodes, &mut names)?),
                },
            });
        }
        Ok(Owners {
            names: names.names,
            table: table.try_into().expect("there are three signals"),
            rules: pinned,
        })
    }

    /// The node with this index.
    pub fn name(&self, owner: OwnerIndex) -> &Arc<str> {
        &self.names[usize::from(owner)]
    }

    /// Every node that owns something, and the local one first.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether all is the local node's.
    pub fn is_alone(&self) -> bool {
        self.names.len() == 1
    }

    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// How records of a resource without a rule are placed.
    pub(crate) const USUAL: Placing = Placing(None);

    /// How records of a resource are placed: `placing` as the parts of the resource before this one
    /// had it. The first rule that fits counts.
    pub(crate) fn placing(&self, resource: &[u8], placing: Placing) -> Result<Placing, Malformed> {
        let mut first = placing.0.unwrap_or(self.rules.len());
        let mut fields = Cursor::new(resource);
        while let Some(field) = fields.field()? {
            let Some(attribute) = field.message(1) else {
                continue;
            };
            let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
            let mut parts = Cursor::new(attribute);
            while let Some(part) = parts.field()? {
                if let Some(text) = part.message(1) {
                    key = text;
                } else if let Some(any) = part.message(2) {
                    value = text_of(any)?;
                }
            }
            let rules = self.rules[..first].iter();
            let fits = |rule: &Pinned| *rule.attribute == *key && *rule.value == *value;
            first = rules.clone().position(fits).unwrap_or(first);
        }
        Ok(Placing((first < self.rules.len()).then_some(first)))
    }

    /// The owner of a key with this hash.
    #[inline]
    pub(crate) fn owner(&self, signal: Signal, hash: u64, placing: Placing) -> OwnerIndex {
        let rule = placing.0.and_then(|rule| self.rules[rule].table.as_ref());
        let table = rule.unwrap_or(&self.table);
        table[signal.index()][shard_of_hash(signal, hash)]
    }
}

/// The text of an `AnyValue`; empty where it is something else.
fn text_of(any: &[u8]) -> Result<&[u8], Malformed> {
    let mut text: &[u8] = b"";
    let mut fields = Cursor::new(any);
    while let Some(field) = fields.field()? {
        text = field.message(1).unwrap_or(b"");
    }
    Ok(text)
}

/// Shards over the nodes of a rule, by the highest hash of node and shard (rendezvous hashing,
/// Thaler and Ravishankar, 1998): a node that goes moves its own shards alone.
fn spread(nodes: &[&Arc<str>], names: &mut Names) -> Result<Table> {
    let mut table = Vec::with_capacity(3);
    for (signal, shards) in SHARDS.into_iter().enumerate() {
        let mut owners = Vec::with_capacity(shards);
        for shard in 0..shards {
            let seed = (signal * MAX_NODES + shard) as u64;
            let best = nodes
                .iter()
                .max_by_key(|node| (hash(node.as_bytes(), seed), **node));
            let best = best.expect("a rule without nodes has no table");
            owners.push(names.index(best)?);
        }
        table.push(owners.into_boxed_slice());
    }
    Ok(table.try_into().expect("there are three signals"))
}

/// Gives each name its index, in the order of their coming.
struct Names {
    names: Vec<Arc<str>>,
    indexes: HashMap<Arc<str>, OwnerIndex>,
}

impl Names {
    fn new(local: Arc<str>) -> Names {
        Names {
            indexes: HashMap::from([(local.clone(), LOCAL)]),
            names: vec![local],
        }
    }

    fn index(&mut self, name: &Arc<str>) -> Result<OwnerIndex> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        if self.names.len() >= MAX_NODES {
            let message = format!("a cluster has at most {MAX_NODES} nodes");
            return Err(Error::new(Code::ConfigInvalid, message));
        }
        let index = self.names.len() as OwnerIndex;
        self.names.push(name.clone());
        self.indexes.insert(name.clone(), index);
        Ok(index)
    }
}
