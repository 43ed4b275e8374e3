//! Open, close and what lies between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::disk::Disk;
use otlake_base::limits::RecordLimits;
use otlake_base::{Clock, Code, Error, Metrics, Position, Result, StreamId, Table, TableSource};
use otlake_catalog::{Catalog, Commits, InLog, Sharing, Switch, Throttle};
use otlake_derive::Deriver;
use otlake_flush::{
    Budget, Flusher, FlusherParts, LiveSet, OnStep, SealLimits, Source, Tables, Tail,
};
use otlake_log::{Appender, Log, LogConfig};
use otlake_sample::Sampler;
use otlake_shard::WriteOptions;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::ProcessorConfig;
use crate::data_dir::{self, DataDir};
use crate::dedupe::{Dedupe, WindowLimits};
use crate::follower::Follower;
use crate::gate::Gate;
use crate::jobs::Jobs;
use crate::replay::{self, Derives};
use crate::rows::Ruled;
use crate::store::Store;

/// What a processor holds, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The stream this process writes.
    pub stream: StreamId,
    /// The last sequence of it that is durable and readable; 0 before the first.
    pub last_durable: u64,
    /// Bytes of live batches.
    pub live_bytes: u64,
    /// Rows of live batches.
    pub live_rows: u64,
    /// Bytes of log segments on disk.
    pub log_bytes: u64,
    /// Log segments on disk.
    pub log_segments: u64,
    /// Files of the newest snapshots.
    pub files: u64,
    /// Bytes of those files.
    pub file_bytes: u64,
    /// Rows of those files.
    pub file_rows: u64,
}

/// The storage of one node. Dropping it without `close` is a crash without a restart: what was
/// acknowledged is in the log, and the next open finds it.
pub struct Processor {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Gate,
    pub(crate) dedupe: Arc<Dedupe>,
    pub(crate) live: Arc<LiveSet>,
    pub(crate) derive: Derives,
    pub(crate) ruled: Ruled,
    pub(crate) record_limits: RecordLimits,
    pub(crate) tables: Tables,
    commits: Arc<Switch>,
    pub(crate) jobs: Jobs,
    pub(crate) stream: StreamId,
    /// Streams of earlier starts that are left to the cluster.
    pub(crate) earlier: RwLock<Vec<StreamId>>,
    log: RwLock<Option<Arc<Store>>>,
    running: Mutex<Option<Running>>,
}

/// What ends when the processor is closed, in this order.
struct Running {
    _follower: Option<Follower>,
    flusher: Flusher,
    _data_dir: Arc<DataDir>,
}

