//! A damaged newest commit that can do without: what it did is done again.
//!
//! A flush's commit can while the log holds every record whose rows it named: the table goes back
//! to the version before, and replay flushes again. One that merges files or expires days can
//! while the files that it removed are on disk. Of a commit that is damaged only what is left of
//! it tells which it was, so one that could have done more than these two is left as it is.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use deltalake_core::DeltaTable;
use otlake_base::disk::{Disk, read};
use otlake_base::{Position, Result, StreamId, Table};
use serde_json::Value;

use crate::durable_store::Damage;
use crate::handle::{state, storage};
use crate::integrity::{Kind, version_of};
use crate::recover::unreadable;
use crate::snapshot::files;
use crate::watermarks::{self, position};

/// What the log holds, asked for a stream and a first sequence: the last record up to which each
/// one from there on is whole; none where that first one is not.
pub type InLog = Arc<dyn Fn(StreamId, u64) -> Option<u64> + Send + Sync>;

/// What a damaged commit did, as far as it can be told.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    /// Added the rows of records up to these.
    Flush(Vec<Position>),
    /// Removed files, and added others in their place or none.
    Replace,
    /// Neither of them for sure.
    Unknown,
}

/// Why the damaged commit cannot be set aside; none where it can, and nothing is lost.
///
/// # Errors
/// `TABLE_IO`, `TABLE_CORRUPT` where the version before it cannot be read.
pub(crate) async fn obstacle(
    table: Table,
    root: &Path,
    delta: &mut DeltaTable,
    disk: &dyn Disk,
    damage: &Damage,
    in_log: &InLog,
) -> Result<Option<&'static str>> {
    let name = damage.path.file_name().and_then(|name| name.to_str());
    let Some(version) = name.and_then(version_of) else {
        return Ok(Some("its name tells no version"));
    };
    let Some(before) = version.checked_sub(1) else {
        return Ok(Some("it made the table"));
    };
    let io = |error| storage(table, "cannot look at its log", error);
    let log = root.join("_delta_log");
    let later = disk.list(&log).map_err(io)?.into_iter().any(|entry| {
        let kind = log.join(&entry.name).to_str().and_then(Kind::of);
        match (kind, version_of(&entry.name)) {
            (Some(Kind::Commit), Some(of)) => of > version,
            (Some(Kind::Checkpoint), Some(of)) => of >= version,
            _ => false,
        }
    });
    if later {
        return Ok(Some("later versions are built on it"));
    }
    let did = did(&read(disk, &damage.path).map_err(io)?);
    delta.state = None;
    delta
        .load_version(before)
        .await
        .map_err(|error| unreadable(table, error))?;
    let obstacle = match did {
        Did::Flush(upto) => {
            let marks = watermarks::read(&delta.log_store(), before).await?;
            let held = upto
                .iter()
                .all(|mark| is_held(*mark, &marks.watermarks, in_log));
            (!held).then_some("the log does not hold all records whose rows it named")
        }
        Did::Replace => {
            let files = files(table, state(table, delta)?)?;
            let there = files.iter().all(|file| {
                let status = disk.status(&root.join(&file.path));
                status.is_ok_and(|status| status.bytes == file.size)
            });
            (!there).then_some("files that it removed are gone")
        }
        Did::Unknown => Some("what it did cannot be told"),
    };
    delta.state = None;
    Ok(obstacle)
}

/// Whether the log holds every record from behind the watermark up to this one.
fn is_held(mark: Position, watermarks: &HashMap<StreamId, u64>, in_log: &InLog) -> bool {
    let watermark = watermarks.get(&mark.stream).copied().unwrap_or(0);
    // Of derived rows the stream that they are of is named by its companion.
    let streams = [mark.stream, mark.stream.counted(), mark.stream.settled()];
    let is_in_log =
        |stream: StreamId| in_log(stream, watermark + 1).is_some_and(|last| last >= mark.sequence);
    mark.sequence <= watermark || streams.into_iter().any(is_in_log)
}

/// Reads what is left of a commit. A line that is not JSON any more may tell by its beginning
/// that it named a file or the writer: nothing else of it is needed. There may be one of those: in
/// damage that spans lines another could have vanished.
fn did(commit: &[u8]) -> Did {
    let (mut upto, mut adds, mut removes, mut broken) = (Vec::new(), false, false, 0);
    for line in commit.split(|byte| *byte == b'\n') {
        let action = match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(action)) if action.len() == 1 => action,
            Ok(_) => return Did::Unknown,
            Err(_) if line.is_empty() => continue,
            Err(_) => {
                broken += 1;
                let begins = |with: &str| line.starts_with(with.as_bytes());
                if broken > 1 || !is_one_line(line) {
                    return Did::Unknown;
                } else if begins("{\"add\":{") {
                    adds = true;
                } else if begins("{\"remove\":{") {
                    removes = true;
                } else if !begins("{\"commitInfo\":{") {
                    return Did::Unknown;
                }
                continue;
            }
        };
        for (key, value) in &action {
            match (key.as_str(), position(value)) {
                ("txn", Some(mark)) => upto.push(mark),
                ("add", _) => adds = true,
                ("remove", _) => removes = true,
                ("commitInfo", _) => {}
                // Another application's mark, other columns, another protocol.
                _ => return Did::Unknown,
            }
        }
    }
    match (upto.is_empty(), adds, removes) {
        (false, _, false) => Did::Flush(upto),
        (true, _, true) => Did::Replace,
        _ => Did::Unknown,
    }
}

