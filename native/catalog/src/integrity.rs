//! Checksums of a table's log, which Delta itself does not have (I6).
//!
//! ```text
//! <version>.json                        its `commitInfo` says `"otlakeCrc32c":"<8 hex>"`: the
//!                                       CRC-32C of the file without those bytes
//! .<version>.checkpoint.parquet.crc32c  a line: size, and the CRC-32C of each 64 KiB block
//! ._last_checkpoint.crc32c              the same
//! ```
//!
//! Other readers pass over all three. What another writer left has no checksum and is taken as
//! it is; a commit that says it is ours and has none is damaged.

use otlake_base::checksum::BlockSums;

const COMMIT_INFO: &[u8] = b"{\"commitInfo\":{";
const MARK_BEFORE: &[u8] = b"\"otlakeCrc32c\":\"";
const MARK_AFTER: &[u8] = b"\",";
const DIGITS: usize = 8;
/// What each commit of ours says of its writer.
const OURS: &[u8] = b"\"engineInfo\":\"otlake/";

/// How the integrity of a file in a table's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By a checksum in it.
    Commit,
    /// By checksums beside it; its loss costs time alone while the commits are there.
    Checkpoint,
    /// By checksums beside it; readers do without it.
    Hint,
}

impl Kind {
    /// The kind of a file with this path; none for what carries no checksum.
    pub(crate) fn of(path: &str) -> Option<Kind> {
        let (folder, name) = path.rsplit_once('/')?;
        if !(folder == "_delta_log" || folder.ends_with("/_delta_log")) {
            return None;
        }
        if name == "_last_checkpoint" {
            return Some(Kind::Hint);
        }
        let (version, rest) = name.split_once('.')?;
        if version.len() != 20 || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        match rest {
            "json" => Some(Kind::Commit),
            _ if rest.starts_with("checkpoint.") && rest.ends_with(".parquet") => {
                Some(Kind::Checkpoint)
            }
            _ => None,
        }
    }
}

/// The version that a file of a table's log is of, by its name.
pub(crate) fn version_of(name: &str) -> Option<u64> {
    name.split_once('.')?.0.parse().ok()
}

/// The name of the file that holds the checksums of `name`.
pub(crate) fn sums_name(name: &str) -> String {
    format!(".{name}.crc32c")
}

/// A commit with its checksum in it; unchanged where it has no `commitInfo`.
pub(crate) fn seal(commit: &[u8]) -> Vec<u8> {
    let Some(at) = commit_info(commit) else {
        return commit.to_vec();
    };
    let sum = crc32c::crc32c(commit);
    let mut sealed = Vec::with_capacity(commit.len() + MARK_BEFORE.len() + DIGITS + 2);
    sealed.extend_from_slice(&commit[..at]);
    sealed.extend_from_slice(MARK_BEFORE);
    sealed.extend_from_slice(format!("{sum:08x}").as_bytes());
    sealed.extend_from_slice(MARK_AFTER);
    sealed.extend_from_slice(&commit[at..]);
    sealed
}

/// Whether a file of the log is what was written, and whether that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    /// Another writer's: there is nothing to check it by.
    Unknown,
    Damaged(&'static str),
}

/// Checks a commit.
pub(crate) fn check_commit(bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::Damaged("the commit is empty");
    }
    let marked = commit_info(bytes).and_then(|at| {
        let rest = bytes[at..].strip_prefix(MARK_BEFORE)?;
        let said = rest.get(..DIGITS)?;
        let rest = rest[DIGITS..].strip_prefix(MARK_AFTER)?;
        Some((
            said,
            crc32c::crc32c_append(crc32c::crc32c(&bytes[..at]), rest),
        ))
    });
    match marked {
        Some((said, is)) if said == format!("{is:08x}").as_bytes() => Verdict::Whole,
        Some(_) => Verdict::Damaged("the commit's checksum is wrong"),
        // A flipped bit in the mark, or in what leads to it, must not make it pass as foreign.
        None if contains(bytes, OURS) || contains(bytes, b"otlakeCrc32c") => {
            Verdict::Damaged("the commit has lost its checksum")
        }
        None => Verdict::Unknown,
    }
}

