//! The owner's side: a log whose records are acknowledged when other nodes have them, too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use otlake_base::metrics::by_signal;
use otlake_base::{Clock, Metrics, Position, Result, Signal, StreamId};
use otlake_log::{Appender, Log, OnDurable, Record, StreamReader};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::links::Links;
use super::service::{blocking, busy};
use super::streams::pick;
use super::wire::Wire;
use crate::ensemble::{Ensemble, Quorum};
use crate::message::Message;
use crate::owner::{Output, Owner, OwnerConfig, OwnerStatus, Proposed};

/// How often the owner is told the time.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two looks at the gauges.
const MEASURE_TICKS: u64 = 20;
/// Bytes that are read back from the log at once, for one follower.
const CATCHUP_BYTES: usize = 2 * 1024 * 1024;
/// How long a read of the log that failed waits.
const READ_RETRY: Duration = Duration::from_millis(500);
/// Followers whose lag is told (I5).
const MEASURED_FOLLOWERS: usize = 16;

/// The metadata group, as far as an owner needs it.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Makes `ensemble` that of the stream from its first sequence on; the first one registers the
    /// stream. The same change can come twice. It is refused with `Fenced` where the stream's epoch
    /// is not `epoch` any more.
    ///
    /// # Errors
    /// Where it is not known what became of it; it is asked again.
    async fn change(&self, stream: StreamId, epoch: u64, ensemble: &Ensemble) -> Result<Proposed>;
}

/// How a node replicates what it writes.
#[derive(Clone, Debug)]
pub struct ReplicatorConfig {
    /// By signal.
    pub quorum: [Quorum; 3],
    /// Whether fewer acknowledgements are taken where there are too few nodes.
    pub allow_degraded: bool,
    /// Bytes that may be under way to one follower.
    pub window_bytes: usize,
    /// Bytes of records that are kept in memory for followers that lag.
    pub cache_bytes: usize,
}

impl Default for ReplicatorConfig {
    fn default() -> Self {
        ReplicatorConfig {
            quorum: Quorum::DEFAULTS,
            allow_degraded: false,
            window_bytes: otlake_base::limits::REPLICA_WINDOW_BYTES,
            cache_bytes: otlake_base::limits::REPLICA_CACHE_BYTES,
        }
    }
}

struct State {
    owner: Owner,
    /// Who is told of each record that is not done.
    waiting: VecDeque<(u64, OnDurable)>,
}

/// Told of releases of streams that this node does not write.
pub type OnRelease = Box<dyn Fn(Signal, Position) + Send + Sync>;

/// A log with copies on other nodes.
pub struct Replicator {
    this: Weak<Replicator>,
    log: Arc<Log>,
    quorum: [Quorum; 3],
    state: Mutex<State>,
    /// Held by whoever does what the owner wants, in order.
    working: Mutex<()>,
    links: Links,
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    last_done: AtomicU64,
    readers: Mutex<HashMap<Arc<str>, StreamReader>>,
    fenced: watch::Sender<Option<u64>>,
    ready: watch::Sender<bool>,
    on_release: Mutex<Option<OnRelease>>,
    ticking: Mutex<Option<JoinHandle<()>>>,
}

