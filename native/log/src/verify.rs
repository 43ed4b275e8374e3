//! Reads every segment and tells what is damaged, beside a running node or without one.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use otlake_base::checksum::Checked;
use otlake_base::{Code, Disk, Error, Result, StreamId};

use crate::reading::{Head, Next, Reading};

/// Times that a segment with damage is read: one that is being written can look torn once.
const READS: usize = 3;

/// A segment on disk.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes, with what is preallocated.
    pub bytes: u64,
    pub(crate) stream: StreamId,
    pub(crate) ordinal: u64,
}

/// Every segment below the log's folder, stream by stream in the order they were written.
///
/// # Errors
/// `LOG_IO` where the folder cannot be listed.
pub fn segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<Segment>> {
    let list = || -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in disk.list(folder)? {
            let Ok(stream) = StreamId::from_str(&entry.name) else {
                continue;
            };
            let folder = folder.join(&entry.name);
            for file in gone_is_none(disk.list(&folder))?.unwrap_or_default() {
                let ordinal = file
                    .name
                    .strip_suffix(".seg")
                    .and_then(|name| u64::from_str_radix(name, 16).ok());
                let Some(ordinal) = ordinal else { continue };
                let path = folder.join(&file.name);
                let Some(status) = gone_is_none(disk.status(&path))? else {
                    continue;
                };
                segments.push(Segment {
                    bytes: status.bytes,
                    path,
                    stream,
                    ordinal,
                });
            }
        }
        segments.sort_by_key(|segment| (segment.stream, segment.ordinal));
        Ok(segments)
    };
    list().map_err(|error| Error::new(Code::LogIo, format!("{}: {error}", folder.display())))
}

/// A running node deletes segments, and folders of streams, between a listing and a look.
fn gone_is_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Checks the segment at `index` of what [`segments`] gave.
///
/// # Errors
/// `LOG_IO` where it cannot be read.
pub fn check_segment(disk: &dyn Disk, segments: &[Segment], index: usize) -> Result<Checked> {
    let segment = &segments[index];
    let mut found = None;
    for _ in 0..READS {
        match read(disk, segments, index) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checked::Gone),
            Err(error) => {
                let text = format!("{}: {error}", segment.path.display());
                return Err(Error::new(Code::LogIo, text));
            }
            Ok(None) => return Ok(Checked::Whole),
            Ok(damage) => found = damage,
        }
    }
    Ok(found.map_or(Checked::Whole, Checked::Damaged))
}

/// What is damaged in a segment, if anything is.
fn read(disk: &dyn Disk, segments: &[Segment], index: usize) -> io::Result<Option<String>> {
    let segment = &segments[index];
    let begin = match Head::read(disk, &segment.path, segment.stream)? {
        Head::Whole(begin) => begin,
        Head::Empty => return Ok(None),
        Head::Lost => return Ok(Some("its head is damaged, and no record is whole".into())),
        Head::Foreign(text) => return Ok(Some(text)),
        Head::Salvaged(begin) => {
            let text = format!(
                "its head is damaged; it begins at record {}",
                begin.sequence
            );
            return Ok(Some(text));
        }
    };
    let later = segments[index + 1..]
        .iter()
        .take_while(|later| later.stream == segment.stream);
    let mut end_sequence = None;
    for later in later {
        if let Ok(head) = Head::read(disk, &later.path, later.stream)
            && let Some(begin) = head.begin()
        {
            end_sequence = Some(begin.sequence);
            break;
        }
    }
    let (stream, ordinal) = (segment.stream, segment.ordinal);
    let mut reading = Reading::open(disk, &segment.path, stream, ordinal, begin, end_sequence)?;
    let mut damage = Vec::new();
    loop {
        match reading.next_record()? {
            Next::Record(..) => {}
            Next::Damaged(error) => damage.push(error.message),
            Next::End => break,
        }
    }
    Ok((!damage.is_empty()).then(|| damage.join("; ")))
}
