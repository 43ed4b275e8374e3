//! Others' requests to this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use otlake_base::{Code, Error, Result};

use crate::command::{Answer, Proposal};
use crate::core::Core;
use crate::limits::{ATTEMPT, LEADER_STALL, MAX_BATCH, MAX_SNAPSHOT_BYTES};
use crate::raft::network::{
    APPEND, ASK, Ask, Asked, HELLO, Hello, PROPOSE, Piece, READ, RELAY, SNAPSHOT, VOTE,
};
use crate::raft::types::{NodeId, Types, unavailable};
use crate::store::Change;
use crate::wire::{self, Handler, Request};

/// Answers the requests of the service `raft`.
pub(crate) struct RaftService(pub Arc<Core>);

#[async_trait]
impl Handler for RaftService {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        match self.answer(&from, &request).await {
            Ok(answer) => Ok(answer),
            Err(error) => wire::answer(Err::<(), Error>(error)),
        }
    }
}

impl RaftService {
    async fn answer(&self, from: &Arc<str>, bytes: &Bytes) -> Result<Bytes> {
        let request = wire::open(bytes)?;
        if request.kind == HELLO {
            let identity = &self.0.identity;
            return wire::answer(Ok(Hello {
                name: Arc::clone(&identity.name),
                store: identity.store,
                group: identity.group(),
            }));
        }
        self.admit(from, &request).await?;
        match request.kind {
            APPEND => self.append(&request).await,
            VOTE => self.vote(&request).await,
            SNAPSHOT => self.snapshot(request).await,
            PROPOSE => wire::answer(self.0.lead.propose(proposals(&request)?).await),
            RELAY => wire::answer(self.relay(proposals(&request)?).await),
            READ => wire::answer(self.0.lead.read_index().await),
            ASK => {
                let ask: Ask = wire::parse(request.head)?;
                wire::answer(Ok(self.asked(&ask)))
            }
            kind => Err(Error::new(
                Code::MetadataVersion,
                format!("a message has the unknown kind {kind}"),
            )),
        }
    }

    /// Refuses what is of another group or for a store that is lost. A node without a group takes
    /// that of the leader that adds it.
    async fn admit(&self, from: &str, request: &Request<'_>) -> Result<()> {
        let identity = &self.0.identity;
        let foreign = || {
            self.0.metrics.metadata.foreign.inc();
            let error = identity.foreign(request.group, request.store);
            tracing::warn!(target: "otlake::metadata", from, %error, "a message was refused");
            error
        };
        if request.store != 0 && request.store != identity.store {
            return Err(foreign());
        }
        match identity.group.get() {
            Some(group) if *group == request.group => Ok(()),
            Some(_) => Err(foreign()),
            None if request.group == 0 => Err(unavailable(format!(
                "`{}` is in no metadata group yet",
                identity.name
            ))),
            // Only who names this store as a member's means this node.
            None if request.store == 0 || !matches!(request.kind, APPEND | SNAPSHOT) => {
                Err(unavailable(format!(
                    "`{}` was not added to a metadata group yet",
                    identity.name
                )))
            }
            None => self.0.adopt(request.group).await,
        }
    }

    async fn append(&self, request: &Request<'_>) -> Result<Bytes> {
        let rpc: AppendEntriesRequest<Types> = wire::parse(request.head)?;
        let vote = rpc.vote;
        let result = self.0.raft.append_entries(rpc).await.map_err(stopped);
        if result.as_ref().is_ok_and(|answer| {
            !matches!(answer, openraft::raft::AppendEntriesResponse::HigherVote(_))
        }) {
            self.0.heard(&vote);
        }
        wire::answer(result)
    }

    async fn vote(&self, request: &Request<'_>) -> Result<Bytes> {
        let rpc: VoteRequest<NodeId> = wire::parse(request.head)?;
        let result = self.0.raft.vote(rpc).await.map_err(stopped);
        if result.as_ref().is_ok_and(|answer| answer.vote_granted) {
            // Who was given the vote has the time of an election to use it.
            self.0.heard_ms.store(self.0.now_ms(), Ordering::Release);
        }
        wire::answer(result)
    }

    async fn snapshot(&self, request: Request<'_>) -> Result<Bytes> {
        let piece: Piece = wire::parse(request.head)?;
        let end = piece.offset.saturating_add(request.body.len() as u64);
        if end > MAX_SNAPSHOT_BYTES as u64 {
            return Err(Error::new(
                Code::MetadataFull,
                format!("a snapshot has more than {MAX_SNAPSHOT_BYTES} bytes"),
            ));
        }
        let vote = piece.vote;
        let rpc = InstallSnapshotRequest::<Types> {
            vote,
            meta: piece.meta,
            offset: piece.offset,
            data: request.body.to_vec(),
            done: piece.done,
        };
        let answer = match self.0.raft.install_snapshot(rpc).await {
            Ok(answer) => {
                self.0.heard(&vote);
                Ok(answer)
            }
            Err(RaftError::APIError(error)) => Err::<_, InstallSnapshotError>(error),
            Err(RaftError::Fatal(error)) => return Err(self.0.stopped(&error)),
        };
        wire::answer(Ok(answer))
    }

    /// Hands proposals on, once: from a member that does not reach the leader.
    async fn relay(&self, proposals: Vec<Proposal>) -> Result<Vec<Answer>> {
        let leader = self.0.leader();
        let leader =
            leader.ok_or_else(|| unavailable("no leader of the metadata group is known"))?;
        if leader.name == self.0.identity.name {
            return self.0.lead.propose(proposals).await;
        }
        let link = &self.0.link;
        link.call(&leader, PROPOSE, &proposals, &[], ATTEMPT).await
    }

    fn asked(&self, ask: &Ask) -> Asked {
        let core = &self.0;
        let leads = core.leads();
        let stalled = core.writer.stalled_ms();
        // openraft waits for its disk and sends nothing meanwhile: a leader that is only slow is to
        // stay one, for a while.
        let followed =
            core.followed() || (1..=LEADER_STALL.as_millis()).contains(&u128::from(stalled));
        let silent = core.silent_ms() >= core.timing.hold_ms();
        Asked {
            would: !leads && silent && ask.last >= core.log.last(),
            leads: leads && followed,
        }
    }
}

fn proposals(request: &Request<'_>) -> Result<Vec<Proposal>> {
    let proposals: Vec<Proposal> = wire::parse(request.head)?;
    if proposals.len() > MAX_BATCH {
        return Err(Error::new(
            Code::MetadataFull,
            format!("a message has more than {MAX_BATCH} proposals"),
        ));
    }
    for proposal in &proposals {
        proposal.command.check()?;
    }
    Ok(proposals)
}

impl Core {
    /// Makes the group of who sent a message this node's, on disk first.
    pub(crate) async fn adopt(&self, group: u128) -> Result<()> {
        let change = Change::Set("group", group.to_le_bytes().to_vec());
        self.writer.commit(vec![change], true).await?;
        let adopted = *self.identity.group.get_or_init(|| group);
        if adopted != group {
            return Err(self.identity.foreign(group, 0));
        }
        Ok(())
    }
}

fn stopped(error: RaftError<NodeId>) -> Error {
    unavailable(format!(
        "this node's part of the metadata group stopped: {error}"
    ))
}
