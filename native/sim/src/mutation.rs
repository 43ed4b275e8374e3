//! Ways to break the product on purpose, made on its disk so that the product holds no switch for
//! them: a harness that does not find them would not find a defect either.

use std::path::Path;

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    #[default]
    None,
    /// The log's syncs return at once and sync nothing, as if it did not wait for them.
    AcknowledgeBeforeSync,
    /// A sync of the log that failed is tried again, and the second answer believed.
    RetrySync,
    /// Syncs of folders return at once and sync nothing, as if files were synced alone.
    SkipFolderSync,
    /// Commits lose their `txn` actions, as if the committer left them out.
    ForgetWatermark,
    /// Commits lose their `remove` actions, as if compaction only added its file.
    ForgetRemove,
    /// A flipped bit of a segment gets a checksum that fits, as if readers did not look at it.
    SkipChecksum,
    /// The same for a Parquet file, whose checksums are in its commit.
    SkipFileChecksum,
    /// The same for a commit.
    SkipCommitChecksum,
    /// The same for a checkpoint.
    SkipCheckpointChecksum,
}

impl Mutation {
    /// All that break something.
    pub const ALL: [Mutation; 9] = [
        Mutation::AcknowledgeBeforeSync,
        Mutation::RetrySync,
        Mutation::SkipFolderSync,
        Mutation::ForgetWatermark,
        Mutation::ForgetRemove,
        Mutation::SkipChecksum,
        Mutation::SkipFileChecksum,
        Mutation::SkipCommitChecksum,
        Mutation::SkipCheckpointChecksum,
    ];
}

const MARK: &[u8] = b"\"otlakeCrc32c\":\"";
/// Hex digits of a commit's checksum.
const DIGITS: usize = 8;

/// Whether a file, staged or named, is a commit.
pub fn is_commit(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let folder = path.parent().and_then(Path::file_name);
    name.is_some_and(|name| name.contains(".json"))
        && folder.is_some_and(|folder| folder == "_delta_log")
}

/// A commit without what the mutation forgets, sealed anew; None where it forgets nothing.
pub fn forgetful(mutation: Mutation, path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let forgotten: &[u8] = match mutation {
        Mutation::ForgetWatermark => b"{\"txn\"",
        Mutation::ForgetRemove => b"{\"remove\"",
        _ => return None,
    };
    if !is_commit(path) {
        return None;
    }
    let kept = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(forgotten))
        .flatten()
        .copied()
        .collect();
    reseal(kept)
}

/// A commit with the checksum that fits its bytes; None where it carries none.
pub fn reseal(mut commit: Vec<u8>) -> Option<Vec<u8>> {
    let at = commit
        .windows(MARK.len())
        .position(|window| window == MARK)?;
    let sum = at + MARK.len()..at + MARK.len() + DIGITS;
    // Behind the digits a quote and a comma belong to the mark.
    let bare = [&commit[..at], commit.get(sum.end + 2..)?].concat();
    let fitting = format!("{:08x}", crc32c::crc32c(&bare));
    commit[sum].copy_from_slice(fitting.as_bytes());
    Some(commit)
}

/// A commit that says `new` wherever it said `old`, two texts of one length, sealed anew; None
/// where it did not say `old`.
pub fn reworded(commit: &[u8], old: &str, new: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(commit).ok()?;
    let says = !old.is_empty() && text.contains(old);
    says.then(|| text.replace(old, new).into_bytes())
        .and_then(reseal)
}
