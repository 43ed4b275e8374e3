//! One table: its newest snapshot, and the committer.
//!
//! delta-rs records a `txn` action but does not refuse a second commit of the same one. So the
//! committer, alone under its lock, looks at the watermarks first, commits against exactly the
//! version it looked at, and on any other outcome reads the table again and decides anew. A
//! commit that landed but was reported as failed is found that way, too.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake_core::kernel::{Action, Add, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::TryStreamExt;
use otlake_base::disk::{Disk, create_folders, existing_above};
use otlake_base::invariant::Invariant;
use otlake_base::metrics::by_table;
use otlake_base::{Clock, Code, DataFile, Error, Metrics, Position, Result, Table};
use otlake_shard::Written;
use parking_lot::{Mutex as ShortMutex, RwLock};
use tokio::sync::Mutex;
use url::Url;

use crate::columns::{columns, properties};
use crate::durable_store::DurableStore;
use crate::rebuild::InLog;
use crate::recover::{load_newest, unreadable};
use crate::snapshot::{SUMS_TAG, Snapshot, files};
use crate::sweep::sweep_orphans;
use crate::watermarks::{self, app_id};

/// Times that one call looks at the table again after another writer was faster.
pub(crate) const COMMIT_ATTEMPTS: usize = 10;
const ENGINE: &str = concat!("otlake/", env!("CARGO_PKG_VERSION"));
const PARTITIONS: [&str; 2] = otlake_decode::schema::PARTITION_COLUMNS;

/// One Delta table.
pub struct DeltaTableHandle {
    pub(crate) table: Table,
    pub(crate) root: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    newest: RwLock<Arc<Snapshot>>,
    /// The files of every version that was published; those that someone still reads are alive.
    published: ShortMutex<Vec<Weak<Vec<DataFile>>>>,
    /// Paths that were written here and that a commit is yet to name.
    expected: ShortMutex<HashSet<String>>,
    pub(crate) committer: Mutex<DeltaTable>,
}

pub(crate) fn storage(table: Table, what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(Code::TableIo, format!("{}: {what}: {error}", table.name()))
}

pub(crate) fn state(table: Table, delta: &DeltaTable) -> Result<&DeltaTableState> {
    delta.snapshot().map_err(|error| unreadable(table, error))
}

/// The snapshot of a loaded version, and the files that it says are removed.
async fn newest(
    table: Table,
    root: PathBuf,
    delta: &DeltaTable,
) -> Result<(Arc<Snapshot>, Vec<String>)> {
    check_columns(table, delta)?;
    let snapshot = Arc::new(load(table, &root, delta).await?);
    Ok((snapshot, tombstones(table, delta).await?))
}

impl DeltaTableHandle {
    pub(crate) async fn open(
        table: Table,
        root: PathBuf,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        in_log: &InLog,
    ) -> Result<DeltaTableHandle> {
        let log = root.join("_delta_log");
        let above = root.parent().unwrap_or(&root);
        create_folders(&*disk, existing_above(&*disk, above), &log)
            // A commit can be one of a process that ended before its name was synced: the log may
            // forget nothing by it until it is.
            .and_then(|()| disk.sync_folder(&log))
            .map_err(|error| storage(table, "cannot create its folder", error))?;
        let root = disk
            .canonical(&root)
            .map_err(|error| storage(table, "cannot find its folder", error))?;
        let url = Url::from_directory_path(&root)
            .map_err(|()| storage(table, "not a folder", root.display()))?;
        let store = DurableStore::new(Arc::clone(&disk), Arc::clone(&metrics));
        let backend = Arc::new(store.clone());
        let mut delta = DeltaTableBuilder::from_url(url.clone())
            .map(|builder| builder.with_storage_backend(backend, url))
            .and_then(DeltaTableBuilder::build)
            .map_err(|error| unreadable(table, error))?;
        // Whether there is a table is asked of the folder itself: a table that merely failed to
        // load must never be made anew.
        let exists = disk
            .list(&log)
            .map(|entries| {
                let of_a_table = |name: &str| name.ends_with(".json") || name.ends_with(".parquet");
                entries.iter().any(|entry| of_a_table(&entry.name))
            })
            .map_err(|error| storage(table, "cannot list its log", error))?;
        let (snapshot, tombstones) = if exists {
            load_newest(table, &root, &mut delta, &store, in_log, |delta| {
                Box::pin(newest(table, root.clone(), delta))
            })
            .await?
        } else {
            delta = CreateBuilder::new()
                .with_log_store(delta.log_store())
                .with_table_name(table.name())
                .with_columns(columns(table)?)
                .with_partition_columns(PARTITIONS)
                .with_configuration(properties(table))
                .await
                .map_err(|error| storage(table, "cannot create the table", error))?;
            newest(table, root.clone(), &delta).await?
        };
        sweep_orphans(table, &disk, &snapshot, tombstones).await?;
        let handle = DeltaTableHandle {
            table,
            root,
            disk,
            clock,
            metrics,
            newest: RwLock::new(Arc::clone(&snapshot)),
            published: ShortMutex::default(),
            expected: ShortMutex::default(),
            committer: Mutex::new(delta),
        };
        handle.publish(snapshot);
        Ok(handle)
    }

