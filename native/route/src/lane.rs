//! The ways to the owners of slices: one stream to each, on which slices go together when they have
//! to wait anyway.
//!
//! A message costs about as much as the work on a small slice, on both sides and on each follower behind
//! them, so with many owners it is the number of messages that counts. While fewer than `UNDER_WAY`
//! bundles wait for their first answer, a slice goes at once, alone if need be; beyond it waits, for the
//! first answer of one of them and no longer than `HOLD`, and goes with those that came meanwhile.
//! The clock of it is the owner's own group commit: nothing waits while there is no load, and a bundle
//! that is full does not wait at all, so that no owner is kept from what it can take.
//!
//! Each slice has its own answer, as soon as it is there. A stream that breaks is to its slices what a
//! broken connection is to calls: nobody knows what became of those that were sent. What was not sent yet
//! goes by calls, as everything does to a node that does not know this stream.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::limits::ACK_TIMEOUT_MS;
use otlake_base::metrics::Counter;
use otlake_base::{Clock, Code, Error, Metrics, Result};
use otlake_peer::{Incoming, Outgoing, Peers};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::bundle::{self, Answer, BUNDLE_BYTES, BUNDLE_SLICES, Numbered};
use crate::service::{INGEST, SLICES};

/// How long an owner may take: a little less than what receives waits, so that it is told which
/// node was late.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(ACK_TIMEOUT_MS - 5_000);
/// Slices in flight to one owner, those that wait for each other among them; a further one is refused at
/// once. As many as calls.
pub const MAX_SLICES: usize = 512;
/// Bytes of slices in flight to one owner, without large ones, which are calls; a further one is
/// refused at once. As many as small calls may have.
pub const MAX_SLICES_BYTES: usize = 32 * 1024 * 1024;
/// Messages with slices to one owner of which nothing is answered, from which on slices wait for each
/// other: one whose turn it is at the owner's disk, and one behind it.
pub const UNDER_WAY: usize = 2;
/// How long slices wait for each other at most. What is slow for reasons of its own, such as a tenant
/// whose quorum is late, does not hold up others for longer.
pub const HOLD: Duration = Duration::from_millis(250);
/// Bytes that wait for an owner from which on they do not wait any longer.
const FULL_BYTES: usize = BUNDLE_BYTES / 2;
/// How long slices go by calls to a node with which no stream could be opened.
const BY_CALLS: Duration = Duration::from_secs(2);

/// The ways to all owners.
pub struct Lanes {
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lanes: Mutex<HashMap<Arc<str>, Arc<Lane>>>,
}

impl Lanes {
    pub fn new(peers: Arc<Peers>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Lanes {
        Lanes {
            peers,
            clock,
            metrics,
            lanes: Mutex::default(),
        }
    }

    /// Forgets the ways to nodes that are none of these, unless they are in use.
    pub fn keep(&self, is_kept: impl Fn(&Arc<str>) -> bool) {
        let mut lanes = self.lanes.lock();
        lanes.retain(|name, lane| is_kept(name) || lane.is_open());
    }

    /// Sends a slice, behind its head, to a node; gives its answer.
    ///
    /// # Errors
    /// Those of the owner; otherwise as [`Peers::call`].
    pub async fn send(&self, node: &Arc<str>, slice: Bytes) -> Result<Bytes> {
        let sent = async {
            if slice.len() <= BUNDLE_BYTES {
                let lane = self.lane(node);
                if let Some(asked) = lane.ask(self, slice.clone())?
                    && let Some(answer) = asked.answer().await?
                {
                    return Ok(answer);
                }
            }
            self.peers.call(node, INGEST, slice, TIMEOUT).await
        };
        match tokio::time::timeout(TIMEOUT, sent).await {
            Ok(answered) => answered,
            Err(_) => Err(late(node)),
        }
    }

    fn lane(&self, node: &Arc<str>) -> Arc<Lane> {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get(node) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane::new(Arc::clone(node), &self.metrics));
        lanes.insert(Arc::clone(node), Arc::clone(&lane));
        lane
    }
}

fn late(node: &str) -> Error {
    let message = format!("node `{node}` did not answer within {TIMEOUT:?}");
    Error::new(Code::PeerTimeout, message)
}