/// Whether damage to a line left its end, and no end of a line within it.
fn is_one_line(line: &[u8]) -> bool {
    let joined = |bytes: &[u8]| &bytes[..2] == b"}}" && (bytes[2] == b'{' || &bytes[3..] == b"{\"");
    line.ends_with(b"}}") && !line.iter().any(u8::is_ascii_control) && !line.windows(5).any(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "{\"commitInfo\":{\"engineInfo\":\"otlake/0.1.0\"}}";
    const ADD: &str = "{\"add\":{\"path\":\"a.parquet\",\"stats\":\"{\\\"numRecords\\\":1}\"}}";
    const REMOVE: &str = "{\"remove\":{\"path\":\"b.parquet\"}}";

    fn txn(stream: u128, sequence: u64) -> String {
        let app = watermarks::app_id(StreamId(stream));
        format!("{{\"txn\":{{\"appId\":\"{app}\",\"version\":{sequence}}}}}")
    }

    fn of(lines: &[&str]) -> Did {
        did(lines.join("\n").as_bytes())
    }

    fn at(stream: u128, sequence: u64) -> Position {
        let stream = StreamId(stream);
        Position { stream, sequence }
    }

    #[test]
    fn what_a_commit_did_is_told_from_what_is_left_of_it() {
        let (one, two) = (txn(1, 5), txn(2, 7));
        let flush = Did::Flush(vec![at(1, 5), at(2, 7)]);
        assert_eq!(of(&[INFO, ADD, ADD, &one, &two]), flush);
        assert_eq!(of(&[INFO, REMOVE, REMOVE, ADD]), Did::Replace);
        assert_eq!(of(&[INFO, REMOVE]), Did::Replace);
        // One line is not JSON any more.
        let broken = ADD.replace("\"path\"", "\"path");
        assert_eq!(of(&[INFO, &broken, ADD, &one, &two]), flush);
        let broken = INFO.replace("\"otlake", "otlake");
        assert_eq!(of(&[&broken, ADD, &one, &two]), flush);
        let broken = REMOVE.replace("\"b", "b");
        assert_eq!(of(&[INFO, &broken, ADD]), Did::Replace);
    }

    #[test]
    fn a_commit_that_may_have_done_more_is_unknown() {
        let one = txn(1, 5);
        let foreign = one.replace("otlake/", "spark/");
        let broken = one.replace("\"appId\"", "appId");
        let swallowed = format!("{ADD}{one}");
        let joined = format!("{ADD}J{one}");
        let zeroed = ADD.replace("\"path\"", "\0\0\0\0\0\0");
        for lines in [
            &[][..],
            &[INFO, ADD],
            &[INFO, REMOVE, ADD, &one],
            &[INFO, ADD, &foreign],
            &[INFO, ADD, &broken],
            &[INFO, &swallowed],
            &[INFO, &swallowed, &one],
            &[INFO, &joined, &one],
            &[INFO, &zeroed, &one],
            &[INFO, &ADD[..20], &ADD[..20], &one],
            &[INFO, &ADD[..20], &one],
            &[INFO, "{\"metaData\":{}}", ADD, &one],
            &[INFO, "{\"add\":{},\"txn\":{}}", &one],
        ] {
            assert_eq!(of(lines), Did::Unknown, "{lines:?}");
        }
    }

    #[test]
    fn a_record_that_the_watermark_covers_need_not_be_in_the_log() {
        let watermarks = HashMap::from([(StreamId(1), 4)]);
        let held = |last: Option<u64>| -> InLog { Arc::new(move |_, _| last) };
        assert!(is_held(at(1, 4), &watermarks, &held(None)));
        assert!(!is_held(at(1, 5), &watermarks, &held(None)));
        assert!(!is_held(at(1, 7), &watermarks, &held(Some(6))));
        assert!(is_held(at(1, 7), &watermarks, &held(Some(7))));
        let companions: InLog = Arc::new(|stream, from| (stream.0 == 1 && from == 1).then_some(9));
        for companion in [StreamId::counted, StreamId::settled] {
            let stream = companion(StreamId(1));
            let (held, beyond) = (at(stream.0, 9), at(stream.0, 10));
            assert!(is_held(held, &watermarks, &companions));
            assert!(!is_held(beyond, &watermarks, &companions));
        }
        let asked: InLog = Arc::new(|stream, from| (stream.0 == 2 && from == 1).then_some(9));
        assert!(is_held(at(2, 9), &watermarks, &asked));
        assert!(!is_held(at(1, 9), &watermarks, &asked));
    }
}
