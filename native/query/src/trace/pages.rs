//! Parts of a file in memory, where a Parquet reader looks for the whole.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::reader::{ChunkReader, Length};

/// The parts that were read of a file, in order.
#[derive(Clone)]
pub(super) struct Pages {
    parts: Arc<Vec<(u64, Bytes)>>,
    /// Where the last one ends.
    end: u64,
}

impl Pages {
    /// What was read of `ranges`.
    pub(super) fn new(ranges: &[Range<u64>], read: Vec<Bytes>) -> Pages {
        let starts = ranges.iter().map(|range| range.start);
        let mut parts: Vec<(u64, Bytes)> = starts.zip(read).collect();
        parts.sort_unstable_by_key(|(start, _)| *start);
        let end = ranges.iter().map(|range| range.end).max();
        Pages {
            parts: Arc::new(parts),
            end: end.unwrap_or(0),
        }
    }

    /// The part that `at` is in, from there on.
    fn from(&self, at: u64) -> Result<Bytes> {
        let after = self.parts.partition_point(|(start, _)| *start <= at);
        let part = after.checked_sub(1).map(|part| &self.parts[part]);
        part.and_then(|(start, bytes)| {
            let skipped = usize::try_from(at - start).ok()?;
            (skipped <= bytes.len()).then(|| bytes.slice(skipped..))
        })
        .ok_or_else(|| ParquetError::EOF(format!("nothing was read at {at}")))
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.end
    }
}

impl ChunkReader for Pages {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            let what = format!("{length} bytes at {start} were not read");
            return Err(ParquetError::EOF(what));
        }
        Ok(bytes.slice(..length))
    }
}