/// What a slice comes to on the stream: None where it has to go by a call.
type Outcome = Result<Option<Bytes>>;

/// The way to one owner.
struct Lane {
    name: Arc<str>,
    /// Messages with slices.
    messages: Counter,
    state: Mutex<State>,
    /// Tells whoever sends that there is something to send, or to wait for.
    wake: Notify,
}

#[derive(Default)]
struct State {
    stream: Stream,
    next: u64,
    /// What waits, in order.
    queue: VecDeque<Numbered>,
    queued_bytes: usize,
    /// What is not answered, by number.
    asked: HashMap<u64, Asking>,
    asked_bytes: usize,
    bundles: u64,
    /// Bundles of which nothing is answered yet.
    unanswered: BTreeSet<u64>,
}

#[derive(Default)]
enum Stream {
    #[default]
    None,
    /// Open, or about to be.
    Open,
    /// It could not be opened, and is not tried again before then.
    ByCalls(Duration),
}

/// Who waits for an answer.
struct Asking {
    told: oneshot::Sender<Outcome>,
    bytes: usize,
    /// The bundle that it went with.
    bundle: Option<u64>,
}

/// What is to be done now.
enum Next {
    Send(Vec<Numbered>),
    /// Something waits for the answers of others.
    Hold,
    Rest,
}

impl State {
    /// What goes out; `is_over` where it has waited for others long enough.
    fn next(&mut self, is_over: bool) -> Next {
        if self.queue.is_empty() {
            return Next::Rest;
        }
        if is_over {
            self.unanswered.clear();
        }
        if !self.is_free() && !self.is_full() {
            return Next::Hold;
        }
        let bundle = self.bundles;
        self.bundles += 1;
        let (mut slices, mut bytes) = (Vec::new(), 0);
        while let Some((_, slice)) = self.queue.front()
            && slices.len() < BUNDLE_SLICES
            && (slices.is_empty() || bytes + slice.len() <= BUNDLE_BYTES)
            && let Some((number, slice)) = self.queue.pop_front()
        {
            bytes += slice.len();
            if let Some(asking) = self.asked.get_mut(&number) {
                asking.bundle = Some(bundle);
            }
            slices.push((number, slice));
        }
        self.queued_bytes -= bytes;
        self.unanswered.insert(bundle);
        Next::Send(slices)
    }

    fn is_free(&self) -> bool {
        self.unanswered.len() < UNDER_WAY
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= BUNDLE_SLICES || self.queued_bytes >= FULL_BYTES
    }

    fn take(&mut self, number: u64) -> Option<Asking> {
        let asking = self.asked.remove(&number)?;
        self.asked_bytes -= asking.bytes;
        Some(asking)
    }
}

impl Lane {
    fn new(name: Arc<str>, metrics: &Metrics) -> Lane {
        let labels = vec![("peer", metrics.peers.told(&name))];
        Lane {
            messages: metrics.peers.slice_messages.get_or_create(&labels).clone(),
            name,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    fn is_open(&self) -> bool {
        let state = self.state.lock();
        matches!(state.stream, Stream::Open) || !state.asked.is_empty()
    }

    /// Puts a slice into the queue; None where there is no stream to the node.
    ///
    /// # Errors
    /// `PEER_OVERLOADED`.
    fn ask<'a>(self: &'a Arc<Self>, lanes: &Lanes, slice: Bytes) -> Result<Option<Asked<'a>>> {
        let mut state = self.state.lock();
        if state.asked.len() >= MAX_SLICES || state.asked_bytes + slice.len() > MAX_SLICES_BYTES {
            let message = format!("too many slices to node `{}` are in flight", self.name);
            return Err(Error::new(Code::PeerOverloaded, message));
        }
        match state.stream {
            Stream::Open => {}
            Stream::ByCalls(until) if lanes.clock.monotonic() < until => return Ok(None),
            Stream::ByCalls(_) | Stream::None => {
                state.stream = Stream::Open;
                let runs = self.clone().run(lanes.peers.clone(), lanes.clock.clone());
                lanes.peers.runtime().spawn(runs);
            }
        }
        let (told, answer) = oneshot::channel();
        let (number, bytes) = (state.next, slice.len());
        state.next += 1;
        let asking = Asking {
            told,
            bytes,
            bundle: None,
        };
        state.asked.insert(number, asking);
        state.asked_bytes += bytes;
        let was_idle = state.queue.is_empty();
        state.queue.push_back((number, slice));
        state.queued_bytes += bytes;
        let is_news = was_idle || state.is_full();
        drop(state);
        if is_news {
            self.wake.notify_one();
        }
        Ok(Some(Asked {
            lane: self,
            number,
            answer,
        }))
    }

