//! One table: its newest snapshot, what is still read or awaited of it, and how it is opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt;
use otlake_base::disk::{BUCKETS, Disk, create_folders, existing_above};
use otlake_base::metrics::by_table;
use otlake_base::{Clock, Code, DataFile, Error, Metrics, Result, Table};
use otlake_shard::Written;
use parking_lot::{Mutex as ShortMutex, RwLock};
use tokio::sync::Mutex;
use url::Url;

use crate::catalog::Sharing;
use crate::columns::{columns, properties};
use crate::durable_store::DurableStore;
use crate::rebuild::InLog;
use crate::recover::{load_newest, unreadable};
use crate::snapshot::{Snapshot, files};
use crate::sweep::sweep_orphans;
use crate::watermarks;

pub(crate) const PARTITIONS: [&str; 2] = otlake_decode::schema::PARTITION_COLUMNS;
/// How long a file may wait for its commit: half the time after which other nodes delete it.
const WAITING_AGE: Duration = Duration::from_secs(12 * 3600);
/// Times that an open looks for a table that another process is making.
const CREATE_ATTEMPTS: usize = 10;

/// One Delta table.
pub struct DeltaTableHandle {
    pub(crate) table: Table,
    pub(crate) root: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sharing: Sharing,
    newest: RwLock<Arc<Snapshot>>,
    /// The last version whose name is known to be durable.
    synced: AtomicI64,
    /// Held by whoever reads what other writers have committed.
    pub(crate) following: Mutex<()>,
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

/// What Delta calls a table's folder. All reading goes through the store that it is given; but a
/// `file:` it looks at by itself, which a folder of a bucket does not stand.
pub(crate) fn location(root: &Path) -> Option<Url> {
    match root.starts_with(BUCKETS) {
        true => Url::parse(&format!("memory://{}/", root.display())).ok(),
        false => Url::from_directory_path(root).ok(),
    }
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
        sharing: Sharing,
    ) -> Result<DeltaTableHandle> {
        let log = root.join("_delta_log");
        let above = root.parent().unwrap_or(&root);
        create_folders(&*disk, existing_above(&*disk, above), &log)
            .map_err(|error| storage(table, "cannot create its folder", error))?;
        let root = disk
            .canonical(&root)
            .map_err(|error| storage(table, "cannot find its folder", error))?;
        let url = location(&root).ok_or_else(|| storage(table, "not a folder", root.display()))?;
        let store = DurableStore::new(Arc::clone(&disk), Arc::clone(&metrics));
        let backend = Arc::new(store.clone());
        let mut delta = DeltaTableBuilder::from_url(url.clone())
            .map(|builder| builder.with_storage_backend(backend, url))
            .and_then(DeltaTableBuilder::build)
            .map_err(|error| unreadable(table, error))?;
        // Of several processes that find no table one makes it, and the others read what it made.
        let mut attempt = 0;
        let (snapshot, tombstones) = loop {
            attempt += 1;
            if holds_table(table, &*disk, &log)? {
                break load_newest(table, &root, &mut delta, &store, in_log, sharing, |delta| {
                    Box::pin(newest(table, root.clone(), delta))
                })
                .await?;
            }
            let created = CreateBuilder::new()
                .with_log_store(delta.log_store())
                .with_table_name(table.name())
                .with_columns(columns(table)?)
                .with_partition_columns(PARTITIONS)
                .with_configuration(properties(table))
                // It would put a second creation on top of another's.
                .with_commit_properties(CommitProperties::default().with_max_retries(0))
                .await;
            match created {
                Ok(created) => {
                    delta = created;
                    break newest(table, root.clone(), &delta).await?;
                }
                Err(error) if attempt == CREATE_ATTEMPTS || !holds_table(table, &*disk, &log)? => {
                    return Err(storage(table, "cannot create the table", error));
                }
                Err(_) => {}
            }
        };
        // A commit can be of a process that ended, or is another's still, before its name was
        // synced: the log may forget nothing by it until it is.
        disk.sync_folder(&log)
            .map_err(|error| storage(table, "cannot sync its log", error))?;
        if sharing == Sharing::Alone {
            sweep_orphans(table, &disk, &snapshot, tombstones).await?;
        }
        let handle = DeltaTableHandle {
            table,
            root,
            disk,
            clock,
            metrics,
            sharing,
            synced: AtomicI64::new(snapshot.version),
            following: Mutex::default(),
            newest: RwLock::new(Arc::clone(&snapshot)),
            published: ShortMutex::default(),
            expected: ShortMutex::default(),
            committer: Mutex::new(delta),
        };
        handle.publish(snapshot);
        Ok(handle)
    }

    /// Reads the table anew, as of a moment after the call: where what it was opened upon was not what
    /// the others have.
    ///
    /// # Errors
    /// `TABLE_IO`, `TABLE_CORRUPT`; the versions that are known stay then.
    pub async fn reopen(&self) -> Result<Arc<Snapshot>> {
        let mut delta = self.committer.lock().await;
        let store = delta.log_store();
        let mut fresh = DeltaTable::new(store);
        let loaded = fresh.load().await;
        loaded.map_err(|error| unreadable(self.table, error))?;
        check_columns(self.table, &fresh)?;
        let snapshot = Arc::new(load(self.table, &self.root, &fresh).await?);
        *delta = fresh;
        self.synced(snapshot.version);
        self.publish(Arc::clone(&snapshot));
        Ok(snapshot)
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

    /// Whose the table's folder is.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// How long a file may wait for its commit before it has to be written anew: far less than it
    /// takes for another node to delete it as one that a crash left.
    pub fn waiting_age(&self) -> Duration {
        WAITING_AGE
    }

    /// The name of this version, and of all before it, is durable.
    pub(crate) fn synced(&self, version: i64) {
        self.synced.fetch_max(version, Ordering::SeqCst);
    }

    pub(crate) fn is_synced(&self, version: i64) -> bool {
        self.synced.load(Ordering::SeqCst) >= version
    }

    /// Makes it the newest version, unless a later one is known already.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        if snapshot.version < self.snapshot().version {
            return;
        }
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
        {
            let mut newest = self.newest.write();
            if snapshot.version >= newest.version {
                *newest = Arc::clone(&snapshot);
            }
        }
        if !expected.is_empty() {
            for file in snapshot.files.iter() {
                expected.remove(&file.path);
            }
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        i64::try_from(self.clock.unix_nano() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Says that no commit will name these files: they are vacuumed once they are old.
    pub fn forget(&self, files: &[Written]) {
        let mut expected = self.expected.lock();
        for written in files {
            expected.remove(&written.file.path);
        }
    }
}

pub(crate) async fn load(table: Table, root: &Path, delta: &DeltaTable) -> Result<Snapshot> {
    let state = state(table, delta)?;
    let version = state.version();
    let marks = watermarks::read(&delta.log_store(), version).await?;
    Ok(Snapshot {
        version: version as i64,
        files: Arc::new(files(table, state)?),
        watermarks: marks.watermarks,
        taken_over: marks.taken_over,
        root: root.to_path_buf(),
    })
}

/// Whether there is a table is asked of the folder itself: one that merely failed to load must
/// never be made anew.
fn holds_table(table: Table, disk: &dyn Disk, log: &Path) -> Result<bool> {
    let of_a_table = |name: &str| name.ends_with(".json") || name.ends_with(".parquet");
    let entries = disk
        .list(log)
        .map_err(|error| storage(table, "cannot list its log", error))?;
    Ok(entries.iter().any(|entry| of_a_table(&entry.name)))
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
