//! The committer: adds files and raises watermarks, as a compare-and-swap on each stream's.
//!
//! Whoever writes files says, with each watermark that they raise, which one they were written
//! against, and at which epoch: the files hold what is above that base. Nodes may write the same
//! stream at once, one because it owns it and one because it took the owner for dead, so a commit
//! whose base is not the table's watermark any more would count rows twice, or leave a hole below
//! the new one. Such a commit does nothing, and its writer filters its rows again; one of an earlier
//! epoch than the table's does nothing, and its writer lets go of them (I3, I9). The rule is in
//! `rule.rs`.
//!
//! delta-rs records a `txn` action but does not refuse a second commit of the same one. So the
//! committer, alone under its lock, looks at the watermarks first, commits against exactly the
//! version it looked at, and on any other outcome reads the table again and decides anew. A
//! commit that landed but was reported as failed is found that way, too; and so is another
//! node's, for of two that make the same version one succeeds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake_core::kernel::{Action, Add, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use otlake_base::invariant::Invariant;
use otlake_base::{Code, Error, Result, StreamId, Table};
use otlake_shard::Written;

use crate::handle::{DeltaTableHandle, PARTITIONS, storage};
use crate::rule::{Mark, Raising, Standing, Verdict};
use crate::snapshot::{SUMS_TAG, Snapshot};
use crate::watermarks;

/// Times that one call looks at the table again after another writer was faster.
pub(crate) const COMMIT_ATTEMPTS: usize = 10;
const ENGINE: &str = concat!("otlake/", env!("CARGO_PKG_VERSION"));

/// What one writer adds to a table: all of it, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Addition {
    /// Durable files.
    pub files: Vec<Written>,
    /// What they hold.
    pub marks: Vec<Mark>,
    /// Whether a commit of them may have landed before, here or by another's hand: then the files
    /// are not deleted where they are of no use, for a version that someone reads may name them.
    pub tried: bool,
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The table holds the rows, by this commit or by one before it.
    Held,
    /// The table's watermarks are not those that the files were written against; nothing was
    /// committed. What is still to be added has to be filtered by the newest version and written
    /// again.
    Stale,
    /// Another node has taken a stream over at a later epoch; nothing was committed. What the writer
    /// has of such a stream is not its own to add any more; what it has of others it may.
    Fenced,
}

/// A table after a commit.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The version that the outcome was decided by, or a later one.
    pub snapshot: Arc<Snapshot>,
    /// Whether it holds the rows.
    pub outcome: Outcome,
}

impl DeltaTableHandle {
    /// Adds the files and raises the watermarks, in one commit that is durable when this
    /// returns, if each stream's watermark is its mark's base. Where the table covers every mark
    /// already, or the watermarks are others, nothing is committed and those files that the table
    /// does not hold are deleted. After an error the files stay: the caller tries again with
    /// them, as an addition that was tried.
    ///
    /// # Errors
    /// `TABLE_IO`; `TABLE_CONFLICT` when other writers were faster time and again. After
    /// either, the same call is safe to repeat.
    pub async fn commit(&self, files: Vec<Written>, marks: Vec<Mark>) -> Result<Committed> {
        let tried = false;
        let addition = Addition {
            files,
            marks,
            tried,
        };
        self.commit_one(addition).await
    }

    /// As `commit`, of an addition.
    ///
    /// # Errors
    /// As `commit`.
    pub async fn commit_one(&self, addition: Addition) -> Result<Committed> {
        let (snapshot, outcomes) = self.commit_all(vec![addition]).await?;
        let outcome = outcomes.first().copied().unwrap_or(Outcome::Held);
        Ok(Committed { snapshot, outcome })
    }

    /// Has the table take nothing of a stream below this epoch from here on. The snapshot's watermark
    /// of the stream is what those who wrote it before have brought to files, and will ever have.
    ///
    /// # Errors
    /// `CLUSTER_FENCED` where another node has taken the stream over at a later epoch; as `commit`.
    pub async fn fence(&self, stream: StreamId, epoch: u64) -> Result<Arc<Snapshot>> {
        // That the version which is known has it at this epoch says nothing of the newest.
        self.refresh().await?;
        let mut marks = vec![Mark::fence(stream, epoch)];
        if Table::DERIVED.contains(&self.table) {
            // What is derived of the stream's spans is no more another's to write than they are.
            let companions = [stream.counted(), stream.settled()];
            marks.extend(companions.map(|companion| Mark::fence(companion, epoch)));
        }
        let committed = self.commit(Vec::new(), marks).await?;
        if committed.outcome == Outcome::Held {
            return Ok(committed.snapshot);
        }
        let later = committed.snapshot.standing(stream).epoch;
        let what = format!(
            "{}: {stream} is written at epoch {later}",
            self.table.name()
        );
        Err(Error::new(Code::ClusterFenced, what))
    }

