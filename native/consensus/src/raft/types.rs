//! What openraft is instantiated with, and who this node is.

use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use otlake_base::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::command::{Answer, Batch};

/// A node's number in Raft and Paxos: the hash of its name.
pub type NodeId = u64;

/// The number of the node of this name.
pub fn node_id(name: &str) -> NodeId {
    xxh3_64(name.as_bytes())
}

/// What the group knows of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// The id of its store. Under another one it has forgotten what it promised.
    #[serde(with = "crate::hex")]
    pub store: u128,
}

/// The answers to a batch, in the order of its proposals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers(pub Vec<Answer>);

openraft::declare_raft_types!(
    /// What openraft is instantiated with.
    pub Types:
        D = Batch,
        R = Answers,
        NodeId = NodeId,
        Node = Member,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, Member>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;
pub(crate) type StorageIoError = openraft::StorageIOError<NodeId>;
pub(crate) type RaftMetrics = openraft::RaftMetrics<NodeId, Member>;

/// Who this node is.
pub(crate) struct Identity {
    pub name: Arc<str>,
    pub id: NodeId,
    pub store: u128,
    /// The group, from when the node is in one; it is on disk before it is here.
    pub group: OnceLock<u128>,
}

impl Identity {
    /// The group's id, 0 where the node is in none.
    pub fn group(&self) -> u128 {
        self.group.get().copied().unwrap_or(0)
    }

    /// This node as a member.
    pub fn member(&self) -> Member {
        Member {
            name: Arc::clone(&self.name),
            store: self.store,
        }
    }

    /// As an error that a message is of another group or for another store.
    pub fn foreign(&self, group: u128, store: u128) -> Error {
        let message = if store != 0 && store != self.store {
            format!(
                "`{}` has a new store ({:032x}) and has forgotten what it promised under {store:032x}",
                self.name, self.store
            )
        } else {
            format!(
                "`{}` is of the group {:032x}, the message of {group:032x}",
                self.name,
                self.group()
            )
        };
        Error::new(Code::MetadataForeign, message)
    }
}

/// JSON of something of openraft's, for the store.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(Code::Internal, format!("it is no JSON: {error}")))
}

/// An error that tells why the group has no leader now, or none that this node knows.
pub(crate) fn unavailable(what: impl std::fmt::Display) -> Error {
    Error::new(Code::MetadataUnavailable, what)
}