    /// Opens the stream and carries slices and answers until it ends.
    async fn run(self: Arc<Self>, peers: Arc<Peers>, clock: Arc<dyn Clock>) {
        let opened = peers.open(&self.name, SLICES, Bytes::new()).await;
        // The stream does not keep alive what it goes over.
        drop(peers);
        let (next, why) = match opened {
            Ok((outgoing, incoming)) => {
                let why = tokio::select! {
                    why = self.receives(incoming) => why,
                    why = self.sends(outgoing) => why,
                };
                (Stream::None, why)
            }
            Err(why) => (Stream::ByCalls(clock.monotonic() + BY_CALLS), why),
        };
        self.ended(next, &why);
    }

    async fn sends(&self, mut outgoing: Outgoing) -> Error {
        let mut until = None;
        loop {
            let is_over = until.is_some_and(|until| until <= Instant::now());
            let next = self.state.lock().next(is_over);
            match next {
                Next::Send(slices) => {
                    until = None;
                    self.messages.inc();
                    if let Err(error) = outgoing.send_parts(bundle::write(slices)).await {
                        return error;
                    }
                }
                Next::Hold => {
                    let until = *until.get_or_insert_with(|| Instant::now() + HOLD);
                    let _ = tokio::time::timeout_at(until, self.wake.notified()).await;
                }
                Next::Rest => {
                    until = None;
                    self.wake.notified().await;
                }
            }
        }
    }

    async fn receives(&self, mut incoming: Incoming) -> Error {
        loop {
            let answers = match incoming.next().await {
                Ok(Some(message)) => bundle::read_answers(message),
                Ok(None) => {
                    let message = format!("node `{}` takes no more slices", self.name);
                    Err(Error::new(Code::PeerUnreachable, message))
                }
                Err(error) => Err(error),
            };
            match answers {
                Ok(answers) => self.answered(answers),
                Err(error) => return error,
            }
        }
    }

    fn answered(&self, answers: Vec<Answer>) {
        let mut state = self.state.lock();
        for (number, answer) in answers {
            // Whoever asked may have gone.
            if let Some(asking) = state.take(number) {
                if let Some(bundle) = asking.bundle {
                    state.unanswered.remove(&bundle);
                }
                let _ = asking.told.send(answer.map(Some));
            }
        }
        let is_news = !state.queue.is_empty() && state.is_free();
        drop(state);
        if is_news {
            self.wake.notify_one();
        }
    }

    /// The stream is gone: what was sent may be stored or not, and what was not goes by calls.
    fn ended(&self, next: Stream, why: &Error) {
        let mut state = self.state.lock();
        let asked = std::mem::take(&mut state.asked);
        // Numbers go on: whoever asked over this stream may look for its own later.
        *state = State {
            stream: next,
            next: state.next,
            bundles: state.bundles,
            ..State::default()
        };
        drop(state);
        for asking in asked.into_values() {
            let outcome = match asking.bundle {
                Some(_) => Err(why.clone()),
                None => Ok(None),
            };
            let _ = asking.told.send(outcome);
        }
    }
}

/// A slice whose answer is awaited. Dropped, it is forgotten, and is not sent if it was not yet.
struct Asked<'a> {
    lane: &'a Lane,
    number: u64,
    answer: oneshot::Receiver<Outcome>,
}

impl Asked<'_> {
    async fn answer(mut self) -> Outcome {
        (&mut self.answer).await.unwrap_or_else(|_| {
            let message = "the node is stopping";
            Err(Error::new(Code::PeerUnreachable, message))
        })
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.state.lock();
        let Some(asking) = state.take(self.number) else {
            return;
        };
        if asking.bundle.is_none()
            && let Ok(at) = state
                .queue
                .binary_search_by_key(&self.number, |(number, _)| *number)
        {
            state.queue.remove(at);
            state.queued_bytes -= asking.bytes;
        }
    }
}