impl Replicator {
    /// Begins to replicate what is appended from now on to `log`, which has taken nothing yet.
    /// It admits nothing before [`Replicator::follow`] and the registry's answer. Needs a tokio
    /// runtime with time enabled. Blocks until the stream has begun on disk.
    ///
    /// # Errors
    /// As [`Log::begin`].
    pub fn start(
        config: ReplicatorConfig,
        log: Arc<Log>,
        wire: Arc<dyn Wire>,
        registry: Arc<dyn Registry>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Replicator>> {
        log.begin()?;
        let quorum = config.quorum;
        let owner_config = OwnerConfig {
            stream: log.stream(),
            quorum,
            allow_degraded: config.allow_degraded,
            window_bytes: config.window_bytes,
            cache_bytes: config.cache_bytes,
        };
        let owner = Owner::new(owner_config, Arc::clone(&metrics));
        let replicator = Arc::new_cyclic(|this: &Weak<Replicator>| Replicator {
            this: Weak::clone(this),
            log,
            quorum,
            state: Mutex::new(State {
                owner,
                waiting: VecDeque::new(),
            }),
            working: Mutex::new(()),
            links: Links::new(wire, Weak::clone(this)),
            registry,
            clock,
            metrics,
            runtime: Handle::current(),
            last_done: AtomicU64::new(0),
            readers: Mutex::default(),
            fenced: watch::channel(None).0,
            ready: watch::channel(false).0,
            on_release: Mutex::default(),
            ticking: Mutex::default(),
        });
        let this = Weak::clone(&replicator.this);
        *replicator.ticking.lock() = Some(tokio::spawn(async move {
            let mut ticks = 0u64;
            while let Some(this) = this.upgrade() {
                this.with(|owner, now| owner.tick(now));
                ticks += 1;
                if ticks.is_multiple_of(MEASURE_TICKS) {
                    this.measure();
                }
                drop(this);
                tokio::time::sleep(TICK).await;
            }
        }));
        Ok(replicator)
    }

    /// Who shall hold copies, by signal; nodes by name, best first.
    pub fn follow(&self, followers: [Vec<Arc<str>>; 3]) {
        self.with(|owner, now| owner.follow(followers, now));
    }

    /// Another node has fenced the stream.
    pub fn fence(&self, epoch: u64) {
        self.with(|owner, _| owner.fence(epoch));
    }

    /// Changes to the epoch at which another node has fenced the stream: then nothing is
    /// acknowledged any more, and the node's storage starts anew with a new stream.
    pub fn fenced(&self) -> watch::Receiver<Option<u64>> {
        self.fenced.subscribe()
    }

    /// Changes to true when the stream is registered.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// How replication stands.
    pub fn status(&self) -> OwnerStatus {
        self.state.lock().owner.status()
    }

    /// Has this called with releases of streams that this node does not write: those it recovered.
    pub fn on_release(&self, on_release: OnRelease) {
        *self.on_release.lock() = Some(on_release);
    }

    /// The owner's answer to a call about its stream.
    pub(super) async fn answer(&self, message: Message) -> Result<Message> {
        match message {
            Message::Fence { epoch, .. } => {
                self.fence(epoch);
                Ok(Message::Held(self.state.lock().owner.held()))
            }
            Message::Ask { .. } => Ok(Message::Held(self.state.lock().owner.held())),
            Message::Fetch {
                stream,
                ranges,
                max_bytes,
            } => {
                let mut reader = self.log.reader(ranges.first().unwrap_or(1));
                let upto = self.log.last_durable();
                let max_bytes = (max_bytes as usize).min(4 * CATCHUP_BYTES);
                let picked = blocking(move || pick(&mut reader, &ranges, Some(upto), max_bytes));
                let (frames, gone) = picked.await?;
                self.with(|owner, _| owner.lost(&gone));
                Ok(Message::Frames {
                    stream,
                    frames,
                    gone,
                })
            }
            _ => Ok(busy(self.log.stream())),
        }
    }

    /// Ends links and ticks; what is pending is not answered any more.
    pub fn close(&self) {
        if let Some(ticking) = self.ticking.lock().take() {
            ticking.abort();
        }
        self.links.close();
        // They are let go outside the lock: whoever waits for them may ask for something.
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        drop(waiting);
    }

    pub(super) fn link_number(&self) -> u64 {
        self.links.number()
    }

    /// Lets the owner do something, and does what it wants then.
    pub(super) fn with(&self, act: impl FnOnce(&mut Owner, Duration)) {
        // Under the lock, so that the owner never sees time go backwards.
        {
            let mut state = self.state.lock();
            let now = self.clock.monotonic();
            act(&mut state.owner, now);
        }
        self.work();
    }

    /// Does what the owner wants. Another thread that is at it does this one's, too.
    fn work(&self) {
        loop {
            let Some(working) = self.working.try_lock() else {
                return;
            };
            loop {
                let outputs = self.state.lock().owner.outputs();
                if outputs.is_empty() {
                    break;
                }
                for output in outputs {
                    self.act(output);
                }
            }
            drop(working);
            // What came between the look and the unlocking was left to this thread.
            if !self.state.lock().owner.has_outputs() {
                return;
            }
        }
    }

    fn act(&self, output: Output) {
        match output {
            Output::Done { sequence, outcome } => self.done(sequence, outcome),
            Output::Send { to, link, message } => self.links.send(&to, link, message),
            Output::Connect(name) => self.links.open(name, &self.runtime),
            Output::Disconnect(name) => {
                self.links.end(&name);
                self.readers.lock().remove(&name);
            }
            Output::Read { to, from, upto } => self.read(to, from, upto),
            Output::Propose(ensemble) => self.propose(ensemble),
            Output::Fenced(epoch) => {
                tracing::error!(
                    target: "otlake::replicate", stream = %self.log.stream(), epoch,
                    "another node has taken over this node's stream"
                );
                self.fenced.send_replace(Some(epoch));
            }
        }
    }

    fn done(&self, sequence: u64, outcome: Result<()>) {
        let waiting = {
            let mut state = self.state.lock();
            match state.waiting.front() {
                Some((first, _)) if *first == sequence => state.waiting.pop_front(),
                _ => None,
            }
        };
        let Some((_, on_durable)) = waiting else {
            return;
        };
        let stream = self.log.stream();
        on_durable(outcome.map(|()| {
            // Whoever sees the position also sees that it has its quorum (I1).
            self.last_done.store(sequence, Ordering::Release);
            Position { stream, sequence }
        }));
    }

    fn read(&self, to: Arc<str>, from: u64, upto: u64) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.runtime.spawn(async move {
            let reader = this.readers.lock().remove(&to);
            let mut reader = reader
                .filter(|reader| reader.next() == from)
                .unwrap_or_else(|| this.log.reader(from));
            let read = blocking(move || {
                let chunk = reader.read(Some(upto), CATCHUP_BYTES)?;
                Ok((chunk, reader))
            })
            .await;
            match read {
                Ok((chunk, reader)) => {
                    let next = reader.next();
                    this.readers.lock().insert(Arc::clone(&to), reader);
                    this.with(|owner, now| owner.read(&to, chunk.frames, &chunk.lost, next, now));
                }
                Err(error) => {
                    tracing::warn!(target: "otlake::replicate", %error, "the log is not read back");
                    tokio::time::sleep(READ_RETRY).await;
                    this.with(|owner, now| owner.read(&to, Vec::new(), &[], from, now));
                }
            }
        });
    }

