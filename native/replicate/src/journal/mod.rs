//! The replica journal: records of other nodes' streams, on this node's disk.
//!
//! One writer takes what waits for all streams, writes it with one call and syncs once. A segment
//! holds frames of many streams, each as it stands in its owner's log, and marks of the journal's
//! own. The head of a segment is that of a log's segment, with the journal's identity for a stream.
//!
//! ```text
//! replica/<ordinal, 16 hex>.seg
//!   header  as in otlake-log: the journal's identity, the ordinal, created
//!   group   "OTLJ" crc32c:u32 1:u64 identity:u128 place:u64 0 0 0             (64 bytes)
//!   state   "OTLJ" crc32c:u32 2:u64 stream:u128 fence:u64 released:u64*3      (64 bytes)
//!   frame   as in otlake-log
//! ```
//!
//! A group mark stands before each group, and tells that everything before it in the segment was
//! synced: what is missing there is damage. Behind the last one, what lacks a sector that was
//! never written is the end that a crash cut off; it was confirmed to nobody.
//!
//! The identity stands for a promise: everything that this journal has confirmed and that is not
//! released, it holds. A journal that finds damage has lost something, and takes another identity:
//! then owners send it again what it lacks, and nobody counts on it for what it had promised.
//!
//! - `mark.rs`: the bytes of marks.
//! - `index.rs`: where each record stands, and what each segment still holds.
//! - `core.rs`: writes groups; `tidy.rs`: deletes segments; `reopen.rs`: reads them back.
//! - `thread.rs`: the writer's thread.

mod core;
mod index;
mod mark;
mod reopen;
mod thread;
mod tidy;

#[cfg(test)]
mod journal_test;
#[cfg(test)]
mod tidy_test;

use std::path::PathBuf;

use otlake_base::StreamId;
use otlake_base::limits;
use otlake_log::Frame;

use crate::message::BySignal;

pub use self::core::JournalCore;
pub use self::index::JournalReader;
pub use self::thread::{Journal, OnWritten};

/// What is written to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Records, of whichever streams.
    Frames(Vec<Frame>),
    /// A stream is fenced at this epoch.
    Fence {
        /// The stream.
        stream: StreamId,
        /// The lowest epoch that is taken from now on.
        epoch: u64,
    },
    /// The tables hold everything of a stream up to here.
    Release {
        /// The stream.
        stream: StreamId,
        /// By signal.
        released: BySignal,
    },
    /// A stream is sealed and gone.
    Forget {
        /// The stream.
        stream: StreamId,
    },
}

impl Write {
    /// Bytes that it holds while it waits.
    pub fn bytes(&self) -> usize {
        match self {
            Write::Frames(frames) => frames.iter().map(Frame::bytes).sum(),
            _ => mark::MARK_BYTES,
        }
    }
}

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The folder of its segments.
    pub dir: PathBuf,
    /// Preallocated bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of all segments together; beyond it records are refused (I5).
    pub max_bytes: u64,
    /// Records that it may hold (I5): each takes some 60 bytes of memory.
    pub max_records: usize,
}

impl JournalConfig {
    /// The defaults, in this folder.
    pub fn new(dir: PathBuf) -> JournalConfig {
        JournalConfig {
            dir,
            segment_bytes: limits::REPLICA_SEGMENT_BYTES,
            max_bytes: limits::REPLICA_MAX_BYTES,
            max_records: limits::REPLICA_MAX_RECORDS,
        }
    }
}
