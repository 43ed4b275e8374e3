//! The disk port on a volume in memory: it fails by the seed, and stops at a given operation.
//!
//! Whether an operation fails depends on the seed, its file and how often that file was used so,
//! and on nothing else: two runs of a seed meet the same faults whatever their threads do.

mod file;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::Clock;
use otlake_base::disk::{Disk, DiskFile, Entry, Status};
use parking_lot::Mutex;

use self::file::{SimFile, SimLock};
use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::faults::{Fault, Faults};
use crate::mutation::Mutation;
use crate::volume::{FileNode, FolderNode, Id, Node, Volume};

/// Steps that are kept to be printed.
const STEPS_KEPT: usize = 100_000;

/// How a machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What is not synced may be lost.
    PowerCut,
    /// The process ends, and the page cache stays.
    Kill,
}

#[derive(Debug)]
struct State {
    seed: u64,
    volume: Volume,
    faults: Faults,
    mutation: Mutation,
    locks: Vec<PathBuf>,
    /// By operation and path: how often, and what came of it.
    used: BTreeMap<(&'static str, PathBuf), (u64, u64)>,
    operations: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    crashed: bool,
    /// Faults that took place.
    injected: u64,
    steps: Option<Vec<String>>,
}

/// A disk of a simulation. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    clock: Arc<SimClock>,
}

fn down() -> io::Error {
    io::Error::other("the machine is down")
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    /// Counts an operation, and draws what becomes of it.
    fn begin(
        &mut self,
        operation: &'static str,
        path: &Path,
        clock: &SimClock,
    ) -> io::Result<(Option<Fault>, Chance)> {
        if self.crashed {
            return Err(down());
        }
        // To go down before a read is to go down before what comes after it.
        let changes = !matches!(operation, "open" | "status" | "list");
        if changes && self.crash_at.is_some_and(|at| self.operations >= at) {
            self.crashed = true;
            self.step(|| format!("CRASH before {operation} {}", path.display()));
            return Err(down());
        }
        let fails = changes && self.fail_at == Some(self.operations);
        self.operations += u64::from(changes);
        let key = (operation, path.to_path_buf());
        let (times, _) = self.used.entry(key).or_default();
        *times += 1;
        let name = path.as_os_str().as_encoded_bytes();
        let what = [operation.as_bytes(), name, &times.to_le_bytes()];
        let mut chance = Chance::new(draw(self.seed, &what), "fault");
        clock.advance(self.faults.latency(&mut chance));
        let fault = match fails {
            true => Some(Fault::Error),
            false => self.faults.draw(operation, &mut chance),
        };
        if let Some(fault) = fault {
            self.injected += 1;
            self.step(|| format!("FAULT {fault:?} in {operation} {}", path.display()));
        }
        Ok((fault, chance))
    }

    fn step(&mut self, text: impl FnOnce() -> String) {
        let operations = self.operations;
        if let Some(steps) = &mut self.steps
            && steps.len() < STEPS_KEPT
        {
            steps.push(format!("{operations:6} {}", text()));
        }
    }

    /// Takes what came of an operation into the trace.
    fn end<T>(
        &mut self,
        operation: &'static str,
        path: &Path,
        outcome: &io::Result<T>,
        figure: u64,
    ) {
        let told = match outcome {
            Ok(_) => figure,
            Err(error) => u64::MAX - error.kind() as u64,
        };
        if let Some((_, hash)) = self.used.get_mut(&(operation, path.to_path_buf())) {
            *hash = draw(*hash, &[&told.to_le_bytes()]);
        }
        self.step(|| match outcome {
            Ok(_) if figure == 0 => format!("{operation} {}", path.display()),
            Ok(_) => format!("{operation} {} ({figure})", path.display()),
            Err(error) => format!("{operation} {}: {error}", path.display()),
        });
    }
}

impl SimDisk {
    /// An empty disk with one folder, whose name is durable.
    pub fn new(seed: u64, clock: Arc<SimClock>) -> SimDisk {
        Self::of(seed, Volume::default(), Mutation::None, clock)
    }