/// What stands beside a checkpoint of these bytes.
pub(crate) fn sums_file(bytes: &[u8]) -> String {
    format!("{} {}\n", bytes.len(), BlockSums::of(bytes).to_text())
}

/// Checks a file against what stands beside it, if anything does.
pub(crate) fn check_beside(bytes: &[u8], sums: Option<&[u8]>) -> Verdict {
    let Some(sums) = sums else {
        return Verdict::Unknown;
    };
    if sums_file(bytes).as_bytes() == sums {
        Verdict::Whole
    } else {
        Verdict::Damaged("the file and the checksums beside it differ")
    }
}

/// Where the fields of the `commitInfo` line begin.
fn commit_info(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(COMMIT_INFO) {
            return Some(start + COMMIT_INFO.len());
        }
        start += line.len();
    }
    None
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &[u8] = b"{\"commitInfo\":{\"timestamp\":1,\"engineInfo\":\"otlake/0.1.0\"}}\n\
        {\"add\":{\"path\":\"a.parquet\",\"size\":17}}\n";

    #[test]
    fn i6_every_flipped_bit_of_a_commit_is_found() {
        let sealed = seal(COMMIT);
        assert_eq!(check_commit(&sealed), Verdict::Whole);
        for line in sealed
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            serde_json::from_slice::<serde_json::Value>(line).expect("it is still JSON");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(check_commit(&flipped), Verdict::Damaged(_)),
                "bit {bit}: {}",
                String::from_utf8_lossy(&flipped)
            );
        }
        for length in 0..sealed.len() {
            assert_ne!(
                check_commit(&sealed[..length]),
                Verdict::Whole,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn what_another_writer_left_is_taken_as_it_is() {
        let foreign = b"{\"commitInfo\":{\"engineInfo\":\"Apache-Spark\"}}\n{\"add\":{}}\n";
        assert_eq!(check_commit(foreign), Verdict::Unknown);
        let bare = b"{\"add\":{}}\n";
        assert_eq!(
            (seal(bare), check_commit(bare)),
            (bare.to_vec(), Verdict::Unknown)
        );
        assert_eq!(check_beside(b"abc", None), Verdict::Unknown);
    }

    #[test]
    fn i6_a_checkpoint_is_held_against_what_stands_beside_it() {
        let sums = sums_file(b"a checkpoint");
        assert_eq!(
            check_beside(b"a checkpoint", Some(sums.as_bytes())),
            Verdict::Whole
        );
        for (bytes, sums) in [
            (&b"b checkpoint"[..], sums.as_bytes()),
            (b"a checkpoin", sums.as_bytes()),
            (b"a checkpoint", &sums.as_bytes()[1..]),
        ] {
            assert!(matches!(
                check_beside(bytes, Some(sums)),
                Verdict::Damaged(_)
            ));
        }
    }

    #[test]
    fn names_of_the_log_have_their_kinds() {
        let log = "home/data/tables/spans/_delta_log";
        for (name, kind) in [
            ("00000000000000000007.json", Some(Kind::Commit)),
            (
                "00000000000000000007.checkpoint.parquet",
                Some(Kind::Checkpoint),
            ),
            (
                "00000000000000000007.checkpoint.0000000001.0000000002.parquet",
                Some(Kind::Checkpoint),
            ),
            ("_last_checkpoint", Some(Kind::Hint)),
            ("00000000000000000007.json#12", None),
            (".00000000000000000007.checkpoint.parquet.crc32c", None),
            ("_staged_commits/00000000000000000007.json", None),
            ("7.json", None),
        ] {
            assert_eq!(Kind::of(&format!("{log}/{name}")), kind, "{name}");
        }
        assert_eq!(Kind::of("spans/tenant=a/00000000000000000007.json"), None);
    }
}