    /// Adds what several writers have, in one commit of those additions that fit; each has an
    /// outcome of its own, as `commit` has it.
    ///
    /// # Errors
    /// As `commit`, for all of them.
    pub async fn commit_all(
        &self,
        mut additions: Vec<Addition>,
    ) -> Result<(Arc<Snapshot>, Vec<Outcome>)> {
        let mut delta = self.committer.lock().await;
        let mut last = None;
        for _ in 0..COMMIT_ATTEMPTS {
            let now = self.up_to_date(&mut delta).await?;
            let mut raising = Raising::new(|stream| now.standing(stream));
            let verdicts: Vec<Verdict> = additions
                .iter()
                .map(|addition| raising.judge(&addition.marks))
                .collect();
            let raised = raising.raised;
            let fitting: Vec<&Written> = additions
                .iter()
                .zip(&verdicts)
                .filter(|(_, verdict)| **verdict == Verdict::Fits)
                .flat_map(|(addition, _)| &addition.files)
                .collect();
            if fitting.is_empty() && raised.is_empty() {
                return self.settle(now, &additions, &verdicts).await;
            }
            match self.attempt(&mut delta, &now, &fitting, &raised).await {
                Ok(snapshot) => {
                    self.synced(snapshot.version);
                    self.publish(Arc::clone(&snapshot));
                    self.checkpoint(&mut delta).await;
                    return self.settle(snapshot, &additions, &verdicts).await;
                }
                Err(error) => {
                    let conflict = is_conflict(&error);
                    // What the table holds now decides, not what the error says: the commit
                    // may have landed all the same.
                    let now = self.refresh_delta(&mut delta).await?;
                    let is_there = |(stream, raised): (&StreamId, &Standing)| {
                        let now = now.standing(*stream);
                        now.watermark >= raised.watermark && now.epoch >= raised.epoch
                    };
                    let landed = raised.iter().all(is_there);
                    if !conflict && (raised.is_empty() || !landed) {
                        return Err(storage(self.table, "cannot commit", error));
                    }
                    if !conflict {
                        for addition in &mut additions {
                            addition.tried = true;
                        }
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

    /// Tells each writer what became of its addition, and lets go of the files that are of no use.
    async fn settle(
        &self,
        snapshot: Arc<Snapshot>,
        additions: &[Addition],
        verdicts: &[Verdict],
    ) -> Result<(Arc<Snapshot>, Vec<Outcome>)> {
        let mut outcomes = Vec::with_capacity(additions.len());
        for (addition, verdict) in additions.iter().zip(verdicts) {
            if *verdict != Verdict::Fits {
                if addition.tried {
                    self.forget(&addition.files);
                } else {
                    self.discard(&snapshot, &addition.files).await?;
                }
            }
            outcomes.push(match verdict {
                Verdict::Fits | Verdict::Covered => Outcome::Held,
                Verdict::Stale => Outcome::Stale,
                Verdict::Fenced => Outcome::Fenced,
            });
        }
        Ok((snapshot, outcomes))
    }

    async fn attempt(
        &self,
        delta: &mut DeltaTable,
        now: &Snapshot,
        written: &[&Written],
        raised: &HashMap<StreamId, Standing>,
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
        let transactions = raised
            .iter()
            .flat_map(|(stream, raised)| {
                watermarks::entries(*stream, now.standing(*stream), *raised)
            })
            .map(|(id, value)| {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                Transaction::new_with_last_update(id, value, Some(millis))
            })
            .collect();
        let version = self.send(delta, actions, transactions, operation).await?;

        let mut snapshot = now.clone();
        snapshot.version = version;
        let mut files = Vec::with_capacity(now.files.len() + written.len());
        files.extend(now.files.iter().cloned());
        files.extend(written.iter().map(|written| written.file.clone()));
        snapshot.files = Arc::new(files);
        for (stream, raised) in raised {
            snapshot.set(*stream, *raised);
        }
        Ok(Arc::new(snapshot))
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

    /// The rows are in the table, or will be by other files: deletes those that it does not hold.
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