impl Processor {
    /// Locks the folder, opens the tables and the log, takes what the log holds and no file
    /// does into memory, and starts the flushers. Needs a tokio runtime with time enabled.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for policies of sampling that cannot be used; `NODE_DIRECTORY_LOCKED`,
    /// `NODE_DIRECTORY_UNUSABLE`, `LOG_…`, `TABLE_…`.
    pub async fn open(
        config: ProcessorConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Processor>> {
        Processor::open_observed(config, clock, metrics, None).await
    }

    /// As [`Processor::open`], with `on_step` called at each step of a flush.
    ///
    /// # Errors
    /// As [`Processor::open`].
    pub async fn open_observed(
        config: ProcessorConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        on_step: Option<OnStep>,
    ) -> Result<Arc<Processor>> {
        // What cannot be used is said before anything is touched.
        Sampler::check(&config.sample.policies)?;
        let (root, disk) = (config.data_dir.clone(), Arc::clone(&config.disk));
        let data_dir = Arc::new(blocking(move || DataDir::open(&*disk, &root)).await?);
        let (tables_dir, sharing) = match config.tables_dir {
            None => (data_dir.tables(), Sharing::Alone),
            Some(folder) => {
                let (disk, made) = (Arc::clone(&config.disk), folder.clone());
                blocking(move || data_dir::create(&*disk, &made)).await?;
                (folder, Sharing::Shared)
            }
        };
        let catalog = Catalog::open_on(
            Arc::clone(&config.disk),
            &tables_dir,
            Arc::clone(&clock),
            Arc::clone(&metrics),
            &in_log(&config.disk, data_dir.log()),
            sharing,
        )
        .await?;
        let tables = Tables::of(&catalog);
        let log_config = LogConfig {
            dir: data_dir.log(),
            segment_bytes: config.log_segment_bytes,
            max_bytes: config.log_max_bytes,
            durability: config.durability,
        };
        let (log_clock, log_metrics) = (Arc::clone(&clock), Arc::clone(&metrics));
        let disk = Arc::clone(&config.disk);
        let (log, records) =
            blocking(move || Log::open_on(disk, log_config, log_clock, log_metrics)).await?;
        let stream = log.stream();
        let earlier = records.streams();
        let leave_earlier = config.leave_earlier;
        let window = WindowLimits {
            nanos: config.dedupe_window_ms.saturating_mul(1_000_000),
            requests: config.dedupe_requests,
        };
        let (folder, disk) = (data_dir.dedupe(), Arc::clone(&config.disk));
        let counters = Arc::clone(&metrics);
        let dedupe = blocking(move || Dedupe::open(disk, &folder, window, &counters)).await?;
        let dedupe = Arc::new(dedupe);
        let windows = Arc::clone(&dedupe);
        let log = Arc::new(Store::new(log));
        let limits = SealLimits {
            bytes: config.flush_bytes,
            rows: config.flush_rows,
            age: Duration::from_millis(config.flush_interval_ms),
            trace_wait: config.sample.wait(),
            ..SealLimits::default()
        };
        let budget = Budget::measured(
            config.live_max_bytes,
            Arc::clone(&clock),
            metrics.admitted_bytes.clone(),
            Arc::clone(&metrics),
        );
        let live = LiveSet::new(
            stream,
            limits,
            budget,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let write = WriteOptions {
            row_group_rows: config.row_group_rows,
            zstd_level: config.zstd_level,
            disk: Arc::clone(&config.disk),
            parts: live.parts(),
        };
        let commits = Arc::new(Switch::default());
        let derive = Derives::of(&config.derive);
        let ruled = Ruled(config.rules);
        let deriver = config.derive.is_on().then(|| {
            let (clock, metrics) = (Arc::clone(&clock), Arc::clone(&metrics));
            Arc::new(Deriver::new(config.derive, clock, metrics))
        });
        let sampler = match config.sample.is_on() {
            false => None,
            true => {
                let (folder, disk) = (data_dir.sampling(), Arc::clone(&config.disk));
                let (clock, metrics) = (Arc::clone(&clock), Arc::clone(&metrics));
                let sample = config.sample;
                let open = move || Sampler::open(&sample, disk, &folder, clock, metrics);
                Some(Arc::new(blocking(open).await?))
            }
        };
        let flusher = Flusher::start(FlusherParts {
            live: Arc::clone(&live),
            tables: tables.clone(),
            deriver,
            sampler,
            commits: Arc::clone(&commits) as Arc<dyn Commits>,
            log: Arc::clone(&log) as Arc<dyn Appender>,
            options: write.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            first_retry: config.flush_retry,
            on_step,
            before_release: Arc::new(move |signal| windows.persist(signal)),
            guard: Arc::clone(&data_dir) as _,
        });
        let (into, handles, runtime) = (Arc::clone(&live), tables.clone(), Handle::current());
        let (windows, counters) = (Arc::clone(&dedupe), Arc::clone(&metrics));
        let rules = ruled.clone();
        live.replaying(true);
        let replayed = blocking(move || match leave_earlier {
            true => replay::index(records, &windows, &counters),
            false => {
                let into = (&handles, &*into, &*windows, &*counters);
                replay::replay(records, into, (derive, &rules), &runtime)
            }
        })
        .await;
        let replayed = match replayed {
            Ok(replayed) => replayed,
            Err(error) => {
                // A start that is refused leaves nothing at work in the folder, nor its lock.
                flusher.stop().await;
                return Err(error);
            }
        };
        live.replaying(false);
        if replayed.records > 0 || replayed.damaged > 0 {
            tracing::info!(
                target: "otlake::log", records = replayed.records, rows = replayed.rows,
                damaged = replayed.damaged, "the log was replayed"
            );
        }
        let gate = Gate::new();
        let rate = config.jobs.bytes_per_second;
        let pace = Arc::new(Throttle::new(rate, Arc::clone(&clock), gate.watch()));
        let guard = Arc::clone(&data_dir) as _;
        let jobs = Jobs::new(config.jobs, write, pace, config.leases, guard);
        let follower = (sharing == Sharing::Shared).then(|| {
            let every = Duration::from_millis(config.flush_interval_ms);
            Follower::start(tables.clone(), every)
        });
        Ok(Arc::new(Processor {
            clock,
            metrics,
            gate,
            dedupe,
            live,
            derive,
            ruled,
            record_limits: config.record_limits,
            tables,
            commits,
            jobs,
            stream,
            earlier: RwLock::new(if leave_earlier { earlier } else { Vec::new() }),
            log: RwLock::new(Some(log)),
            running: Mutex::new(Some(Running {
                _follower: follower,
                flusher,
                _data_dir: data_dir,
            })),
        }))
    }

    pub(crate) fn log(&self) -> Option<Arc<Store>> {
        self.log.read().clone()
    }

    /// Stores requests from now on through what `wrap` makes of the log: one with copies on other
    /// nodes. Called once, before the first request.
    ///
    /// # Errors
    /// `NODE_STATE` after `close`, where it was called before, or a request has been stored.
    pub fn append_through(&self, wrap: impl FnOnce(Arc<Log>) -> Arc<dyn Appender>) -> Result<()> {
        let log = self.log();
        let log = log.ok_or_else(|| Error::new(Code::NodeState, "the node is stopping"))?;
        log.append_through(wrap)
    }

    /// One table, for queries. It outlives the processor's close and shows its last state.
    pub fn source(&self, table: Table) -> Arc<dyn TableSource> {
        Arc::new(Source::new(
            table,
            Arc::clone(&self.live),
            self.tables.clone(),
        ))
    }

    /// What is acknowledged and in no file yet.
    pub fn live(&self) -> &Arc<LiveSet> {
        &self.live
    }

    /// The tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What is flushed goes this way to its table from now on.
    pub fn commit_through(&self, commits: Arc<dyn Commits>) {
        self.commits.set(commits);
    }

    /// Batches as they become readable.
    pub fn subscribe(&self) -> Tail {
        self.live.subscribe()
    }

    /// The position that covers everything acknowledged now: a session token.
    pub fn session(&self) -> Position {
        let sequence = self.live.last(self.stream).unwrap_or(0);
        Position {
            stream: self.stream,
            sequence,
        }
    }

    /// What is held now. Sums over the newest snapshots' files.
    pub fn stats(&self) -> Stats {
        let live = self.live.figures();
        let log = self.log();
        let mut stats = Stats {
            stream: self.stream,
            last_durable: self.session().sequence,
            live_bytes: live.bytes as u64,
            live_rows: live.rows,
            log_bytes: log.as_ref().map_or(0, |log| log.log().bytes()),
            log_segments: log.as_ref().map_or(0, |log| log.log().segments() as u64),
            files: 0,
            file_bytes: 0,
            file_rows: 0,
        };
        for table in Table::ALL {
            for file in self.tables.handle(table).snapshot().files.iter() {
                stats.files += 1;
                stats.file_bytes += file.size;
                stats.file_rows += file.rows;
            }
        }
        stats
    }

    /// Has everything acknowledged before the call written to files and committed.
    ///
    /// # Errors
    /// `NODE_STATE` after `close`; what writing came to when it fails again and again.
    pub async fn flush(&self) -> Result<()> {
        if self.gate.closing() {
            return Err(Error::new(Code::NodeState, "the node is stopping"));
        }
        self.live.flushed().await
    }

    /// Ends the job at work, and refuses to run others.
    pub fn stop_jobs(&self) {
        self.jobs.stop();
    }

    /// Takes no more requests, finishes those inside, flushes, closes the log and unlocks the
    /// folder. A second call does nothing, after the first is done.
    ///
    /// # Errors
    /// The first thing that failed, with all the rest done nevertheless. What could not be
    /// flushed is in the log.
    pub async fn close(&self) -> Result<()> {
        self.jobs.stop();
        let mut running = self.running.lock().await;
        let Some(Running {
            _follower,
            flusher,
            _data_dir,
        }) = running.take()
        else {
            return Ok(());
        };
        self.gate.close().await;
        let flushed = self.live.flushed().await;
        flusher.stop().await;
        self.jobs.close().await;
        let log = self.log.write().take();
        let closed = match log {
            Some(log) => blocking(move || log.log().close()).await,
            None => Ok(()),
        };
        flushed.and(closed)
    }
}

/// What the log of the starts before holds. A log that cannot be read holds nothing for sure.
fn in_log(disk: &Arc<dyn Disk>, folder: PathBuf) -> InLog {
    let disk = Arc::clone(disk);
    Arc::new(move |stream, from| {
        let held = otlake_log::whole_until(&*disk, &folder, stream, from);
        held.unwrap_or_else(|error| {
            tracing::warn!(target: "otlake::log", "what the log holds cannot be told: {error}");
            None
        })
    })
}

/// Runs what blocks on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))?
}
