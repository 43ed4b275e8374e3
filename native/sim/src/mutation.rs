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
    /// Commits lose their `txn` actions, as if the committer left them out.
    ForgetWatermark,
    /// A flipped bit gets a checksum that fits, as if readers did not look at it.
    SkipChecksum,
}

impl Mutation {
    /// All that break something.
    pub const ALL: [Mutation; 4] = [
        Mutation::AcknowledgeBeforeSync,
        Mutation::RetrySync,
        Mutation::ForgetWatermark,
        Mutation::SkipChecksum,
    ];
}

const MARK: &[u8] = b"\"otlakeCrc32c\":\"";

/// A commit without its watermarks, sealed anew; None where the file is no commit.
pub fn without_watermark(path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let name = path.file_name()?.to_str()?;
    if !name.contains(".json") || path.parent()?.file_name()? != "_delta_log" {
        return None;
    }
    let kept: Vec<u8> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"{\"txn\""))
        .flatten()
        .copied()
        .collect();
    let at = kept.windows(MARK.len()).position(|window| window == MARK)?;
    // The mark, eight digits, a quote and a comma.
    let end = at + MARK.len() + 10;
    let bare = [&kept[..at], &kept[end..]].concat();
    let sum = format!("{:08x}", crc32c::crc32c(&bare));
    let mut sealed = kept;
    sealed[at + MARK.len()..at + MARK.len() + 8].copy_from_slice(sum.as_bytes());
    Some(sealed)
}
