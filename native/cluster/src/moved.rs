//! Shards that have come to this node a short while ago (I3).
//!
//! A client that did not hear the answer of a shard's owner sends its request again. When the shard has
//! moved meanwhile, the new owner asks the one before whether it has stored the request, and where
//! that one is not reached, everybody: those that held its copies know. What is asked costs a way there and
//! back, and only as long as a request can still come that was sent before the move. Nobody is waited for
//! who is not reached: what is not in files of its stream is held against what was stored anew
//! when that is recovered. An earlier owner that is only slow is: the request has to come again.
//!
//! Two nodes may take themselves for a shard's owner for a moment, and ask each other about the same resend at
//! the same time: neither has stored it. So each holds a place for what it asks about and stores (`places`).
//! Of two that ask, the one whose name comes first goes on; the other has its client come again.
//!
//! ```text
//! question  signal:u8 request:u128 shards (64 bytes)                                   little-endian
//! answer    those of them that are stored (64 bytes) stream:u128 sequence:u64
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use otlake_base::{Clock, Code, Error, Position, Result, ShardSet, Signal, StreamId};
use otlake_decode::slice::Slice;
use otlake_peer::{Peers, Service};
use otlake_processor::Processor;
use parking_lot::Mutex;

use crate::places::{Place, Places};
use crate::view::ClusterView;

/// The name of the service.
pub(crate) const STORED: &str = "stored";
/// How long a request may be under way to a shard's earlier owner and come here after that.
const HORIZON: Duration = Duration::from_secs(60);
/// How long a node may take: it waits for what it is storing at the moment.
const TIMEOUT: Duration = Duration::from_secs(1);
const QUESTION_BYTES: usize = 1 + 16 + ShardSet::BYTES;
const ANSWER_BYTES: usize = ShardSet::BYTES + 16 + 8;

/// What others have stored of a part of a request.
#[derive(Default)]
pub(crate) struct Elsewhere {
    /// These of its shards.
    pub(crate) shards: ShardSet,
    /// Positions that cover them, as a session token.
    pub(crate) session: String,
    /// Held until the rest is stored; none where nobody was asked.
    _place: Option<Place>,
}

/// Asks for what moved.
pub(crate) struct Moved {
    name: Arc<str>,
    /// Whom it asks: they offer what this is a part of, and so are not held.
    peers: OnceLock<Weak<Peers>>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct State {
    view: Arc<ClusterView>,
    /// By signal and shard: who had it a short while ago.
    earlier: [Vec<Vec<Earlier>>; 3],
    /// By signal: from then on that is nobody's business any more.
    settled_at: [Duration; 3],
    /// By signal: this node's shards, and those of nodes that are not reached.
    own: [ShardSet; 3],
    unreached: [ShardSet; 3],
}

#[derive(Clone)]
struct Earlier {
    /// None where that is not known.
    owner: Option<Arc<str>>,
    until: Duration,
}

/// Who is asked about a part of a request.
#[derive(Default)]
struct Knowing {
    /// Earlier owners of its shards.
    owners: BTreeSet<Arc<str>>,
    /// They, and where some are not known or not reached all others.
    nodes: BTreeSet<Arc<str>>,
}

impl Earlier {
    fn counts(&self, now: Duration) -> bool {
        now < self.until.saturating_add(HORIZON)
    }
}

impl Moved {
    /// Of the node `name`; nobody is asked before `over`.
    pub(crate) fn new(name: Arc<str>, clock: Arc<dyn Clock>) -> Moved {
        Moved {
            name,
            peers: OnceLock::new(),
            clock,
            state: Mutex::default(),
            places: Arc::default(),
        }
    }

    /// Whom it asks from now on. Only the first call of this counts.
    pub(crate) fn over(&self, peers: &Arc<Peers>) {
        let _ = self.peers.set(Arc::downgrade(peers));
    }

