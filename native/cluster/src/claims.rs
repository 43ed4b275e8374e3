//! Records of a stream that is recovered, which clients may have sent again to other nodes meanwhile.
//!
//! A client that did not hear its acknowledgement from a node that died sends the request again, and
//! another node stores it. When the dead node's records are recovered, the same spans would be there
//! twice. So before a record is made readable, every node that is there is asked which of the
//! record's shards it has stored itself; those are left out. And each of them notes the record as
//! stored, so that a resend that comes later is told so (I3). A node that notes a record of one
//! position is asked again about the same position without harm: a recovery can begin anew.
//!
//! Until its stream is sealed a recovered record is not there for good: a node that takes the recovery
//! over begins anew, and may not find what nobody had acknowledged. A resend is refused for now until each
//! node sees in the metadata group what was kept.
//!
//! A record of which shards were left out is not the whole of what its position says any more: each node is told what is
//! left of it, and its stream's seal does not name it. Else the one for which it was left out could be left
//! out for it, when that one's stream is recovered later.
//!
//! What only a node's own log has, it appends anew once it is back. Until that is durable nobody may say
//! that it is stored, since no reader finds it, and nobody may store it a second time: it is reserved
//! first, and told as stored afterwards (`Stage`).
//!
//! ```text
//! question  signal:u8 stage:u8 stream:u128 sequence:u64 request:u128 shards (64 bytes)      little-endian
//! answer    shards that the node has stored itself (64 bytes)
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use otlake_base::{Code, Error, Position, Result, ShardSet, Signal, StreamId};
use otlake_consensus::state::StreamState;
use otlake_log::Record;
use otlake_peer::{Peers, Service};
use otlake_processor::{Processor, Stage};

use crate::registry::Register;
use crate::services::Wires;

/// The name of the service.
pub(crate) const CLAIM: &str = "claim";
/// How long a node may take: it waits for what it is storing at the moment.
const TIMEOUT: Duration = Duration::from_secs(6);
pub(crate) const QUESTION_BYTES: usize = 2 + 16 + 8 + 16 + ShardSet::BYTES;

/// What a record is of, to all nodes.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    signal: Signal,
    position: Position,
    request: u128,
    shards: ShardSet,
}

impl Claimed {
    pub(crate) fn of(position: Position, record: &Record) -> Claimed {
        let (request, shards) = Processor::content_of(&record.tenant, &record.payload);
        Claimed {
            signal: record.signal,
            position,
            request,
            shards,
        }
    }

    /// What is left of it without these shards.
    pub(crate) fn without(&self, known: &ShardSet) -> Claimed {
        Claimed {
            shards: self.shards.minus(known),
            ..*self
        }
    }
}

/// Every other node that may have stored something: those that are there, and those whose streams nobody has
/// fenced. A node that is only taken for dead can come back with what it stored, and without a
/// recovery that would hold it against this one.
pub(crate) fn who_stores(wires: &Wires, register: &Register) -> Vec<Arc<str>> {
    let own = &register.name;
    let there = wires.view.read().others(own);
    let state = register.group.local();
    let open = state.streams.values();
    let open = open.filter(|record| record.state == StreamState::Open && record.owner != *own);
    let nodes: BTreeSet<Arc<str>> = there
        .into_iter()
        .chain(open.map(|record| Arc::clone(&record.owner)))
        .collect();
    nodes.into_iter().collect()
}

/// Claims a record whose stream is recovered: gives the shards of it that are stored already, when every
/// node knows what is left of it.
///
/// # Errors
/// As `claim`.
pub(crate) async fn claim_rest(
    peers: &Peers,
    others: &[Arc<str>],
    processor: &Processor,
    claimed: &Claimed,
) -> Result<ShardSet> {
    let known = claim(peers, others, processor, claimed, Stage::Recovering).await?;
    if !known.is_empty() {
        let rest = claimed.without(&known);
        claim(peers, others, processor, &rest, Stage::Cut).await?;
    }
    Ok(known)
}

/// Asks every node, this one included, and gives the shards of the record that are stored already.
///
/// # Errors
/// Where a node of `others` does not answer: whether it has stored any is not known then.
pub(crate) async fn claim(
    peers: &Peers,
    others: &[Arc<str>],
    processor: &Processor,
    claimed: &Claimed,
    stage: Stage,
) -> Result<ShardSet> {
    let Claimed {
        signal,
        request,
        shards,
        ..
    } = *claimed;
    let at = (claimed.position, stage);
    let own = processor.claim_recovered(signal, at, request, shards);
    let question = question(signal, at, request, &shards);
    let asked = others.iter().map(|node| {
        let question = question.clone();
        async move {
            let answer = peers.call(node, CLAIM, question, TIMEOUT).await?;
            let shards = answer.first_chunk().ok_or_else(malformed)?;
            Ok::<_, Error>(ShardSet::from_bytes(shards))
        }
    });
    let (own, asked) = futures::future::try_join(own, try_join_all(asked)).await?;
    Ok(asked.iter().fold(own, |known, more| known.either(more)))
}

pub(crate) fn question(
    signal: Signal,
    (position, stage): (Position, Stage),
    request: u128,
    shards: &ShardSet,
) -> Bytes {
    let mut bytes = Vec::with_capacity(QUESTION_BYTES);
    bytes.push(signal as u8);
    bytes.push(stage as u8);
    bytes.extend_from_slice(&position.stream.0.to_le_bytes());
    bytes.extend_from_slice(&position.sequence.to_le_bytes());
    bytes.extend_from_slice(&request.to_le_bytes());
    bytes.extend_from_slice(&shards.to_bytes());
    bytes.into()
}

/// Answers other nodes.
pub(crate) struct Claims(pub(crate) Weak<Processor>);

#[async_trait]
impl Service for Claims {
    async fn call(&self, _: Arc<str>, request: Bytes) -> Result<Bytes> {
        let (signal, record, request, shards) = read(&request).ok_or_else(malformed)?;
        let processor = self.0.upgrade();
        let processor =
            processor.ok_or_else(|| Error::new(Code::NodeState, "the node is stopping"))?;
        let known = processor
            .claim_recovered(signal, record, request, shards)
            .await?;
        Ok(Bytes::copy_from_slice(&known.to_bytes()))
    }
}

pub(crate) fn read(question: &[u8]) -> Option<(Signal, (Position, Stage), u128, ShardSet)> {
    let question: &[u8; QUESTION_BYTES] = question.try_into().ok()?;
    let stage = Stage::from_u8(question[1])?;
    let mut rest = &question[2..];
    let stream = StreamId(u128::from_le_bytes(*rest.split_off(..16)?.first_chunk()?));
    let sequence = u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?);
    let request = u128::from_le_bytes(*rest.split_off(..16)?.first_chunk()?);
    let shards = ShardSet::from_bytes(rest.first_chunk()?);
    let position = Position { stream, sequence };
    let signal = Signal::from_u8(question[0])?;
    Some((signal, (position, stage), request, shards))
}

fn malformed() -> Error {
    let what = "a question or an answer about a recovered record";
    Error::new(Code::ClusterMessage, what)
}
