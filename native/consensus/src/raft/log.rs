//! The log and the vote, in the store.
//!
//! openraft waits for the fsync of what it appends before it sends it on or counts it, so an entry
//! that a follower has is on the leader's disk. The index up to which entries are committed is written
//! beside them, but not waited for: after a crash the state may be a little behind, and catches up
//! from the leader. Linearizable reads do not look at it.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};
use otlake_base::Result;
use parking_lot::Mutex;

use crate::raft::types::{Entry, LogId, NodeId, StorageError, StorageIoError, Types, Vote, encode};
use crate::store::{Change, Log};
use crate::writer::Writer;

/// Bytes of entries that one message to a follower takes, but for the first entry.
const APPEND_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
struct Ends {
    purged: Option<LogId>,
    last: Option<LogId>,
}

/// The log. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    id: NodeId,
    writer: Arc<Writer>,
    ends: Arc<Mutex<Ends>>,
}

impl LogStore {
    /// The log in a store.
    ///
    /// # Errors
    /// `METADATA_CORRUPT` where entries are missing or cannot be read, `METADATA_IO`.
    pub(crate) fn open(writer: Arc<Writer>, id: NodeId) -> Result<LogStore> {
        let store = writer.store();
        let purged: Option<LogId> = read(&writer, "purged")?;
        let mut last = purged;
        if let Some((first, end)) = store.bounds(Log::Raft)? {
            let expected = purged.map_or(first, |purged| purged.index + 1);
            if first != expected {
                return Err(store.corrupt(&format!(
                    "its log begins at {first} and was cut at {expected}"
                )));
            }
            last = entries(&writer, end..=end, usize::MAX)?
                .pop()
                .map(|entry| entry.log_id);
        }
        Ok(LogStore {
            id,
            writer,
            ends: Arc::new(Mutex::new(Ends { purged, last })),
        })
    }

    /// The last entry's id, or that of the last purged one.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.ends.lock().last
    }

    /// How many entries the log holds.
    pub(crate) fn length(&self) -> u64 {
        let ends = self.ends.lock();
        let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        next(ends.last).saturating_sub(next(ends.purged))
    }

    async fn commit(&self, changes: Vec<Change>, durable: bool) -> Result<(), StorageIoError> {
        self.writer
            .commit(changes, durable)
            .await
            .map_err(|error| StorageIoError::write(AnyError::new(&error)))
    }
}

fn read<T: serde::de::DeserializeOwned>(writer: &Writer, name: &str) -> Result<Option<T>> {
    let store = writer.store();
    store
        .get(name)?
        .map(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| store.corrupt(&format!("its {name} cannot be read: {error}")))
        })
        .transpose()
}

/// Entries of a range, which must follow each other.
fn entries(
    writer: &Writer,
    range: impl RangeBounds<u64> + Clone,
    max_bytes: usize,
) -> Result<Vec<Entry>> {
    let store = writer.store();
    let mut expected = match range.start_bound() {
        Bound::Included(first) => Some(*first),
        _ => None,
    };
    let mut found = Vec::new();
    for (index, bytes) in store.entries(Log::Raft, range, max_bytes)? {
        let entry: Entry = serde_json::from_slice(&bytes).map_err(|error| {
            store.corrupt(&format!("entry {index} of its log cannot be read: {error}"))
        })?;
        if entry.log_id.index != index || expected.is_some_and(|expected| expected != index) {
            return Err(store.corrupt(&format!("entries of its log before {index} are missing")));
        }
        expected = Some(index + 1);
        found.push(entry);
    }
    Ok(found)
}

fn unreadable(error: &otlake_base::Error) -> StorageError {
    StorageIoError::read_logs(AnyError::new(error)).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        entries(&self.writer, range, usize::MAX).map_err(|error| unreadable(&error))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        entries(&self.writer, start..end, APPEND_BYTES).map_err(|error| unreadable(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let ends = self.ends.lock();
        Ok(LogState {
            last_purged_log_id: ends.purged,
            last_log_id: ends.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let bytes = encode(vote).map_err(|e| StorageIoError::write_vote(AnyError::new(&e)))?;
        Ok(self.commit(vec![Change::Set("vote", bytes)], true).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote: Option<Vote> = read(&self.writer, "vote")
            .map_err(|error| StorageIoError::read_vote(AnyError::new(&error)))?;
        // openraft would let a leader that restarts lead on in its old term, with what it knew to be
        // committed forgotten. It comes back as one that voted for itself, and must be elected again.
        Ok(vote.map(|mut vote| {
            if vote.leader_id.voted_for() == Some(self.id) {
                vote.committed = false;
            }
            vote
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let change = match committed {
            None => Change::Unset("committed"),
            Some(_) => Change::Set(
                "committed",
                encode(&committed).map_err(|e| StorageIoError::write(AnyError::new(&e)))?,
            ),
        };
        Ok(self.commit(vec![change], false).await?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed: Option<Option<LogId>> = read(&self.writer, "committed")
            .map_err(|error| StorageIoError::read(AnyError::new(&error)))?;
        // It can be ahead of the log where a crash came between a snapshot and what follows it.
        Ok(committed.flatten().min(self.last()))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut changes = Vec::new();
        let mut last = None;
        for entry in entries {
            let bytes = encode(&entry)
                .map_err(|e| StorageIoError::write_log_entry(entry.log_id, AnyError::new(&e)))?;
            changes.push(Change::Entry(Log::Raft, entry.log_id.index, bytes));
            last = Some(entry.log_id);
        }
        self.commit(changes, true).await?;
        if last.is_some() {
            self.ends.lock().last = last;
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.commit(vec![Change::TruncateFrom(Log::Raft, log_id.index)], true)
            .await?;
        let before = log_id.index.checked_sub(1);
        let purged = self.ends.lock().purged;
        let last = match before {
            Some(index) if purged.is_none_or(|purged| purged.index < index) => {
                entries(&self.writer, index..=index, usize::MAX)
                    .map_err(|error| unreadable(&error))?
                    .pop()
                    .map(|entry| entry.log_id)
            }
            _ => purged,
        };
        self.ends.lock().last = last;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let bytes = encode(&log_id).map_err(|e| StorageIoError::write(AnyError::new(&e)))?;
        self.commit(
            vec![
                Change::PurgeTo(Log::Raft, log_id.index),
                Change::Set("purged", bytes),
            ],
            true,
        )
        .await?;
        let mut ends = self.ends.lock();
        ends.purged = Some(log_id);
        ends.last = ends.last.max(Some(log_id));
        Ok(())
    }
}