    /// Where everything belongs from now on.
    pub(crate) fn place(&self, view: &Arc<ClusterView>) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        let state = &mut *state;
        let before = std::mem::replace(&mut state.view, Arc::clone(view));
        let others = view.others(&self.name);
        for signal in Signal::ALL {
            let (old, new) = (&before.owners[signal.index()], &view.owners[signal.index()]);
            let earlier = &mut state.earlier[signal.index()];
            earlier.resize(new.len(), Vec::new());
            let shards_of = |is_so: &dyn Fn(&Arc<str>) -> bool| -> ShardSet {
                let shards = new.iter().enumerate().filter(|(_, owner)| is_so(owner));
                shards.map(|(shard, _)| shard).collect()
            };
            state.own[signal.index()] = shards_of(&|owner| *owner == self.name);
            state.unreached[signal.index()] =
                shards_of(&|owner| *owner != self.name && !others.contains(owner));
            for (shard, owner) in new.iter().enumerate() {
                let before = old.get(shard);
                if before == Some(owner) {
                    continue;
                }
                state.settled_at[signal.index()] = now.saturating_add(HORIZON);
                let earlier = &mut earlier[shard];
                earlier.retain(|each| each.counts(now) && each.owner.as_ref() != before);
                earlier.push(Earlier {
                    owner: before.cloned(),
                    until: now,
                });
            }
        }
    }

    /// Whether anybody is asked about any shard of the signal.
    pub(crate) fn asks(&self, signal: Signal) -> bool {
        !self.who_knows(signal, &ShardSet::ALL).nodes.is_empty()
    }

    /// Which of these shards others have stored of the request, where they have moved here.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED`, `PEER_TIMEOUT`, `PEER_OVERLOADED` where one of them does not say yet.
    pub(crate) async fn stored(&self, signal: Signal, mark: &Slice) -> Result<Elsewhere> {
        let Knowing { owners, nodes } = self.who_knows(signal, &mark.shards);
        let peers = self.peers.get().and_then(Weak::upgrade);
        let Some(peers) = peers.filter(|_| !nodes.is_empty()) else {
            return Ok(Elsewhere::default());
        };
        let place = Places::take(&self.places, signal, mark);
        let mut question = Vec::with_capacity(QUESTION_BYTES);
        question.push(signal as u8);
        question.extend_from_slice(&mark.request.to_le_bytes());
        question.extend_from_slice(&mark.shards.to_bytes());
        let question = Bytes::from(question);
        let ask = |nodes: Vec<Arc<str>>| {
            join_all(nodes.into_iter().map(|node| {
                let (peers, question) = (&peers, question.clone());
                async move {
                    let answer = peers.call(&node, STORED, question, TIMEOUT).await;
                    (node, answer.and_then(|answer| answered(&answer)))
                }
            }))
        };
        let mut answers = ask(nodes.iter().cloned().collect()).await;
        if answers.iter().any(|(_, answer)| answer.is_err()) {
            let others = self.state.lock().view.others(&self.name);
            let rest = others.into_iter().filter(|other| !nodes.contains(other));
            answers.extend(ask(rest.collect()).await);
        }
        let mut elsewhere = Elsewhere::default();
        let mut unsaid = None;
        for (node, answer) in answers {
            let (shards, position) = match answer {
                Ok(answer) => answer,
                Err(error) if will_say(&error, owners.contains(&node)) => {
                    unsaid = Some(error);
                    continue;
                }
                Err(error) => {
                    tracing::debug!(
                        target: "otlake::cluster", %error, "a node does not say what it has stored"
                    );
                    continue;
                }
            };
            let shards = shards.both(&mark.shards);
            if shards.is_empty() {
                continue;
            }
            elsewhere.shards = elsewhere.shards.either(&shards);
            if !elsewhere.session.is_empty() {
                elsewhere.session.push(',');
            }
            elsewhere.session.push_str(&position.to_string());
        }
        if let Some(error) = unsaid.filter(|_| elsewhere.shards != mark.shards) {
            return Err(error);
        }
        place.keep()?;
        elsewhere._place = Some(place);
        Ok(elsewhere)
    }

