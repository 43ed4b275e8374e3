//! The state machine: the state in memory, its snapshots in the store, and the watch on it.
//!
//! After a start the state is the newest snapshot and the log's entries after it, up to what was known
//! to be committed.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use otlake_base::{Code, Error, Metrics, Result};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::MAX_SNAPSHOT_BYTES;
use crate::raft::types::{
    Answers, Entry, LogId, SnapshotMeta, StorageError, StorageIoError, StoredMembership, Types,
    encode,
};
use crate::state::State;
use crate::store::{Change, Log};
use crate::writer::Writer;

struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
    state: Arc<State>,
}

/// The state machine. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Machine {
    writer: Arc<Writer>,
    applied: Arc<Mutex<Applied>>,
    states: watch::Sender<Arc<State>>,
    /// Why it stopped, where it did.
    failure: Arc<Mutex<Option<Error>>>,
    metrics: Arc<Metrics>,
}

impl Machine {
    /// The state of the store's snapshot. It and all that follow are sent to `states`.
    ///
    /// # Errors
    /// `METADATA_CORRUPT`, `METADATA_VERSION`, `METADATA_IO`.
    pub(crate) fn open(
        writer: Arc<Writer>,
        metrics: Arc<Metrics>,
        states: watch::Sender<Arc<State>>,
    ) -> Result<Machine> {
        let mut applied = Applied {
            last: None,
            membership: StoredMembership::default(),
            state: Arc::default(),
        };
        if let Some((meta, bytes)) = stored(&writer)? {
            applied.state = Arc::new(State::decode(&bytes)?);
            applied.last = meta.last_log_id;
            applied.membership = meta.last_membership;
            let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            metrics.metadata.snapshot_bytes.set(length);
        }
        states.send_replace(Arc::clone(&applied.state));
        Ok(Machine {
            writer,
            applied: Arc::new(Mutex::new(applied)),
            states,
            failure: Arc::default(),
            metrics,
        })
    }

    /// The state now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.applied.lock().state)
    }

    /// States as they come; one that is overtaken is not seen.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.states.subscribe()
    }

    /// Why the state machine stopped, where it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    /// Keeps why it stops.
    fn fail(&self, error: Error) -> AnyError {
        let reason = AnyError::new(&error);
        self.failure.lock().get_or_insert(error);
        reason
    }

    fn publish(&self, state: Arc<State>) {
        let index = i64::try_from(state.applied).unwrap_or(i64::MAX);
        self.metrics.metadata.applied.set(index);
        self.states.send_replace(state);
    }

    async fn keep(&self, meta: &SnapshotMeta, bytes: Vec<u8>) -> Result<()> {
        if bytes.len() > MAX_SNAPSHOT_BYTES {
            return Err(Error::new(
                Code::MetadataFull,
                format!(
                    "a snapshot has {} bytes; at most {MAX_SNAPSHOT_BYTES} are kept",
                    bytes.len()
                ),
            ));
        }
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let changes = vec![
            Change::Set("snapshot", encode(meta)?),
            Change::Snapshot(Log::Raft, Arc::from(bytes)),
        ];
        self.writer.commit(changes, true).await?;
        self.metrics.metadata.snapshots.inc();
        self.metrics.metadata.snapshot_bytes.set(length);
        Ok(())
    }
}

/// The store's snapshot.
fn stored(writer: &Writer) -> Result<Option<(SnapshotMeta, Vec<u8>)>> {
    let store = writer.store();
    let Some(meta) = store.get("snapshot")? else {
        return Ok(None);
    };
    let meta = serde_json::from_slice(&meta)
        .map_err(|error| store.corrupt(&format!("its snapshot has no head: {error}")))?;
    Ok(Some((meta, store.snapshot(Log::Raft)?)))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied.lock();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let state = {
            let mut applied = self.applied.lock();
            for entry in entries {
                let Applied {
                    membership, state, ..
                } = &mut *applied;
                let state = Arc::make_mut(state);
                let index = entry.log_id.index;
                match entry.payload {
                    EntryPayload::Blank => {
                        state.applied = index;
                        answers.push(Answers::default());
                    }
                    EntryPayload::Membership(changed) => {
                        state.applied = index;
                        *membership = StoredMembership::new(Some(entry.log_id), changed);
                        answers.push(Answers::default());
                    }
                    EntryPayload::Normal(batch) => match state.apply(index, &batch) {
                        Ok(answered) => answers.push(Answers(answered)),
                        Err(error) => {
                            let reason = self.fail(error);
                            return Err(StorageIoError::apply(entry.log_id, reason).into());
                        }
                    },
                }
                applied.last = Some(entry.log_id);
            }
            Arc::clone(&applied.state)
        };
        self.publish(state);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let installed = match State::decode(&bytes) {
            Ok(state) => self.keep(meta, bytes).await.map(|()| state),
            Err(error) => Err(error),
        };
        let state = installed.map_err(|error| {
            let reason = self.fail(error);
            StorageIoError::write_snapshot(Some(meta.signature()), reason)
        })?;
        let state = Arc::new(state);
        *self.applied.lock() = Applied {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            state: Arc::clone(&state),
        };
        self.publish(state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let stored = stored(&self.writer)
            .map_err(|error| StorageIoError::read_snapshot(None, self.fail(error)))?;
        Ok(stored.map(|(meta, bytes)| Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let (meta, state) = {
            let applied = self.applied.lock();
            let meta = SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership.clone(),
                snapshot_id: applied.last.map_or_else(String::new, |id| id.to_string()),
            };
            (meta, Arc::clone(&applied.state))
        };
        let encoded = tokio::task::spawn_blocking(move || state.encode())
            .await
            .unwrap_or_else(|error| Err(Error::new(Code::Internal, error)));
        let built = match encoded {
            Ok(bytes) => self.keep(&meta, bytes.clone()).await.map(|()| bytes),
            Err(error) => Err(error),
        };
        let bytes = built.map_err(|error| {
            let reason = self.fail(error);
            StorageIoError::write_snapshot(Some(meta.signature()), reason)
        })?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        })
    }
}