    /// Which table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The newest version, from memory.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.read())
    }

    /// Says that a commit will name these files, however late: until it does, or `discard`s
    /// them, they are nobody's to delete.
    pub fn expect(&self, files: &[Written]) {
        let paths = files.iter().map(|written| written.file.path.clone());
        self.expected.lock().extend(paths);
    }

    /// The paths that no one may delete: those of the newest version, those of older ones that
    /// someone reads, and those that wait for their commit.
    pub(crate) fn held(&self) -> HashSet<String> {
        // A commit publishes first and forgets what it expected second.
        let mut held = self.expected.lock().clone();
        let mut versions: Vec<Arc<Vec<DataFile>>> = vec![Arc::clone(&self.snapshot().files)];
        versions.extend(self.published.lock().iter().filter_map(Weak::upgrade));
        for files in versions {
            held.extend(files.iter().map(|file| file.path.clone()));
        }
        held
    }

    /// Reads the table again, as others may have left it, and publishes what it is. A version that
    /// is new here can be one of ours whose last sync failed, and what is published is built on:
    /// batches leave the log, replaced files the disk. So its name is made durable first (I2).
    pub(crate) async fn refresh(&self, delta: &mut DeltaTable) -> Result<()> {
        delta
            .update_state()
            .await
            .map_err(|error| storage(self.table, "cannot read the table again", error))?;
        if delta.version() > Some(self.snapshot().version as u64) {
            let (disk, log) = (Arc::clone(&self.disk), self.root.join("_delta_log"));
            tokio::task::spawn_blocking(move || disk.sync_folder(&log))
                .await
                .map_err(|error| storage(self.table, "cannot sync its log", error))?
                .map_err(|error| storage(self.table, "cannot sync its log", error))?;
        }
        self.publish(Arc::new(load(self.table, &self.root, delta).await?));
        Ok(())
    }

    /// The newest version, which `delta` is at. A refresh that failed, or was given up, midway has
    /// left it ahead: a commit upon that could repeat what the version in between holds (I3).
    pub(crate) async fn up_to_date(&self, delta: &mut DeltaTable) -> Result<Arc<Snapshot>> {
        if delta.version() != Some(self.snapshot().version as u64) {
            self.refresh(delta).await?;
        }
        Ok(self.snapshot())
    }

    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let labels = by_table(self.table);
        let sum = |figure: fn(&otlake_base::DataFile) -> u64| -> i64 {
            i64::try_from(snapshot.files.iter().map(figure).sum::<u64>()).unwrap_or(i64::MAX)
        };
        self.metrics
            .table_files
            .get_or_create(&labels)
            .set(snapshot.files.len() as i64);
        self.metrics
            .table_bytes
            .get_or_create(&labels)
            .set(sum(|file| file.size));
        self.metrics
            .table_rows
            .get_or_create(&labels)
            .set(sum(|file| file.rows));
        {
            let mut published = self.published.lock();
            published.retain(|files| files.strong_count() > 0);
            published.push(Arc::downgrade(&snapshot.files));
        }
        let mut expected = self.expected.lock();
        *self.newest.write() = Arc::clone(&snapshot);
        if !expected.is_empty() {
            for file in snapshot.files.iter() {
                expected.remove(&file.path);
            }
        }
    }

    /// Adds the files and raises the watermarks, in one commit that is durable when this
    /// returns. Where the table covers every watermark already, nothing is committed and those
    /// files that it does not hold are deleted. After an error the files stay: the caller tries
    /// again with them, and what it gives up is swept at the next open.
    ///
    /// # Errors
    /// `TABLE_IO`; `TABLE_CONFLICT` when other writers were faster time and again. After
    /// either, the same call is safe to repeat.
    pub async fn commit(
        &self,
        files: Vec<Written>,
        watermarks: Vec<Position>,
    ) -> Result<Arc<Snapshot>> {
        let mut delta = self.committer.lock().await;
        if files.is_empty() && watermarks.is_empty() {
            return Ok(self.snapshot());
        }
        let mut last = None;
        for _ in 0..COMMIT_ATTEMPTS {
            let now = self.up_to_date(&mut delta).await?;
            if !watermarks.is_empty() && watermarks.iter().all(|mark| now.covers(*mark)) {
                self.discard(&now, &files).await?;
                return Ok(now);
            }
            match self.attempt(&mut delta, &now, &files, &watermarks).await {
                Ok(snapshot) => {
                    self.publish(Arc::clone(&snapshot));
                    self.checkpoint(&mut delta).await;
                    return Ok(snapshot);
                }
                Err(error) => {
                    let conflict = is_conflict(&error);
                    // What the table holds now decides, not what the error says: the commit
                    // may have landed all the same.
                    self.refresh(&mut delta).await?;
                    let landed = watermarks.iter().all(|mark| self.snapshot().covers(*mark));
                    if !conflict && (watermarks.is_empty() || !landed) {
                        return Err(storage(self.table, "cannot commit", error));
                    }
                    last = Some(error);
                }
            }
        }
        let last = last.map(|error| error.to_string()).unwrap_or_default();
        let message = format!(
            "{}: {COMMIT_ATTEMPTS} commits met others: {last}",
            self.table.name()
        );
        Err(Error::new(Code::TableConflict, message))
    }

    async fn attempt(
        &self,
        delta: &mut DeltaTable,
        now: &Snapshot,
        written: &[Written],
        marks: &[Position],
    ) -> std::result::Result<Arc<Snapshot>, DeltaTableError> {
        let millis = self.millis();
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(PARTITIONS.map(str::to_owned).to_vec()),
            predicate: None,
        };
        let actions = written
            .iter()
            .map(|written| Action::Add(add(written, millis)))
            .collect();
        // A mark never goes back, whatever order streams are flushed in.
        let mut raised: HashMap<_, u64> = HashMap::new();
        for mark in marks.iter().filter(|mark| !now.covers(**mark)) {
            let last = raised.entry(mark.stream).or_default();
            *last = mark.sequence.max(*last);
        }
        let transactions = raised
            .iter()
            .map(|(stream, sequence)| {
                let sequence = i64::try_from(*sequence).unwrap_or(i64::MAX);
                Transaction::new_with_last_update(app_id(*stream), sequence, Some(millis))
            })
            .collect();
        let version = self.send(delta, actions, transactions, operation).await?;

        let mut snapshot = now.clone();
        snapshot.version = version;
        let mut files = Vec::with_capacity(now.files.len() + written.len());
        files.extend(now.files.iter().cloned());
        files.extend(written.iter().map(|written| written.file.clone()));
        snapshot.files = Arc::new(files);
        snapshot.watermarks.extend(raised);
        Ok(Arc::new(snapshot))
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        i64::try_from(self.clock.unix_nano() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Commits against exactly the version that `delta` is at; the version that this made.
    pub(crate) async fn send(
        &self,
        delta: &mut DeltaTable,
        changes: Vec<Action>,
        transactions: Vec<Transaction>,
        operation: DeltaOperation,
    ) -> std::result::Result<i64, DeltaTableError> {
        let mut info = operation.get_commit_info();
        info.timestamp = Some(self.millis());
        info.engine_info = Some(ENGINE.to_owned());
        let appends = changes
            .iter()
            .all(|action| matches!(action, Action::Add(_)));
        info.is_blind_append = Some(appends);
        let unsummed = |action: &Action| matches!(action, Action::Add(add) if add.tags.is_none());
        if changes.iter().any(unsummed) {
            self.metrics.violated(
                Invariant::I6Detected,
                "a file is committed that its bytes cannot be checked by",
            );
        }
        let mut actions = vec![Action::CommitInfo(info)];
        actions.extend(changes);
        // No attempts of its own: delta-rs would not look at the watermarks between them. And
        // no hooks: a checkpoint that fails must not make a commit that landed look failed.
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transactions(transactions);
        let store = delta.log_store();
        let committed = {
            let state = delta.snapshot()?;
            CommitBuilder::from(properties)
                .with_actions(actions)
                .build(Some(state), store, operation)
                .await?
        };
        delta.state = Some(committed.snapshot());
        Ok(committed.version() as i64)
    }

    /// The rows are in the table: deletes the files that it does not hold.
    pub(crate) async fn discard(&self, now: &Arc<Snapshot>, files: &[Written]) -> Result<()> {
        let held = Arc::clone(&now.files);
        let (disk, root) = (Arc::clone(&self.disk), self.root.clone());
        let paths: Vec<String> = files
            .iter()
            .map(|written| written.file.path.clone())
            .collect();
        let outcome = tokio::task::spawn_blocking(move || {
            let held: HashSet<&str> = held.iter().map(|file| file.path.as_str()).collect();
            for path in paths.iter().filter(|path| !held.contains(path.as_str())) {
                match disk.remove(&root.join(path)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        outcome
            .await
            .map_err(|error| storage(self.table, "cannot discard files", error))?
            .map_err(|error| storage(self.table, "cannot discard files", error))?;
        self.forget(files);
        Ok(())
    }

    /// Says that no commit will name these files.
    pub(crate) fn forget(&self, files: &[Written]) {
        let mut expected = self.expected.lock();
        for written in files {
            expected.remove(&written.file.path);
        }
    }
}

pub(crate) fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::MaxCommitAttempts(_)
                    | TransactionError::CommitConflict(_)
                    | TransactionError::VersionAlreadyExists(_)
            }
    )
}

pub(crate) fn add(written: &Written, millis: i64) -> Add {
    let file = &written.file;
    // The folder's name spells the day as Delta does.
    let day = file
        .path
        .split('/')
        .find_map(|part| part.strip_prefix("day="));
    Add {
        path: file.path.clone(),
        partition_values: HashMap::from([
            ("tenant".to_owned(), Some(file.tenant.clone())),
            ("day".to_owned(), day.map(str::to_owned)),
        ]),
        size: i64::try_from(file.size).unwrap_or(i64::MAX),
        modification_time: millis,
        data_change: true,
        stats: Some(written.stats_json.clone()),
        tags: file
            .sums
            .as_ref()
            .map(|sums| HashMap::from([(SUMS_TAG.to_owned(), Some(sums.to_text()))])),
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

async fn load(table: Table, root: &std::path::Path, delta: &DeltaTable) -> Result<Snapshot> {
    let state = state(table, delta)?;
    let version = state.version();
    Ok(Snapshot {
        version: version as i64,
        files: Arc::new(files(table, state)?),
        watermarks: watermarks::read(&delta.log_store(), version).await?,
        root: root.to_path_buf(),
    })
}

fn check_columns(table: Table, delta: &DeltaTable) -> Result<()> {
    let schema = state(table, delta)?.schema();
    let expected = columns(table)?;
    let same = schema.fields().len() == expected.len()
        && schema
            .fields()
            .zip(&expected)
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    if same {
        return Ok(());
    }
    let message = format!(
        "{}: the table has other columns than this version",
        table.name()
    );
    Err(Error::new(Code::TableCorrupt, message))
}

/// The paths of removed files that are not vacuumed yet.
async fn tombstones(table: Table, delta: &DeltaTable) -> Result<Vec<String>> {
    let store = delta.log_store();
    let tombstones: Vec<_> = state(table, delta)?
        .all_tombstones(store.as_ref())
        .try_collect()
        .await
        .map_err(|error| unreadable(table, error))?;
    Ok(tombstones
        .iter()
        .map(|removed| removed.path().into_owned())
        .collect())
}
