//! The owner's side: a log whose records are acknowledged when other nodes have them, too.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use otlake_base::metrics::by_signal;
use otlake_base::{Clock, Metrics, Position, Result, Signal, StreamId};
use otlake_log::{Appender, Frame, Log, OnAcknowledged, OnDurable, Record, StreamReader};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::links::Links;
use super::service::{blocking, busy};
use super::streams::pick;
use super::wire::Wire;
use crate::ensemble::Ensemble;
use crate::message::Message;
use crate::owner::{Owner, OwnerConfig, OwnerStatus, Proposed};
use crate::quorums::Quorums;

/// How often the owner is told the time.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two looks at the gauges.
const MEASURE_TICKS: u64 = 20;
/// Bytes of an answer to a fetch, beyond its first record (I5).
const FETCH_BYTES: usize = 8 * 1024 * 1024;
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
    /// By signal and tenant.
    pub quorums: Quorums,
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
            quorums: Quorums::default(),
            allow_degraded: false,
            window_bytes: otlake_base::limits::REPLICA_WINDOW_BYTES,
            cache_bytes: otlake_base::limits::REPLICA_CACHE_BYTES,
        }
    }
}

pub(super) struct State {
    pub(super) owner: Owner,
    /// What the log has told of a group that it has not told all of yet.
    group: Vec<Frame>,
    /// Who is told of each record that is not done.
    pub(super) waiting: VecDeque<(u64, OnDurable)>,
    /// Who is told of each overdue one, from when they ask.
    pub(super) overdue: HashMap<u64, Option<OnAcknowledged>>,
}

/// Told of releases of streams that this node does not write.
pub type OnRelease = Box<dyn Fn(Signal, Position) + Send + Sync>;

/// A log with copies on other nodes.
pub struct Replicator {
    pub(super) this: Weak<Replicator>,
    pub(super) log: Arc<Log>,
    quorums: Quorums,
    pub(super) state: Mutex<State>,
    /// Held by whoever does what the owner wants, in order.
    pub(super) working: Mutex<()>,
    pub(super) links: Links,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
    pub(super) last_done: AtomicU64,
    pub(super) readers: Mutex<HashMap<Arc<str>, StreamReader>>,
    pub(super) fenced: watch::Sender<Option<u64>>,
    pub(super) ready: watch::Sender<bool>,
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
        let quorums = config.quorums;
        let owner_config = OwnerConfig {
            stream: log.stream(),
            quorums: quorums.clone(),
            allow_degraded: config.allow_degraded,
            window_bytes: config.window_bytes,
            cache_bytes: config.cache_bytes,
        };
        let owner = Owner::new(owner_config, Arc::clone(&metrics));
        let replicator = Arc::new_cyclic(|this: &Weak<Replicator>| Replicator {
            this: Weak::clone(this),
            log,
            quorums,
            state: Mutex::new(State {
                owner,
                group: Vec::new(),
                waiting: VecDeque::new(),
                overdue: HashMap::new(),
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

    /// This node ends its stream in good order; see [`Owner::end`].
    pub fn end(&self, epoch: u64) {
        self.with(|owner, _| owner.end(epoch));
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

    /// Whether a follower has answered a beat that was sent at `since`, of the clock's monotonic time,
    /// or later; see [`Owner::is_in_touch`].
    pub fn is_in_touch(&self, since: Duration) -> bool {
        self.state.lock().owner.is_in_touch(since)
    }

    /// How replication stands.
    pub fn status(&self) -> OwnerStatus {
        let state = self.state.lock();
        state.owner.status(self.clock.monotonic())
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
                let max_bytes = (max_bytes as usize).min(FETCH_BYTES);
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

    /// Ends links and ticks; what is pending is not answered any more. What is readable already is, when
    /// it comes into files.
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

    /// The log has told all of a group.
    fn appended(&self) {
        {
            let mut state = self.state.lock();
            let group = std::mem::take(&mut state.group);
            if group.is_empty() {
                return;
            }
            let now = self.clock.monotonic();
            state.owner.appended(group, now);
        }
        self.work();
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

    fn admit(&self, signal: Signal, tenant: &str) -> Result<()> {
        let now = self.clock.monotonic();
        self.state.lock().owner.admit(signal, tenant, now)
    }

    fn append(&self, record: Record, on_durable: OnDurable) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.log.append_framed(
            record,
            Box::new(move |outcome, more| {
                match outcome {
                    Err(error) => on_durable(Err(error)),
                    Ok(frame) => {
                        let mut state = this.state.lock();
                        let sequence = frame.header().sequence;
                        state.waiting.push_back((sequence, on_durable));
                        state.group.push(frame);
                    }
                }
                if !more {
                    this.appended();
                }
            }),
        );
    }

    fn is_overdue(&self, position: Position) -> bool {
        self.state.lock().overdue.contains_key(&position.sequence)
    }

    fn when_acknowledged(&self, position: Position, then: OnAcknowledged) {
        {
            let mut state = self.state.lock();
            if let Some(told) = state.overdue.get_mut(&position.sequence) {
                *told = Some(then);
                return;
            }
        }
        then(Ok(()));
    }

    fn last_durable(&self) -> u64 {
        self.last_done.load(Ordering::Acquire)
    }

    fn patience(&self, signal: Signal, tenant: &str) -> Option<Duration> {
        let own = self.quorums.of(signal, tenant);
        Some(match own.acks {
            // One that needs no other node waits for those before it alone.
            1 => self.quorums.longest_timeout(),
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

    fn fenced(&self, stream: StreamId, epoch: u64) {
        if stream == self.log.stream() {
            self.fence(epoch);
        }
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.close();
    }
}