    /// The nodes that may have stored these shards a short while ago.
    fn who_knows(&self, signal: Signal, shards: &ShardSet) -> Knowing {
        let now = self.clock.monotonic();
        let state = self.state.lock();
        // A request that was not split holds nothing of those that are reached.
        let (own, unreached) = (state.own[signal.index()], state.unreached[signal.index()]);
        let (shards, foreign) = match *shards == ShardSet::ALL {
            true => (own.either(&unreached), unreached),
            false => (*shards, shards.minus(&own)),
        };
        // What comes here in another's place came there before.
        let mut is_unknown = !foreign.is_empty();
        if !is_unknown && now >= state.settled_at[signal.index()] {
            return Knowing::default();
        }
        let others = state.view.others(&self.name);
        let mut earlier_owners = BTreeSet::new();
        for (shard, earlier) in state.earlier[signal.index()].iter().enumerate() {
            if !shards.contains(shard) {
                continue;
            }
            for each in earlier.iter().filter(|each| each.counts(now)) {
                match &each.owner {
                    Some(owner) if *owner == self.name => {}
                    Some(owner) if others.contains(owner) => {
                        earlier_owners.insert(Arc::clone(owner));
                    }
                    _ => is_unknown = true,
                }
            }
        }
        let mut nodes = earlier_owners.clone();
        if is_unknown {
            nodes.extend(others);
        }
        Knowing {
            owners: earlier_owners,
            nodes,
        }
    }
}

/// Whether it is worth while to ask the node again: it said so itself, or it is slow and had the shard.
fn will_say(error: &Error, is_owner: bool) -> bool {
    match error.code {
        Code::IngestOverloaded => true,
        Code::PeerTimeout | Code::PeerOverloaded => is_owner,
        _ => false,
    }
}

fn answered(answer: &[u8]) -> Result<(ShardSet, Position)> {
    let malformed = || Error::new(Code::ClusterMessage, "an answer about a stored request");
    let answer: &[u8; ANSWER_BYTES] = answer.try_into().map_err(|_| malformed())?;
    let mut rest = &answer[..];
    let mut take = |bytes: usize| rest.split_off(..bytes).ok_or_else(malformed);
    let shards = take(ShardSet::BYTES)?.first_chunk().ok_or_else(malformed)?;
    let shards = ShardSet::from_bytes(shards);
    let stream = take(16)?.first_chunk().ok_or_else(malformed)?;
    let sequence = take(8)?.first_chunk().ok_or_else(malformed)?;
    let position = Position {
        stream: StreamId(u128::from_le_bytes(*stream)),
        sequence: u64::from_le_bytes(*sequence),
    };
    Ok((shards, position))
}

/// Answers other nodes.
pub(crate) struct Stored {
    pub(crate) processor: Weak<Processor>,
    pub(crate) moved: Arc<Moved>,
}

#[async_trait]
impl Service for Stored {
    async fn call(&self, from: Arc<str>, question: Bytes) -> Result<Bytes> {
        let malformed = || Error::new(Code::ClusterMessage, "a question about a stored request");
        let question: &[u8; QUESTION_BYTES] =
            (&question[..]).try_into().map_err(|_| malformed())?;
        let signal = Signal::from_u8(question[0]).ok_or_else(malformed)?;
        let (request, shards) = question[1..].split_first_chunk().ok_or_else(malformed)?;
        let shards = shards.first_chunk().ok_or_else(malformed)?;
        let request = u128::from_le_bytes(*request);
        let shards = ShardSet::from_bytes(shards);
        let Moved { name, places, .. } = &*self.moved;
        places
            .lock()
            .give_way(signal, request, &shards, from < *name)?;
        let processor = self.processor.upgrade();
        let processor =
            processor.ok_or_else(|| Error::new(Code::NodeState, "the node is stopping"))?;
        let shards = processor.stored_of(signal, request, shards).await?;
        // What is stored is covered by what stands here now.
        let position = processor.session();
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        answer.extend_from_slice(&shards.to_bytes());
        answer.extend_from_slice(&position.stream.0.to_le_bytes());
        answer.extend_from_slice(&position.sequence.to_le_bytes());
        Ok(answer.into())
    }
}