    fn of(seed: u64, volume: Volume, mutation: Mutation, clock: Arc<SimClock>) -> SimDisk {
        let state = State {
            seed,
            volume,
            faults: Faults::default(),
            mutation,
            locks: Vec::new(),
            used: BTreeMap::new(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            crashed: false,
            injected: 0,
            steps: None,
        };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
            clock,
        }
    }

    /// The disk after the machine came back, as full as it was; this one stays down for those who
    /// still hold it.
    #[must_use]
    pub fn reboot(&self, fate: Fate, seed: u64) -> SimDisk {
        let mut state = self.state.lock();
        state.crashed = true;
        let mut volume = state.volume.clone();
        if fate == Fate::PowerCut {
            volume.cut(seed);
        }
        let disk = Self::of(seed, volume, state.mutation, Arc::clone(&self.clock));
        if state.steps.is_some() {
            disk.keep_steps();
        }
        disk
    }

    /// A disk that holds the same, for another seed.
    #[must_use]
    pub fn copy(&self, seed: u64, clock: Arc<SimClock>) -> SimDisk {
        let state = self.state.lock();
        Self::of(seed, state.volume.clone(), state.mutation, clock)
    }

    /// Which faults are drawn from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// What is broken from now on.
    pub fn set_mutation(&self, mutation: Mutation) {
        self.state.lock().mutation = mutation;
    }

    /// Goes down at this operation from now, counted from 0; those that only read do not count.
    pub fn crash_in(&self, operations: u64) {
        let mut state = self.state.lock();
        state.crash_at = Some(state.operations + operations);
    }

    /// Fails this operation from now, counted as by `crash_in`, and that one alone.
    pub fn fail_in(&self, operations: u64) {
        let mut state = self.state.lock();
        state.fail_at = Some(state.operations + operations);
    }

    /// Whether it is down.
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// How many bytes can still be taken.
    pub fn set_free(&self, bytes: Option<u64>) {
        self.state.lock().volume.free = bytes;
    }

    /// How many bytes can still be taken; None: as many as one likes.
    pub fn free(&self) -> Option<u64> {
        self.state.lock().volume.free
    }

    /// Operations up to now that change something.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Faults that took place up to now.
    pub fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    /// Keeps the steps from now on, to be printed.
    pub fn keep_steps(&self) {
        self.state.lock().steps = Some(Vec::new());
    }

    /// The steps that were kept.
    pub fn steps(&self) -> Vec<String> {
        self.state.lock().steps.clone().unwrap_or_default()
    }

    /// Everything that was done, and what came of it, as one number that the order between files
    /// does not change.
    pub fn trace(&self) -> u64 {
        let state = self.state.lock();
        let mut trace = 0;
        for ((operation, path), (times, hash)) in &state.used {
            let name = path.as_os_str().as_encoded_bytes();
            let parts = [
                operation.as_bytes(),
                name,
                &times.to_le_bytes(),
                &hash.to_le_bytes(),
            ];
            trace = draw(trace, &parts);
        }
        trace
    }

    /// The files below a folder with their lengths, by name.
    pub fn files_below(&self, folder: &Path) -> Vec<(PathBuf, u64)> {
        let state = self.state.lock();
        let (mut files, mut left) = (Vec::new(), vec![folder.to_path_buf()]);
        while let Some(path) = left.pop() {
            match state.volume.find(&path).map(|id| state.volume.node(id)) {
                Ok(Node::File(file)) => files.push((path, file.cache.len() as u64)),
                Ok(Node::Folder(folder)) => {
                    left.extend(folder.now.keys().map(|name| path.join(name)));
                }
                Err(_) => {}
            }
        }
        files.sort();
        files
    }

