//! openraft's requests to other nodes, through the wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use otlake_base::Result;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::raft::types::{Identity, LogId, Member, NodeId, SnapshotMeta, Types, Vote};
use crate::wire::{self, RAFT, Wire};

/// openraft's `AppendEntries`.
pub(crate) const APPEND: u8 = 1;
/// openraft's `RequestVote`.
pub(crate) const VOTE: u8 = 2;
/// A piece of a snapshot.
pub(crate) const SNAPSHOT: u8 = 3;
/// Proposals, for the leader.
pub(crate) const PROPOSE: u8 = 4;
/// The index that a linearizable read must wait for, from the leader.
pub(crate) const READ: u8 = 5;
/// Whether the receiver would vote for the sender.
pub(crate) const ASK: u8 = 6;
/// Who the receiver is.
pub(crate) const HELLO: u8 = 7;
/// Proposals, for the leader that the receiver knows.
pub(crate) const RELAY: u8 = 8;

/// The pauses between attempts to reach a node that cannot be reached, in milliseconds.
const BACKOFF_MS: [u64; 4] = [25, 50, 100, 200];

/// A piece of a snapshot without its bytes, which are the request's body.
#[derive(Serialize, Deserialize)]
pub(crate) struct Piece {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub done: bool,
}

/// Asks whether the receiver would vote for the sender.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ask {
    pub last: Option<LogId>,
}

/// The answer to it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Asked {
    /// It has heard of no leader lately, and has nothing in its log that the sender lacks.
    pub would: bool,
    /// It leads, and a majority follows.
    pub leads: bool,
}

/// Who a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub name: Arc<str>,
    #[serde(with = "crate::hex")]
    pub store: u128,
    /// 0 where it is in no group.
    #[serde(with = "crate::hex")]
    pub group: u128,
}

/// The way to the group's members.
pub(crate) struct Link {
    pub identity: Arc<Identity>,
    pub wire: Arc<dyn Wire>,
    /// Why members could not be reached last, by name; those that were reached are not here.
    pub faults: Mutex<BTreeMap<Arc<str>, String>>,
}

impl Link {
    /// Sends a request to a member and returns its answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        to: &Member,
        kind: u8,
        head: &impl Serialize,
        body: &[u8],
        timeout: Duration,
    ) -> Result<T> {
        let request = wire::request(kind, self.identity.group(), to.store, head, body)?;
        let result = match self.wire.call(&to.name, RAFT, request, timeout).await {
            Ok(bytes) => wire::answered(&bytes),
            Err(error) => Err(error),
        };
        let mut faults = self.faults.lock();
        match &result {
            Ok(_) => {
                faults.remove(&to.name);
            }
            Err(error) => {
                faults.insert(Arc::clone(&to.name), error.to_string());
            }
        }
        result
    }
}

/// Makes what sends to one member.
#[derive(Clone)]
pub(crate) struct Network(pub Arc<Link>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Target;

    async fn new_client(&mut self, id: NodeId, node: &Member) -> Target {
        Target {
            id,
            member: node.clone(),
            link: Arc::clone(&self.0),
        }
    }
}

/// Sends to one member.
pub(crate) struct Target {
    id: NodeId,
    member: Member,
    link: Arc<Link>,
}

type Failed<E = openraft::error::Infallible> = RPCError<NodeId, Member, RaftError<NodeId, E>>;

fn unreachable<E: std::error::Error>(error: &otlake_base::Error) -> Failed<E> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetwork<Types> for Target {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failed> {
        self.link
            .call(&self.member, APPEND, &rpc, &[], option.hard_ttl())
            .await
            .map_err(|error| unreachable(&error))
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failed<InstallSnapshotError>> {
        let piece = Piece {
            vote: rpc.vote,
            meta: rpc.meta,
            offset: rpc.offset,
            done: rpc.done,
        };
        let answer: Result<InstallSnapshotResponse<NodeId>, InstallSnapshotError> = self
            .link
            .call(&self.member, SNAPSHOT, &piece, &rpc.data, option.hard_ttl())
            .await
            .map_err(|error| unreachable(&error))?;
        answer.map_err(|error| {
            RPCError::RemoteError(RemoteError::new(self.id, RaftError::APIError(error)))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failed> {
        self.link
            .call(&self.member, VOTE, &rpc, &[], option.hard_ttl())
            .await
            .map_err(|error| unreachable(&error))
    }

    fn backoff(&self) -> Backoff {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        let pauses = BACKOFF_MS.into_iter().chain(std::iter::repeat(last));
        Backoff::new(pauses.map(Duration::from_millis))
    }
}
