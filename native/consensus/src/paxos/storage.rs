//! The log of one configuration, as omnipaxos wants it: all of it in memory too, for it is short. What
//! omnipaxos writes is gathered, and committed by the driver before anything that depends on it is
//! sent or applied; all that is gathered is one commit, so it is atomic as omnipaxos wants it to be.

use std::error::Error as StdError;
use std::sync::Arc;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use otlake_base::Result;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::Entry;
use crate::raft::types::encode;
use crate::store::{Change, Log, Store};

#[derive(Default)]
struct Kept {
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    stopsign: Option<StopSign>,
    log: Vec<Entry>,
    changes: Vec<Change>,
}

/// The log. Clones are the same log.
#[derive(Clone, Default)]
pub(crate) struct PaxosStorage(Arc<Mutex<Kept>>);

fn stored<T: DeserializeOwned>(store: &Store, name: &str) -> Result<Option<T>> {
    let parse = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes)
            .map_err(|error| store.corrupt(&format!("its {name} cannot be read: {error}")))
    };
    store.get(name)?.map(parse).transpose()
}

impl PaxosStorage {
    /// The log that the store holds.
    pub(crate) fn open(store: &Store) -> Result<PaxosStorage> {
        let mut log = Vec::new();
        for (index, bytes) in store.entries(Log::Paxos, .., usize::MAX)? {
            if index != log.len() as u64 {
                return Err(store.corrupt("entries of its Paxos log are missing"));
            }
            let entry = serde_json::from_slice(&bytes).map_err(|error| {
                store.corrupt(&format!("entry {index} of its Paxos log: {error}"))
            })?;
            log.push(entry);
        }
        let stopsign: Option<StopSign> = stored(store, "paxos_stopsign")?;
        let decided = stored(store, "paxos_decided")?.unwrap_or(0);
        if decided > log.len() + usize::from(stopsign.is_some()) {
            return Err(store.corrupt("decided entries of its Paxos log are missing"));
        }
        Ok(PaxosStorage(Arc::new(Mutex::new(Kept {
            promise: stored(store, "paxos_promise")?,
            accepted: stored(store, "paxos_accepted")?,
            decided,
            stopsign,
            log,
            changes: Vec::new(),
        }))))
    }

    /// What is to be committed.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.0.lock().changes)
    }

    /// How many entries the log holds.
    pub(crate) fn length(&self) -> usize {
        self.0.lock().log.len()
    }
}

impl Kept {
    fn set(&mut self, name: &'static str, value: &impl Serialize) -> StorageResult<()> {
        self.changes.push(Change::Set(name, encode(value)?));
        Ok(())
    }

    fn append(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        for entry in entries {
            let index = self.log.len() as u64;
            let bytes = encode(&entry)?;
            self.changes.push(Change::Entry(Log::Paxos, index, bytes));
            self.log.push(entry);
        }
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Entry>) -> StorageResult<()> {
        if from > self.log.len() {
            return Err("entries of a configuration's log are missing".into());
        }
        if from < self.log.len() {
            self.log.truncate(from);
            let change = Change::TruncateFrom(Log::Paxos, from as u64);
            self.changes.push(change);
        }
        self.append(entries)
    }

    fn set_decided(&mut self, decided: usize) -> StorageResult<()> {
        self.decided = decided;
        self.set("paxos_decided", &decided)
    }

    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        self.promise = Some(promise);
        self.set("paxos_promise", &promise)
    }

    fn set_accepted(&mut self, accepted: Ballot) -> StorageResult<()> {
        self.accepted = Some(accepted);
        self.set("paxos_accepted", &accepted)
    }

    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        match &stopsign {
            Some(stopsign) => self.set("paxos_stopsign", stopsign)?,
            None => self.changes.push(Change::Unset("paxos_stopsign")),
        }
        self.stopsign = stopsign;
        Ok(())
    }
}

/// Logs are cut by the next configuration, and by nothing else.
fn uncut<T>() -> StorageResult<T> {
    let error: Box<dyn StdError> = "the log of a configuration is not cut".into();
    Err(error)
}

impl Storage<Entry> for PaxosStorage {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        let mut kept = self.0.lock();
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => kept.append(vec![entry])?,
                StorageOp::AppendEntries(entries) => kept.append(entries)?,
                StorageOp::AppendOnPrefix(from, entries) => {
                    kept.append_on_prefix(from, entries)?;
                }
                StorageOp::SetPromise(promise) => kept.set_promise(promise)?,
                StorageOp::SetDecidedIndex(decided) => kept.set_decided(decided)?,
                StorageOp::SetAcceptedRound(accepted) => kept.set_accepted(accepted)?,
                StorageOp::SetStopsign(stopsign) => kept.set_stopsign(stopsign)?,
                StorageOp::SetCompactedIdx(_) | StorageOp::Trim(_) | StorageOp::SetSnapshot(_) => {
                    return uncut();
                }
            }
        }
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.0.lock().append(vec![entry])
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        self.0.lock().append(entries)
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Entry>) -> StorageResult<()> {
        self.0.lock().append_on_prefix(from, entries)
    }

    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        self.0.lock().set_promise(promise)
    }

    fn set_decided_idx(&mut self, decided: usize) -> StorageResult<()> {
        self.0.lock().set_decided(decided)
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.0.lock().decided)
    }

    fn set_accepted_round(&mut self, accepted: Ballot) -> StorageResult<()> {
        self.0.lock().set_accepted(accepted)
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.lock().accepted)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        let kept = self.0.lock();
        Ok(kept.log.get(from..to).unwrap_or_default().to_vec())
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.0.lock().log.len())
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        let kept = self.0.lock();
        Ok(kept.log.get(from..).unwrap_or_default().to_vec())
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.lock().promise)
    }

    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        self.0.lock().set_stopsign(stopsign)
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.0.lock().stopsign.clone())
    }

    fn trim(&mut self, _: usize) -> StorageResult<()> {
        uncut()
    }

    fn set_compacted_idx(&mut self, _: usize) -> StorageResult<()> {
        uncut()
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(0)
    }

    fn set_snapshot(&mut self, _: Option<NoSnapshot>) -> StorageResult<()> {
        uncut()
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}
