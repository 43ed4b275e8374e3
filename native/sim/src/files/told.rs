//! What was told to the clients of a run, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use otlake_base::invariant::Invariant;

use super::content::data;
use super::world::World;

/// A data file.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileTold {
    pub bytes: u64,
    /// It was told as done.
    pub is_done: bool,
    /// Its deletion has begun.
    pub is_deleted: bool,
}

/// A table's log.
#[derive(Default)]
pub struct LogTold {
    /// The content of each version, as soon as anybody has seen it, or was told to have given it.
    agreed: BTreeMap<u64, Bytes>,
    /// Versions whose writer was told that they are done.
    won: BTreeSet<u64>,
    /// The content of everything else that has its name once.
    names: BTreeMap<String, Bytes>,
    /// One beyond the greatest version that was told as done to anybody, or seen.
    pub next: u64,
    /// Versions below it are being deleted.
    pub deleted_below: u64,
}

/// What was told.
#[derive(Default)]
pub struct Told {
    pub files: BTreeMap<String, FileTold>,
    pub logs: BTreeMap<&'static str, LogTold>,
    /// Disks that were lost.
    pub wipes: u64,
    /// Numbers names.
    pub names: u64,
}

impl World {
    /// A number that no other has.
    pub fn number(&self) -> u64 {
        let mut told = self.told.lock();
        told.names += 1;
        told.names
    }

    /// A commit is told to its writer as done: nobody else may have been told so.
    pub fn won(&self, table: &'static str, version: u64, content: &Bytes) {
        let is_first = {
            let mut told = self.told.lock();
            let log = told.logs.entry(table).or_default();
            log.next = log.next.max(version + 1);
            log.won.insert(version)
        };
        if !is_first {
            let what = format!("version {version} of {table} was given to two writers");
            self.violated(Invariant::I9Fenced, what);
        }
        self.seen(table, version, content);
        self.report.lock().acknowledged += 1;
    }

    /// A commit is seen: all see the same.
    pub fn seen(&self, table: &'static str, version: u64, content: &Bytes) {
        let agrees = {
            let mut told = self.told.lock();
            let log = told.logs.entry(table).or_default();
            log.next = log.next.max(version + 1);
            let agreed = log.agreed.entry(version);
            *agreed.or_insert_with(|| content.clone()) == *content
        };
        if !agrees {
            let what = format!("version {version} of {table} is not the same for everybody");
            self.violated(Invariant::I9Fenced, what);
        }
    }

    /// A file of a log is seen whose name is given once: all see the same.
    pub fn seen_name(&self, table: &'static str, key: &str, content: &Bytes) {
        let agrees = {
            let mut told = self.told.lock();
            let log = told.logs.entry(table).or_default();
            let agreed = log.names.entry(key.to_owned());
            *agreed.or_insert_with(|| content.clone()) == *content
        };
        if !agrees {
            let what = format!("{key} is not the same for everybody");
            self.violated(Invariant::I6Detected, what);
        }
    }

    /// One beyond the greatest version that whoever looks now must see.
    pub fn must_see(&self, table: &'static str) -> u64 {
        let told = self.told.lock();
        told.logs.get(table).map_or(0, |log| log.next)
    }

    /// A data file is about to be written.
    pub fn put_begins(&self, key: &str, bytes: u64) {
        let mut told = self.told.lock();
        let file = FileTold {
            bytes,
            ..FileTold::default()
        };
        told.files.insert(key.to_owned(), file);
    }

    /// A data file is told as done, which was written since so many disks were lost.
    pub fn put_done(&self, key: &str, wipes: u64) {
        let (bytes, is_whole) = {
            let mut told = self.told.lock();
            let is_whole = told.wipes == wipes;
            let file = told.files.entry(key.to_owned()).or_default();
            file.is_done = true;
            (file.bytes, is_whole)
        };
        self.report.lock().acknowledged += 1;
        let count = self.nodes.lock().len();
        let has = |node: &usize| self.has_durably(*node, key, bytes);
        let copies = (0..count).filter(has).count();
        if is_whole && copies < 2 {
            let what = format!("{key} is told as done on {copies} disks");
            self.violated(Invariant::I1DurableAck, what);
        }
    }

    /// What was read of a data file, from a place on.
    pub fn data_read(&self, node: usize, key: &str, (from, read): (u64, &[u8])) {
        let Some(file) = self.file_told(key) else {
            self.violated(Invariant::I6Detected, format!("{key} was never written"));
            return;
        };
        let content = data(key, file.bytes);
        let expected = content.get(from as usize..from as usize + read.len());
        if expected != Some(read) {
            let what = format!("n{node} serves other bytes of {key} than were written");
            self.violated(Invariant::I6Detected, what);
        }
    }

    /// A node says that there is no such data file.
    pub fn data_absent(&self, node: usize, key: &str) {
        if let Some(file) = self.file_told(key)
            && file.is_done
            && !file.is_deleted
        {
            let what = format!("n{node} says that there is no {key}, which was told as done");
            self.violated(Invariant::I2NothingLost, what);
        }
    }

    pub fn file_told(&self, key: &str) -> Option<FileTold> {
        self.told.lock().files.get(key).copied()
    }

    /// Notes that a file's deletion begins.
    pub fn deletes(&self, key: &str) {
        let mut told = self.told.lock();
        if let Some(file) = told.files.get_mut(key) {
            file.is_deleted = true;
        }
    }

    /// Notes that commits up to a version, this one included, are about to be deleted.
    pub fn deletes_commits(&self, table: &'static str, version: u64) {
        let mut told = self.told.lock();
        let log = told.logs.entry(table).or_default();
        log.deleted_below = log.deleted_below.max(version + 1);
    }

    /// A node says that there is no such commit, which it has listed, or must know of.
    pub fn commit_absent(&self, node: usize, table: &'static str, version: u64) {
        let deleted_below = {
            let told = self.told.lock();
            told.logs.get(table).map_or(0, |log| log.deleted_below)
        };
        if version >= deleted_below {
            let what = format!("n{node} lacks version {version} of {table}");
            self.violated(Invariant::I2NothingLost, what);
        }
    }
}
