//! Merges small files of one tenant and day into one.

use std::collections::HashSet;
use std::sync::Arc;

use deltalake_core::protocol::DeltaOperation;
use otlake_base::invariant::Invariant;
use otlake_base::limits::COPY_GROUP_ROWS;
use otlake_base::{Code, DataFile, Error, Metrics, Result};
use otlake_shard::{MergeFailure, MergeOptions, WriteOptions, merge};

use super::plan::{Planned, plan};
use super::replace::Change;
use super::{CompactLimits, JobContext, JobStep, worker};
use crate::handle::DeltaTableHandle;

/// What one merge came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that were merged; 0 where the merge was given up.
    pub files: u64,
    /// Rows of them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes_before: u64,
    /// Bytes of the file in their place.
    pub bytes_after: u64,
    /// Spans that were there more than once and are there once now.
    pub duplicates: u64,
}

impl DeltaTableHandle {
    /// Does one merge of `candidates`, paths of files, the one that is worth most; the merged file
    /// becomes one of them in place of those it was made of, and what cannot be merged is one no
    /// more. None where nothing is left to do: a run that begins with the files of its start ends,
    /// however fast others come.
    ///
    /// # Errors
    /// `TABLE_IO`, `TABLE_CONFLICT`, what the context says; the table is as it was. A file that
    /// is damaged or not ours is no error: it is left out.
    pub async fn compact(
        &self,
        limits: &CompactLimits,
        write: &WriteOptions,
        candidates: &mut HashSet<String>,
        context: &JobContext,
    ) -> Result<Option<Compacted>> {
        let now = self.snapshot();
        let Some(Planned { files, urgency }) = plan(&now.files, limits, candidates) else {
            return Ok(None);
        };
        let (table, root) = (self.table(), now.root.clone());
        let options = MergeOptions {
            write: write.clone(),
            memory_bytes: limits.memory_bytes,
            copy_group_rows: COPY_GROUP_ROWS,
        };
        let pace = Arc::clone(&context.pace);
        // The version is held while its files are read, so that no one deletes them.
        let version = Arc::clone(&now);
        let merged = worker::run(context, urgency, move || {
            let _version = version;
            merge(table, &root, &files, &options, &mut |bytes| {
                pace.spend(bytes, urgency)
            })
        })
        .await?;
        let merged = match merged {
            Ok(merged) => merged,
            Err(MergeFailure {
                error,
                input: Some(input),
            }) if error.code == Code::TableCorrupt => {
                tracing::warn!(
                    target: "otlake::catalog", table = table.name(),
                    "a file is left out of compaction: {error}"
                );
                let ours = |file: &DataFile| file.path == input && file.sums.is_some();
                if now.files.iter().any(ours) {
                    self.metrics.damaged("file");
                }
                candidates.remove(&input);
                return Ok(Some(Compacted::default()));
            }
            Err(failure) => return Err(failure.error),
        };
        drop(now);
        let made = merged.output.file.rows + merged.duplicates;
        same_rows(&merged.inputs, made, &self.metrics)?;
        self.expect(std::slice::from_ref(&merged.output));
        let compacted = Compacted {
            files: merged.inputs.len() as u64,
            rows: merged.inputs.iter().map(|file| file.rows).sum(),
            bytes_before: merged.inputs.iter().map(|file| file.size).sum(),
            bytes_after: merged.output.file.size,
            duplicates: merged.duplicates,
        };
        let change = Change {
            removed: merged.inputs,
            added: vec![merged.output],
            operation: DeltaOperation::Optimize {
                predicate: None,
                target_size: i64::try_from(limits.target_bytes).unwrap_or(i64::MAX),
            },
            data_change: compacted.duplicates > 0,
        };
        let replaced = match context.step(JobStep::Merged(table)) {
            Ok(()) => self.replace(&change).await,
            Err(error) => Err(error),
        };
        // Whether or not a commit that failed has landed is known to vacuum, which reads the
        // table again: a file that no version names is deleted once it is old.
        if replaced.is_err() {
            self.forget(&change.added);
        }
        let replaced = replaced?;
        for file in &change.removed {
            candidates.remove(&file.path);
        }
        if replaced.is_none() {
            return Ok(Some(Compacted::default()));
        }
        candidates.extend(change.added.iter().map(|written| written.file.path.clone()));
        context.step(JobStep::Compacted(table))?;
        Ok(Some(compacted))
    }
}

/// A merge whose rows, with the spans that it left out, are not those of its files is not
/// committed (I8); its file, which no version names, is vacuumed once it is old. Files of other
/// writers may not tell their rows.
pub(crate) fn same_rows(inputs: &[DataFile], made: u64, metrics: &Metrics) -> Result<()> {
    let read: u64 = inputs.iter().map(|file| file.rows).sum();
    if read == made || inputs.iter().any(|file| file.sums.is_none()) {
        return Ok(());
    }
    let what = format!("a merge made {made} rows of {read}");
    metrics.violated(Invariant::I8Open, &what);
    Err(Error::new(Code::Internal, what))
}
