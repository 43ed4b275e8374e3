//! Logs of tables whose files the nodes keep: which content a name stands for, and who had it first.
//! The content is with the nodes; here is what they agree on, and no more of it than whoever begins
//! to read needs.
//!
//! ```text
//!  deleted   checkpointed, not told here     told here, by number         free
//!  0 ..... floor ................... first ..................... next - 1 | next
//! ```
//!
//! A commit's name is given once, and only the one that is free: that is the compare-and-swap of
//! commits. Of the commits those are told that come after the second newest checkpoint, and never
//! fewer than `KEPT_COMMITS`; what else lies in the folder (checkpoints, their checksums, the hint) is
//! told until it is deleted, or lies below the floor.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{State, full};
use crate::command::{Answer, Refusal};
use crate::limits::{KEPT_COMMITS, MAX_COMMITS, MAX_FILE_LOGS, MAX_LOG_NAMES};

/// What a name of a log stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// XXH3 of the content, 128 bits.
    #[serde(with = "crate::hex")]
    pub sum: u128,
    /// Its length.
    pub bytes: u64,
    /// When it was written, in ns since 1970 UTC, by its writer's clock.
    pub modified_unix_nano: u64,
    /// The nodes that had it on stable storage before it got its name.
    pub holders: Vec<Arc<str>>,
}

/// The log of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileLog {
    /// Everything of versions below it is deleted.
    pub floor: u64,
    /// The version that is free.
    pub next: u64,
    /// The newest commits, by version.
    pub commits: Arc<BTreeMap<u64, LogFile>>,
    /// Everything else, by name.
    pub names: Arc<BTreeMap<String, LogFile>>,
}

/// The version of a commit's name, `<20 digits>.json`.
pub fn commit_version(name: &str) -> Option<u64> {
    digits(name.strip_suffix(".json")?)
}

/// The version of a checkpoint's file, `<20 digits>.checkpoint….parquet`.
pub fn checkpoint_version(name: &str) -> Option<u64> {
    let (version, rest) = name.split_once('.')?;
    let is_one = rest.starts_with("checkpoint") && rest.ends_with(".parquet");
    digits(version).filter(|_| is_one)
}

/// The version that a name is of, of whatever kind: `<20 digits>.…` or `.<20 digits>.…`.
pub fn version_of(name: &str) -> Option<u64> {
    let name = name.strip_prefix('.').unwrap_or(name);
    digits(name.split_once('.')?.0)
}

fn digits(text: &str) -> Option<u64> {
    let is_version = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then(|| text.parse().ok()).flatten()
}

impl FileLog {
    /// What a name stands for, as far as it is told here.
    pub fn get(&self, name: &str) -> Option<&LogFile> {
        match commit_version(name) {
            Some(version) => self.commits.get(&version),
            None => self.names.get(name),
        }
    }

    /// The first commit that is told here.
    pub fn first(&self) -> u64 {
        self.commits.keys().next().copied().unwrap_or(self.next)
    }

    /// The versions of checkpoints, the newest first, once each.
    fn checkpoints(&self) -> Vec<u64> {
        let versions = self
            .names
            .keys()
            .filter_map(|name| checkpoint_version(name));
        let mut versions: Vec<u64> = versions.collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.dedup();
        versions
    }

    fn publish(&mut self, name: &str, file: &LogFile, replace: bool) -> Result<Answer, Refusal> {
        if let Some(version) = commit_version(name) {
            if version > self.next {
                return Err(Refusal::Gap { next: self.next });
            }
            if version < self.next {
                let sum = self.commits.get(&version).map_or(0, |file| file.sum);
                return Err(Refusal::Exists { sum });
            }
            Arc::make_mut(&mut self.commits).insert(version, file.clone());
            self.next += 1;
        } else {
            if version_of(name).is_some_and(|version| version < self.floor) {
                return Err(Refusal::Exists { sum: 0 });
            }
            match self.names.get(name) {
                Some(there) if !replace => return Err(Refusal::Exists { sum: there.sum }),
                None if self.names.len() >= MAX_LOG_NAMES => {
                    return Err(full("names in a table's log", MAX_LOG_NAMES));
                }
                _ => {}
            }
            Arc::make_mut(&mut self.names).insert(name.to_owned(), file.clone());
        }
        self.trim();
        Ok(Answer::Done)
    }

    /// Lets go of commits that a new reader does not need.
    fn trim(&mut self) {
        if self.commits.len() as u64 <= KEPT_COMMITS {
            return;
        }
        let checkpoint = self.checkpoints().get(1).copied().unwrap_or(0);
        let newest = self.next.saturating_sub(KEPT_COMMITS);
        let most = self.next.saturating_sub(MAX_COMMITS);
        let first = newest.min(checkpoint).max(most);
        if self.first() < first {
            let commits = Arc::make_mut(&mut self.commits);
            *commits = commits.split_off(&first);
        }
    }

    /// Deletes a name. Of a commit: all of its version and before it, as far as a checkpoint stands
    /// for them.
    fn unpublish(&mut self, name: &str) -> Result<Answer, Refusal> {
        let Some(version) = commit_version(name) else {
            if self.names.contains_key(name) {
                Arc::make_mut(&mut self.names).remove(name);
            }
            return Ok(Answer::Done);
        };
        let Some(checkpoint) = self.checkpoints().first().copied() else {
            return Err(Refusal::Needed);
        };
        if version >= checkpoint {
            return Err(Refusal::Needed);
        }
        let floor = version + 1;
        if floor <= self.floor {
            return Ok(Answer::Done);
        }
        self.floor = floor;
        if self.first() < floor {
            let commits = Arc::make_mut(&mut self.commits);
            *commits = commits.split_off(&floor);
        }
        let is_below = |name: &str| version_of(name).is_some_and(|version| version < floor);
        if self.names.keys().any(|name| is_below(name)) {
            Arc::make_mut(&mut self.names).retain(|name, _| !is_below(name));
        }
        Ok(Answer::Done)
    }
}

impl State {
    pub(super) fn publish_file(
        &mut self,
        folder: &str,
        name: &str,
        file: &LogFile,
        replace: bool,
    ) -> Result<Answer, Refusal> {
        if !self.files.contains_key(folder) && self.files.len() >= MAX_FILE_LOGS {
            return Err(full("logs of tables", MAX_FILE_LOGS));
        }
        let mut log = self
            .files
            .get(folder)
            .map(|log| (**log).clone())
            .unwrap_or_default();
        let answer = log.publish(name, file, replace)?;
        Arc::make_mut(&mut self.files).insert(folder.to_owned(), Arc::new(log));
        Ok(answer)
    }

    pub(super) fn unpublish_file(&mut self, folder: &str, name: &str) -> Result<Answer, Refusal> {
        let Some(log) = self.files.get(folder) else {
            return Ok(Answer::Done);
        };
        let mut log = (**log).clone();
        let answer = log.unpublish(name)?;
        Arc::make_mut(&mut self.files).insert(folder.to_owned(), Arc::new(log));
        Ok(answer)
    }
}
