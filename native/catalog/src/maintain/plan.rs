//! Which files are merged next.
//!
//! One level: a file is small, or it has reached the target and is left alone for good. Of the
//! small ones of a tenant's day the smallest are taken first, and a larger one only when those
//! before it amount to a quarter of it; one that is much smaller than all others is passed over. So a file grows by a quarter at least each time it is
//! written again, and a row is written about six times on its way to the target, however often
//! the job runs; a day keeps a handful of small files meanwhile.

use std::collections::{BTreeMap, HashSet};

use otlake_base::{DataFile, limits};
use otlake_shard::MERGE_FILES;

use super::Urgency;

/// A file joins a merge when it is at most this many times as large as all smaller ones.
const GROWTH: u64 = 4;

/// What compaction aims at.
#[derive(Clone, Copy, Debug)]
pub struct CompactLimits {
    /// A file of this many bytes is not merged any more; merging stops adding files here, so a
    /// merged file has less than twice as many.
    pub target_bytes: u64,
    /// The same for rows.
    pub target_rows: u64,
    /// Bytes that a merge may hold in memory.
    pub memory_bytes: usize,
    /// Small files of a tenant's day from which on merging them is behind.
    pub behind_files: usize,
}

/// The next merge.
pub(super) struct Planned {
    /// Its files, all of one tenant and day, smallest first.
    pub files: Vec<DataFile>,
    /// Whether more come than are merged.
    pub urgency: Urgency,
}

impl Default for CompactLimits {
    fn default() -> Self {
        Self {
            target_bytes: limits::COMPACT_TARGET_BYTES,
            target_rows: limits::COMPACT_TARGET_ROWS,
            memory_bytes: limits::JOB_MEMORY_BYTES,
            behind_files: limits::COMPACT_BEHIND_FILES,
        }
    }
}

/// The next merge of candidates, that of the partition that loses the most files. None where nothing is
/// worth it.
pub(super) fn plan(
    files: &[DataFile],
    limits: &CompactLimits,
    candidates: &HashSet<String>,
) -> Option<Planned> {
    // Of each, how many small files there are, and those that may be merged.
    let mut partitions: BTreeMap<(i32, &str), (usize, Vec<&DataFile>)> = BTreeMap::new();
    for file in files {
        let small = file.size < limits.target_bytes && file.rows < limits.target_rows;
        if small {
            let (count, mergeable) = partitions.entry((file.day, &file.tenant)).or_default();
            *count += 1;
            if candidates.contains(&file.path) {
                mergeable.push(file);
            }
        }
    }
    let (count, chosen) = partitions
        .into_values()
        .map(|(count, mergeable)| (count, choose(mergeable, limits)))
        .max_by_key(|(_, chosen)| chosen.len())?;
    (chosen.len() >= 2).then(|| Planned {
        files: chosen.into_iter().cloned().collect(),
        urgency: if count > limits.behind_files {
            Urgency::Behind
        } else {
            Urgency::Whenever
        },
    })
}

fn choose<'a>(mut small: Vec<&'a DataFile>, limits: &CompactLimits) -> Vec<&'a DataFile> {
    small.sort_unstable_by(|a, b| a.size.cmp(&b.size).then_with(|| a.path.cmp(&b.path)));
    let mut chosen: Vec<&DataFile> = Vec::new();
    let (mut bytes, mut rows) = (0, 0);
    for file in small {
        let full = chosen.len() >= MERGE_FILES
            || bytes >= limits.target_bytes
            || rows >= limits.target_rows;
        if full {
            break;
        }
        if !chosen.is_empty() && file.size > GROWTH * bytes {
            if chosen.len() > 1 {
                break;
            }
            // One by itself waits for others of its size, and keeps no larger ones from meeting.
            chosen.clear();
            (bytes, rows) = (0, 0);
        }
        bytes += file.size;
        rows += file.rows;
        chosen.push(file);
    }
    chosen
}
