//! Deletes segments of which nothing is needed, and writes the few records of one that is mostly
//! dead anew, so that they do not keep it.

use std::io;

use otlake_base::{Code, Error, Result, StreamId};
use otlake_log::Frame;

use super::core::JournalCore;
use super::mark::Mark;

/// A segment with less than this part of it needed is written anew.
const LIVE_PART: u64 = 4;
/// Bytes that one step writes anew, beyond the first record (I5).
const STEP_BYTES: usize = 4 * 1024 * 1024;

impl JournalCore {
    /// Does a bounded part of what there is to tidy; true where there is more.
    ///
    /// # Errors
    /// `LOG_IO`, `LOG_FULL`; it can be tried again.
    pub fn tidy(&mut self) -> Result<bool> {
        let Some((ordinal, live)) = self.next_to_tidy() else {
            return Ok(false);
        };
        if live > 0 {
            self.rescue(ordinal)?;
        } else {
            self.delete(ordinal)?;
        }
        Ok(true)
    }

    fn next_to_tidy(&self) -> Option<(u64, u64)> {
        let index = self.index.read();
        let sealed = index.segments.iter().filter(|(_, segment)| segment.sealed);
        let due = sealed.filter(|(_, segment)| {
            segment.live_records == 0
                || segment.damaged
                || segment.live_bytes < segment.bytes / LIVE_PART
        });
        due.map(|(ordinal, segment)| (*ordinal, segment.live_records))
            .min_by_key(|(ordinal, live)| (*live > 0, *ordinal))
    }

    /// Writes records of a segment anew, from the first on.
    fn rescue(&mut self, ordinal: u64) -> Result<()> {
        let records: Vec<(StreamId, u64)> = {
            let index = self.index.read();
            let mut bytes = 0;
            let all = index.streams.iter().flat_map(|(stream, of)| {
                let here = of
                    .records
                    .iter()
                    .filter(|(_, place)| place.segment == ordinal);
                here.map(|(sequence, place)| (*stream, *sequence, place.bytes))
            });
            all.take_while(|(_, _, length)| {
                let fits = bytes < STEP_BYTES;
                bytes += *length as usize;
                fits
            })
            .map(|(stream, sequence, _)| (stream, sequence))
            .collect()
        };
        let reader = self.reader();
        let (mut frames, mut lost) = (Vec::new(), Vec::new());
        for (stream, sequence) in records {
            match reader.read(stream, sequence) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {}
                Err(error) if error.code == Code::LogChecksumMismatch => {
                    lost.push((stream, sequence));
                }
                Err(error) => return Err(error),
            }
        }
        if !lost.is_empty() {
            self.lost_in_tidy.extend_from_slice(&lost);
            self.lost(&lost);
        }
        if frames.is_empty() {
            return Ok(());
        }
        // A journal at its limit needs room for this to get any.
        let spare = self.config.segment_bytes + STEP_BYTES as u64;
        let frames: Vec<&Frame> = frames.iter().collect();
        self.write(&[], &frames, spare)
    }

    /// Deletes a segment with no record that is needed. What is known of streams is written anew
    /// where it stands there alone.
    fn delete(&mut self, ordinal: u64) -> Result<()> {
        let states: Vec<(StreamId, Mark)> = {
            let index = self.index.read();
            let here = index.streams.iter();
            let here = here.filter(|(_, of)| of.state_in == Some(ordinal) && of.has_state());
            here.map(|(stream, of)| {
                let mark = Mark::State {
                    stream: *stream,
                    fence: of.fence,
                    released: of.released,
                };
                (*stream, mark)
            })
            .collect()
        };
        if !states.is_empty() {
            self.write(&states, &[], self.config.segment_bytes)?;
        }
        // The identity stands in heads of segments: there is always a later one.
        if self.open.is_none() {
            self.create(self.config.segment_bytes)?;
        }
        let refused = |error: io::Error| {
            Error::new(Code::LogIo, format!("deleting a replica segment: {error}"))
        };
        match self.disk.remove(&self.path(ordinal)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        self.disk.sync_folder(&self.config.dir).map_err(refused)?;
        self.index.write().segments.remove(&ordinal);
        self.measure();
        Ok(())
    }
}
