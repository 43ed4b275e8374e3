//! The handle: this node's copies, and its ways to those of others.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{AbortHandle, BoxFuture, abortable};
use object_store::ObjectStore;
use otlake_base::disk::{Disk, create_durably};
use otlake_base::limits::FILES_DELETED;
use otlake_base::{Clock, Code, Error, Metrics, Result, Table};
use otlake_bucket::{Address, Bucket};
use otlake_consensus::Wire;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};

use crate::group::Group;
use crate::names::{in_log, split};
use crate::placement::FilesView;
use crate::repair::{self, Waiting};
use crate::runtime::{self, Runtime, TokioRuntime};
use crate::sheet::Sheet;
use crate::shelf::{Shelf, Writing};
use crate::store::Store;
use crate::wire::{Answer, FILES, Request, What, checked, decode, encode};

/// The folder of copies, in the data folder.
pub(crate) const FOLDER: &str = "files";
/// The file in it that says whose it is.
pub(crate) const LOCK: &str = "LOCK";
/// Nodes that have a file of a table whose signal has fewer copies: below two, a lost disk is lost
/// rows.
const LEAST_COPIES: usize = 2;
/// Nodes of more than so many that have a commit before it is one.
const MOST_LOG_COPIES: usize = 3;
/// How long a question that is answered from memory or one read may take.
pub(crate) const ASK_TIME: Duration = Duration::from_secs(10);

/// When what happens beside the calls.
#[derive(Clone, Copy, Debug)]
pub struct FilesPace {
    /// How often it is tried to join the metadata group, and what failed is tried again.
    pub retry: Duration,
    /// How often files that lack copies are offered to those who should have one.
    pub offer: Duration,
    /// How often all files are.
    pub offer_all: Duration,
    /// How long a copy that belongs on others stays once they have it.
    pub extra: Duration,
    /// How long a content that got no name stays.
    pub staged: Duration,
}

impl Default for FilesPace {
    fn default() -> Self {
        FilesPace {
            retry: Duration::from_millis(500),
            offer: Duration::from_secs(5),
            offer_all: Duration::from_secs(300),
            extra: Duration::from_secs(600),
            staged: Duration::from_secs(3600),
        }
    }
}

/// What connects a node's copies with those of others.
pub struct FilesLink {
    /// This node's name.
    pub name: Arc<str>,
    /// The ways to other nodes.
    pub wire: Arc<dyn Wire>,
    /// What the nodes agree on.
    pub group: Arc<dyn Group>,
    /// Copies of a table's files, by signal: spans, metrics, logs.
    pub copies: [usize; 3],
    /// Whether fewer copies are taken where there are too few nodes.
    pub allow_degraded: bool,
}

/// Keys that were deleted, the newest of them.
#[derive(Default)]
struct Deleted {
    keys: HashSet<String>,
    order: VecDeque<String>,
}

/// Files of tables on the nodes' own disks: this node's part.
pub struct Files {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pace: FilesPace,
    link: RwLock<Option<Arc<FilesLink>>>,
    view: watch::Sender<Arc<FilesView>>,
    /// Commits 0 that this node made while it knew of no other's, by the log's folder.
    pub(crate) made: Mutex<BTreeMap<String, Bytes>>,
    joined: watch::Sender<bool>,
    /// Why this node has not joined.
    pub(crate) obstacle: Mutex<Option<String>>,
    deleted: Mutex<Deleted>,
    /// Keys that fewer nodes have than should.
    pub(crate) lacking: Mutex<BTreeSet<String>>,
    pub(crate) waiting: Waiting,
    pub(crate) takes: Semaphore,
    /// Files that were written for a backup, the oldest first.
    pub(crate) lent: Mutex<VecDeque<PathBuf>>,
    /// Held by whoever gives names of a log, so that two do not write one file.
    pub(crate) naming: tokio::sync::Mutex<()>,
    /// Told when there is something to offer.
    pub(crate) stirred: Notify,
    tasks: Mutex<Vec<AbortHandle>>,
    /// Of the folder.
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

pub(crate) fn disk_failed(error: io::Error) -> Error {
    Error::new(Code::TableIo, format!("this node's disk: {error}"))
}

impl Files {
    /// Opens the copies in a data folder, which one process has at a time. Until `join` they are read
    /// as they are, and nothing is written. Blocks. What is done with them runs on the tokio runtime that
    /// it is asked for in.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_UNUSABLE`, `NODE_DIRECTORY_LOCKED`; `CONFIG_INVALID` on Windows, and where the
    /// data folder holds tables of a node by itself.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        pace: FilesPace,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Files>> {
        let runtime = Arc::new(TokioRuntime);
        Files::open_on(runtime, disk, data_dir, pace, clock, metrics)
    }

