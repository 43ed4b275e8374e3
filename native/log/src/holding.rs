//! What the log still holds of a stream, told without opening it.

use std::io;
use std::path::Path;

use otlake_base::{Code, Disk, Error, Result, StreamId};

use crate::reading::{Head, Next, Reading};
use crate::verify::{Segment, segments};

/// The last record of a stream up to which each one from sequence `from` on is whole; none where
/// that first one is gone or damaged. Reads the stream to that place.
///
/// # Errors
/// `LOG_IO` where it cannot be read.
pub fn whole_until(
    disk: &dyn Disk,
    folder: &Path,
    stream: StreamId,
    from: u64,
) -> Result<Option<u64>> {
    let segments: Vec<Segment> = segments(disk, folder)?
        .into_iter()
        .filter(|segment| segment.stream == stream)
        .collect();
    let next = next_after(disk, &segments, from)
        .map_err(|error| Error::new(Code::LogIo, format!("{}: {error}", folder.display())))?;
    Ok((next > from).then(|| next - 1))
}

/// The first sequence from `from` on that is not there as a whole record.
fn next_after(disk: &dyn Disk, segments: &[Segment], from: u64) -> io::Result<u64> {
    let mut begins = Vec::with_capacity(segments.len());
    for segment in segments {
        begins.push(Head::read(disk, &segment.path, segment.stream)?.begin());
    }
    let mut next = from;
    for (index, segment) in segments.iter().enumerate() {
        let Some(begin) = begins[index] else { continue };
        let later = begins[index + 1..].iter().flatten().next();
        let mut reading = Reading::open(
            disk,
            &segment.path,
            segment.stream,
            segment.ordinal,
            begin,
            later.map(|later| later.sequence),
        )?;
        loop {
            match reading.next_record()? {
                Next::Record(position, _) if position.sequence > next => return Ok(next),
                Next::Record(position, _) if position.sequence == next => next += 1,
                // What lies before is not asked for; a hole shows at the record behind it.
                Next::Record(..) | Next::Damaged(_) => {}
                Next::End => break,
            }
        }
    }
    Ok(next)
}
