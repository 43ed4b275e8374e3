//! Whether a stream's owner is gone, before it is taken over.
//!
//! A node that was cut off takes all others for dead. What it wants to have fenced then waits for the
//! metadata group, which is there again when the network is, and so before the node has heard that the
//! others live: it would take over the streams of nodes that are well. So the owner itself is asked
//! first, and where it does not answer, everybody who does: a stream that any of them knows to be written is
//! left alone, for as long as it takes until the members agree. A node that answers and is taken for dead by
//! all others for longer than that has a control plane that stands still, and is taken over.
//!
//! ```text
//! question  stream:u128 owner                                                        little-endian
//! answer    heard:u8
//! ```

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use otlake_base::{Clock, Code, Error, Result, StreamId};
use otlake_peer::Service;
use otlake_processor::Processor;
use parking_lot::RwLock;

use crate::services::Wires;
use crate::view::ClusterView;

/// The name of the service.
pub(crate) const PRESENCE: &str = "presence";
/// How long a node may take to answer: it looks at what it knows.
const TIMEOUT: Duration = Duration::from_millis(300);
/// How often they are asked again while one of them hears the owner.
const LOOK: Duration = Duration::from_millis(100);
/// How long nodes may differ about whether a member lives.
const AGREE: Duration = Duration::from_secs(10);
const STREAM_BYTES: usize = 16;

/// What nodes say of an owner.
struct Said {
    /// The owner itself, of the stream; none where it says nothing.
    owner: Option<bool>,
    /// The others that say anything: whether they hear it.
    others: Vec<bool>,
}

impl Said {
    /// Whether somebody knows the stream to be written.
    fn is_heard(&self) -> bool {
        let anybody = || self.others.contains(&true);
        self.owner.unwrap_or_else(anybody)
    }

    /// Whether the owner alone says so, and `others` nodes beside it could.
    fn is_alone(&self, others: usize) -> bool {
        let has_others = others == 0 || !self.others.is_empty();
        has_others && !self.others.contains(&true)
    }
}

/// Waits until nobody hears the owner of a stream; `own` is the node that wants to take it over.
///
/// # Errors
/// `CLUSTER_FENCED` where the owner is there after all, `PEER_UNREACHABLE` where nobody can be asked.
pub(crate) async fn gone(
    wires: &Wires,
    clock: &dyn Clock,
    own: &str,
    (stream, owner): (StreamId, &Arc<str>),
) -> Result<()> {
    if **owner == *own {
        return Ok(());
    }
    let began = clock.monotonic();
    loop {
        let members = wires.view.read().members.clone();
        let members = members.into_iter().map(|member| member.name);
        let members: Vec<Arc<str>> = members.filter(|name| **name != *own).collect();
        let others = members.iter().filter(|name| *name != owner).count();
        let said = ask(wires, &members, stream, owner).await;
        if !said.is_heard() {
            if others > 0 && said.owner.is_none() && said.others.is_empty() {
                let what = "no other node says whether the stream's owner is there";
                return Err(Error::new(Code::PeerUnreachable, what));
            }
            return Ok(());
        }
        let is_late = clock.monotonic().saturating_sub(began) > AGREE;
        if is_late && said.is_alone(others) {
            tracing::warn!(
                target: "otlake::cluster", %stream, owner = &**owner,
                "a node answers, and no member hears it: its stream is taken over"
            );
            return Ok(());
        }
        if is_late || wires.view.read().others(own).contains(owner) {
            let what = format!("node `{owner}` is there, and writes stream {stream}");
            return Err(Error::new(Code::ClusterFenced, what));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(wires: &Wires, members: &[Arc<str>], stream: StreamId, owner: &Arc<str>) -> Said {
    let mut question = stream.0.to_le_bytes().to_vec();
    question.extend_from_slice(owner.as_bytes());
    let question = Bytes::from(question);
    let answers = members.iter().map(|member| {
        let question = question.clone();
        async move {
            let answer = wires.peers.call(member, PRESENCE, question, TIMEOUT).await;
            let answer = answer.ok().and_then(|answer| answer.first().copied());
            (member, answer.map(|heard| heard != 0))
        }
    });
    let (mut said, answers) = (
        Said {
            owner: None,
            others: Vec::new(),
        },
        join_all(answers).await,
    );
    for (member, answer) in answers {
        match member == owner {
            true => said.owner = answer,
            false => said.others.extend(answer),
        }
    }
    said
}

/// Answers other nodes.
pub(crate) struct Presence {
    pub(crate) name: Arc<str>,
    pub(crate) view: Arc<RwLock<Arc<ClusterView>>>,
    pub(crate) processor: Weak<Processor>,
}

#[async_trait]
impl Service for Presence {
    async fn call(&self, _: Arc<str>, question: Bytes) -> Result<Bytes> {
        let malformed = || Error::new(Code::ClusterMessage, "a question about a stream's owner");
        let (stream, owner) = question
            .split_first_chunk::<STREAM_BYTES>()
            .ok_or_else(malformed)?;
        let stream = StreamId(u128::from_le_bytes(*stream));
        let owner = std::str::from_utf8(owner).map_err(|_| malformed())?;
        let is_heard = match *owner == *self.name {
            true => {
                let processor = self.processor.upgrade();
                processor.is_some_and(|processor| processor.session().stream == stream)
            }
            false => {
                let others = self.view.read().others(&self.name);
                others.iter().any(|other| **other == *owner)
            }
        };
        Ok(Bytes::copy_from_slice(&[u8::from(is_heard)]))
    }
}