    /// A file's bytes as programs see them, read past every fault.
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.volume.find(path).ok()?;
        state.volume.file(id).ok().map(|file| file.cache.clone())
    }

    /// How many bytes of a file a power cut surely leaves; none where it may leave no such file.
    pub fn durable_bytes(&self, path: &Path) -> Option<u64> {
        let state = self.state.lock();
        state.volume.durable(path).map(|bytes| bytes.len() as u64)
    }

    /// Changes a bit that was written and synced.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.state.lock();
        let flipped = state.volume.flip(path, bit);
        state.step(|| format!("FLIP bit {bit} of {}: {flipped:?}", path.display()));
    }

    /// Puts other bytes in a file's place.
    pub fn replace(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        if let Ok(id) = state.volume.find(path) {
            let _ = state.volume.replace(id, bytes);
        }
    }

    fn simply<T>(
        &self,
        operation: &'static str,
        path: &Path,
        work: impl FnOnce(&mut State, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let now = self.clock.unix_nano();
        let mut state = self.state.lock();
        let (fault, _) = state.begin(operation, path, &self.clock)?;
        let outcome = match fault {
            Some(_) => Err(eio()),
            None => work(&mut state, now),
        };
        state.end(operation, path, &outcome, 0);
        outcome
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.simply("create", path, |state, now| {
            let file = FileNode::made(now);
            state.volume.add(path, Node::File(file))
        })?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            id,
            at: 0,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.simply("open", path, |state, _| {
            let id = state.volume.find(path)?;
            state.volume.file(id).map(|_| id)
        })?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            id,
            at: 0,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.simply("rename", from, |state, _| state.volume.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.simply("link", from, |state, _| state.volume.link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.simply("remove", path, |state, _| state.volume.remove(path, false))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.simply("create_folder", path, |state, _| {
            let folder = Node::Folder(FolderNode::default());
            state.volume.add(path, folder).map(|_| ())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.simply("remove_folder", path, |state, _| {
            state.volume.remove(path, true)
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.simply("sync_folder", path, |state, _| match state.mutation {
            Mutation::SkipFolderSync => Ok(()),
            _ => state.volume.sync_folder(path),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.simply("list", path, |state, _| {
            let folder = state.volume.folder(path)?;
            let entry = |(name, id): (&String, &Id)| Entry {
                name: name.clone(),
                folder: matches!(state.volume.node(*id), Node::Folder(_)),
            };
            Ok(folder.now.iter().map(entry).collect())
        })
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        self.simply("status", path, |state, _| {
            let status = match state.volume.node(state.volume.find(path)?) {
                Node::File(file) => Status {
                    folder: false,
                    bytes: file.cache.len() as u64,
                    modified_unix_nano: file.modified,
                },
                Node::Folder(_) => Status {
                    folder: true,
                    bytes: 0,
                    modified_unix_nano: 0,
                },
            };
            Ok(status)
        })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.status(path).map(|_| path.to_path_buf())
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.simply("lock", path, |state, now| {
            if state.locks.iter().any(|locked| locked == path) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let id = match state.volume.find(path) {
                Ok(id) => id,
                Err(_) => state.volume.add(path, Node::File(FileNode::default()))?,
            };
            state.volume.resize(id, 0)?;
            state.volume.write(id, 0, owner.as_bytes(), now)?;
            state.locks.push(path.to_path_buf());
            Ok(())
        })?;
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_path_buf(),
        }))
    }

    fn unique(&self, folder: &Path) -> u128 {
        let mut state = self.state.lock();
        let key = ("unique", folder.to_path_buf());
        let (times, _) = state.used.entry(key).or_default();
        *times += 1;
        let times = times.to_le_bytes();
        let name = folder.as_os_str().as_encoded_bytes();
        let half = |part: &[u8]| u128::from(draw(state.seed, &[name, &times, part]));
        half(b"high") << 64 | half(b"low")
    }

    fn concurrency(&self) -> usize {
        1
    }
}

impl SimDisk {
    /// Adds a driver's own words to the steps.
    pub fn note(&self, text: impl FnOnce() -> String) {
        self.state.lock().step(text);
    }

    /// Whether it is this very disk, since the same start of its machine.
    pub fn is(&self, other: &SimDisk) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// The clock that its operations move.
    pub fn clock(&self) -> Arc<SimClock> {
        Arc::clone(&self.clock)
    }

    /// Lets time pass.
    pub fn wait(&self, by: Duration) {
        self.clock.advance(by);
    }
}