    fn propose(&self, ensemble: Ensemble) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.runtime.spawn(async move {
            let stream = this.log.stream();
            let changed = this
                .registry
                .change(stream, crate::owner::FIRST_EPOCH, &ensemble)
                .await;
            let proposed = changed.unwrap_or_else(|error| {
                tracing::warn!(target: "otlake::replicate", %error, "an ensemble is proposed again");
                Proposed::Unknown
            });
            this.with(|owner, now| owner.settled(proposed, now));
            if proposed == Proposed::Committed {
                this.ready.send_replace(true);
            }
        });
    }

    fn measure(&self) {
        let status = self.status();
        self.metrics.replica_pending.set(status.pending as i64);
        self.metrics.replica_lag_records.clear();
        self.metrics.replica_lag_bytes.clear();
        for follower in status.followers.iter().take(MEASURED_FOLLOWERS) {
            let labels = vec![("follower", follower.name.to_string())];
            let records = self.metrics.replica_lag_records.get_or_create(&labels);
            records.set(follower.lag_records as i64);
            let bytes = self.metrics.replica_lag_bytes.get_or_create(&labels);
            bytes.set(follower.lag_bytes as i64);
        }
    }
}

impl Appender for Replicator {
    fn stream(&self) -> StreamId {
        self.log.stream()
    }

    fn admit(&self, signal: Signal) -> Result<()> {
        let now = self.clock.monotonic();
        self.state.lock().owner.admit(signal, now)
    }

    fn append(&self, record: Record, on_durable: OnDurable) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.log.append_framed(
            record,
            Box::new(move |outcome| match outcome {
                Err(error) => on_durable(Err(error)),
                Ok(frame) => {
                    {
                        let mut state = this.state.lock();
                        let sequence = frame.header().sequence;
                        state.waiting.push_back((sequence, on_durable));
                        let now = this.clock.monotonic();
                        state.owner.appended(frame, now);
                    }
                    this.work();
                }
            }),
        );
    }

    fn last_durable(&self) -> u64 {
        self.last_done.load(Ordering::Acquire)
    }

    fn patience(&self, signal: Signal) -> Option<Duration> {
        let own = self.quorum[signal.index()];
        // One that needs no other node waits for those before it alone.
        let longest = self.quorum.iter().map(|quorum| quorum.timeout).max();
        Some(match own.acks {
            1 => longest.unwrap_or(own.timeout),
            _ => own.timeout,
        })
    }

    fn late(&self, signal: Signal) {
        let labels = by_signal(signal);
        self.metrics.replica_timeouts.get_or_create(&labels).inc();
    }

    fn release(&self, signal: Signal, upto: Position) {
        self.log.release(signal, upto);
        if upto.stream == self.log.stream() {
            self.with(|owner, _| owner.release(signal, upto.sequence));
        } else if let Some(on_release) = &*self.on_release.lock() {
            on_release(signal, upto);
        }
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.close();
    }
}