    /// The same, where what is done with them runs on another runtime.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_on(
        runtime: Arc<dyn Runtime>,
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        pace: FilesPace,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Files>> {
        if cfg!(windows) {
            let what = "`storage.tables`: tables on the nodes' own disks need Linux or macOS";
            return Err(Error::new(Code::ConfigInvalid, what));
        }
        let own = data_dir.join("tables");
        if disk.list(&own).is_ok_and(|entries| !entries.is_empty()) {
            let what = format!(
                "{} holds tables of a node by itself, which a cluster would not see: give \
                 --tables a place that all nodes reach and that has them, or this node an empty \
                 --data-dir",
                own.display()
            );
            return Err(Error::new(Code::ConfigInvalid, what));
        }
        let folder = data_dir.join(FOLDER);
        let unusable = |error: io::Error| {
            let code = match error.kind() {
                io::ErrorKind::WouldBlock => Code::NodeDirectoryLocked,
                _ => Code::NodeDirectoryUnusable,
            };
            Error::new(code, format!("{}: {error}", folder.display()))
        };
        create_durably(&*disk, &folder).map_err(unusable)?;
        let owner = format!("process {}\n", std::process::id());
        let lock = disk.lock(&folder.join(LOCK), &owner);
        let lock = lock.map_err(unusable)?;
        let now = clock.monotonic().as_secs();
        let shelf = Shelf::open(disk, &folder, now, Arc::clone(&metrics)).map_err(unusable)?;
        let files = Arc::new(Files {
            shelf: Arc::new(shelf),
            runtime,
            clock,
            metrics,
            pace,
            link: RwLock::default(),
            view: watch::channel(Arc::default()).0,
            made: Mutex::default(),
            joined: watch::channel(false).0,
            obstacle: Mutex::default(),
            deleted: Mutex::default(),
            lacking: Mutex::default(),
            waiting: Waiting::default(),
            takes: Semaphore::new(otlake_base::limits::FILES_TAKES),
            lent: Mutex::default(),
            naming: tokio::sync::Mutex::default(),
            stirred: Notify::new(),
            tasks: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        files.look_through_logs().map_err(unusable)?;
        Ok(files)
    }

    /// Whether a data folder has copies of tables that a cluster keeps on its nodes' disks.
    pub fn are_in(disk: &dyn Disk, data_dir: &Path) -> bool {
        let tables = data_dir.join(FOLDER).join("tables");
        disk.list(&tables).is_ok_and(|entries| !entries.is_empty())
    }

    /// The files as a disk, and as what queries read, for a node with this data folder.
    ///
    /// # Errors
    /// `INTERNAL` where no threads are to be had.
    pub fn mounted(self: &Arc<Self>, data_dir: &Path) -> Result<Bucket> {
        let store = self.own_store();
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let address = Address::of_nodes();
        Bucket::over(address, store.clone(), store, (clock, metrics), data_dir)
    }

    fn own_store(self: &Arc<Self>) -> Arc<Store> {
        Arc::new(Store(Arc::clone(self)))
    }

    /// The files as an object store.
    pub fn store(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        self.own_store()
    }

    /// Connects this node's copies with those of others. Needs a tokio runtime with time enabled, or the
    /// one that the files were opened on; what goes on beside the calls runs there, until `leave`.
    pub fn join(self: &Arc<Self>, link: FilesLink) {
        *self.link.write() = Some(Arc::new(link));
        for task in repair::tasks(self) {
            self.begin_task(task);
        }
    }

    /// Runs a task until `leave`.
    fn begin_task(&self, task: BoxFuture<'static, ()>) {
        let (task, handle) = abortable(task);
        self.tasks.lock().push(handle);
        self.runtime.spawn(Box::pin(async move {
            // Aborted or at its end, it is over.
            let _ = task.await;
        }));
    }

    /// Does what waits for this node's disk.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        runtime::blocking(&*self.runtime, work).await
    }

    /// Takes over who belongs to the cluster, and where files belong.
    pub fn place(&self, view: FilesView) {
        self.view.send_if_modified(|last| {
            let changed = **last != view;
            if changed {
                *last = Arc::new(view);
            }
            changed
        });
    }

    /// Turns true once this node has all that the cluster had decided before: what it shows from then
    /// on is no more what it had when it was started.
    pub fn joined(&self) -> watch::Receiver<bool> {
        self.joined.subscribe()
    }

    /// Why this node has not joined; none where it has, or nothing speaks against it yet.
    pub fn obstacle(&self) -> Option<String> {
        self.obstacle.lock().clone()
    }

    /// Ends what `join` began; copies are read as they are, and another process may have the folder.
    pub fn leave(&self) {
        *self.link.write() = None;
        self.joined.send_replace(false);
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.lock.lock().take();
    }

    pub(crate) fn has_joined(&self) -> bool {
        *self.joined.borrow()
    }

    pub(crate) fn set_joined(&self) {
        self.joined.send_replace(true);
    }

    pub(crate) fn link(&self) -> Result<Arc<FilesLink>> {
        self.link.read().clone().ok_or_else(|| {
            let what = "the node has not joined the others yet";
            Error::new(Code::TableIo, what)
        })
    }

    pub(crate) fn view(&self) -> Arc<FilesView> {
        Arc::clone(&self.view.borrow())
    }

    pub(crate) fn views(&self) -> watch::Receiver<Arc<FilesView>> {
        self.view.subscribe()
    }

    /// Seconds of the monotonic clock.
    pub(crate) fn now(&self) -> u64 {
        self.clock.monotonic().as_secs()
    }

    /// How many nodes should have a file.
    pub(crate) fn wanted(&self, link: &FilesLink, key: &str) -> usize {
        if in_log(key).is_some() {
            return MOST_LOG_COPIES;
        }
        let table = Table::from_name(key.split('/').next().unwrap_or_default());
        let signal = table.map_or(0, |table| table.signal().index());
        link.copies[signal].max(LEAST_COPIES)
    }

    /// How many nodes must have a file on stable storage before it is there: of a commit as many as a
    /// majority, up to three; of others two. Members that are away count: fewer are only enough where
    /// that is allowed.
    pub(crate) fn needed(&self, link: &FilesLink, key: &str) -> usize {
        let view = self.view();
        let members = view.members.len().max(link.group.members()).max(1);
        let needed = match in_log(key) {
            Some(_) => (members / 2 + 1).min(MOST_LOG_COPIES),
            None => members.min(LEAST_COPIES),
        };
        let there = 1 + view.others(&link.name).len();
        if link.allow_degraded && there < needed {
            self.metrics.files.degraded.inc();
            return there;
        }
        needed
    }

    /// The other nodes, those first that should have the file.
    pub(crate) fn candidates(&self, link: &FilesLink, key: &str) -> Vec<Arc<str>> {
        let view = self.view();
        let mut first = view.holders(key, self.wanted(link, key));
        first.retain(|node| *node != link.name && view.is_there(node));
        for node in view.others(&link.name) {
            if !first.contains(&node) {
                first.push(node);
            }
        }
        first
    }

    /// Asks another node.
    pub(crate) async fn ask(
        &self,
        link: &FilesLink,
        node: &str,
        request: &Request,
        (body, time): (&[u8], Duration),
    ) -> Result<(Answer, Bytes)> {
        let request = encode(request, body)?;
        let answer = link.wire.call(node, FILES, request, time).await?;
        decode(&answer)
    }

    /// Bytes of another node's copy; none where it has no sound one.
    pub(crate) async fn read_at(
        &self,
        link: &FilesLink,
        node: &str,
        (what, range): (&What, &Range<u64>),
        purpose: &'static str,
    ) -> Result<Option<Bytes>> {
        let request = Request::Read {
            what: what.clone(),
            start: range.start,
            end: range.end,
        };
        match self.ask(link, node, &request, (&[], ASK_TIME)).await? {
            (Answer::Bytes { crc }, bytes) => {
                self.metrics.files.fetched(purpose, bytes.len() as u64);
                checked(bytes, crc).map(Some)
            }
            (Answer::Absent, _) => Ok(None),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// What stands beside another node's copy; none where it has no sound one.
    pub(crate) async fn describe_at(
        &self,
        link: &FilesLink,
        node: &str,
        what: &What,
    ) -> Result<Option<Arc<Sheet>>> {
        let request = Request::Describe { what: what.clone() };
        match self.ask(link, node, &request, (&[], ASK_TIME)).await? {
            (Answer::Sheet(text), _) => {
                let sheet = Sheet::from_text(&text);
                let sheet = sheet.map_err(|error| Error::new(Code::PeerProtocol, error))?;
                Ok(Some(Arc::new(sheet)))
            }
            (Answer::Absent, _) => Ok(None),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Remembers that a key is deleted for good: no name is given twice.
    pub(crate) fn forget(&self, key: &str) {
        let mut deleted = self.deleted.lock();
        if !deleted.keys.insert(key.to_owned()) {
            return;
        }
        deleted.order.push_back(key.to_owned());
        if deleted.order.len() > FILES_DELETED
            && let Some(oldest) = deleted.order.pop_front()
        {
            deleted.keys.remove(&oldest);
        }
    }

    pub(crate) fn is_forgotten(&self, key: &str) -> bool {
        self.deleted.lock().keys.contains(key)
    }

    /// Writes bytes as a file of its own that has no name yet, and syncs it.
    pub(crate) async fn written(
        &self,
        folder: &str,
        bytes: Bytes,
        modified: u64,
    ) -> io::Result<(Writing, Arc<Sheet>)> {
        let (shelf, folder) = (Arc::clone(&self.shelf), folder.to_owned());
        self.blocking(move || {
            let mut writing = shelf.begin(&folder)?;
            writing.write(&bytes)?;
            let sheet = writing.finish(modified)?;
            Ok((writing, sheet))
        })
        .await
    }

    /// Writes bytes behind what was written.
    pub(crate) async fn appended(&self, mut writing: Writing, bytes: Bytes) -> Result<Writing> {
        let appended = self.blocking(move || {
            writing.write(&bytes)?;
            Ok(writing)
        });
        appended.await.map_err(disk_failed)
    }

    /// Syncs what was written, and tells what it is checked by.
    pub(crate) async fn synced(
        &self,
        mut writing: Writing,
        modified: u64,
    ) -> Result<(Writing, Arc<Sheet>)> {
        let synced = self.blocking(move || {
            let sheet = writing.finish(modified)?;
            Ok((writing, sheet))
        });
        synced.await.map_err(disk_failed)
    }

    /// Gives what was written its name.
    pub(crate) async fn keep(
        &self,
        writing: Writing,
        sheet: &Arc<Sheet>,
        key: &str,
    ) -> io::Result<()> {
        let (shelf, sheet, key) = (Arc::clone(&self.shelf), Arc::clone(sheet), key.to_owned());
        self.blocking(move || shelf.keep(writing, &sheet, &key))
            .await
    }

    /// As `keep`, of a copy that came from another node: one whose file was deleted since it was begun,
    /// which is after `was_forgotten` was told, does not come into being. Whether it did.
    pub(crate) async fn keep_copy(
        self: &Arc<Self>,
        writing: Writing,
        sheet: &Arc<Sheet>,
        (key, was_forgotten): (&str, bool),
    ) -> io::Result<bool> {
        let (files, sheet, key) = (Arc::clone(self), Arc::clone(sheet), key.to_owned());
        self.blocking(move || {
            let is_wanted = || was_forgotten || !files.is_forgotten(&key);
            files.shelf.keep_if(writing, &sheet, &key, is_wanted)
        })
        .await
    }

    /// The folder that a file is written in.
    pub(crate) fn folder_of(what: &What) -> &str {
        match what {
            What::Key(key) => split(key).0,
            What::Content { folder, .. } => folder,
        }
    }
}

pub(crate) fn unexpected(answer: &Answer) -> Error {
    let what = format!("files: another node answered {answer:?}");
    Error::new(Code::PeerProtocol, what)
}
