//! The write-ahead log: what is acknowledged is here first, and fsynced (I1).
//!
//! Each start of a node opens a stream of its own and writes no other. A stream is a folder of
//! segments; a segment is a header and frames, one for each request; the rest of its preallocated
//! space is zero. One thread writes: it takes what waits, writes it with one call, syncs once, and
//! then answers in the order of the sequence (group commit).
//!
//! ```text
//! log/<stream, 32 hex>/<ordinal, 16 hex>.seg
//!   header  "OTLAKLOG" version:u32 crc32c:u32 stream:u128 first_sequence:u64 created:u64  (64 bytes)
//!   frame   "OTLF" crc32c:u32 length:u32 signal:u8 tenant_length:u8 unsynced:u16
//!           sequence:u64 received_unix_nano:u64 stream:u128                              (48 bytes)
//!           tenant payload                                                     (length bytes)
//! ```
//!
//! Numbers are little-endian. A frame's checksum covers everything behind it, a header's
//! everything else in the header.
//!
//! A failed write or sync abandons the segment: the kernel may have dropped the pages, so trying
//! again could report a success that is none. What the attempt covered is refused, its sequence
//! numbers are used again in the next segment, and a reader leaves an abandoned segment where the
//! next one begins. The next one is begun before the refusal is answered, and segments are deleted
//! in order. So replay sees every acknowledged record once, and a refused one only where the disk
//! failed from then until the process ended.
//!
//! - `frame.rs`: the bytes of headers and frames.
//! - `writer.rs`: the thread; `order.rs`: what it is sent.
//! - `replay.rs`: finds the streams of earlier starts, and reads them.
//! - `reading.rs`: reads one segment, and past damage in it.
//! - `retention.rs`: which segments exist, and when they may go.
//! - `holding.rs`: what the log still holds of a stream.
//! - `verify.rs`: reads every segment and tells what is damaged.
//! - `reader.rs`: reads one stream from a sequence on, beside its writer too.
//! - `appender.rs`: what requests are stored in, be it a log alone or one with copies elsewhere.
//! - `stepped.rs`: the log without its thread, for simulations.
//! - `log.rs`: the handle that the others are reached through.

mod appender;
pub mod frame;
mod holding;
mod log;
mod order;
mod reader;
mod reading;
mod replay;
mod retention;
mod stepped;
pub mod verify;
mod writer;

#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod holding_test;
#[cfg(test)]
mod log_test;
#[cfg(test)]
mod reader_test;
#[cfg(test)]
mod replay_test;

pub use appender::{Appender, OnAcknowledged};
pub use frame::Frame;
pub use holding::whole_until;
pub use log::{Durability, Log, LogConfig, OnDurable, OnFrame, Record};
pub use reader::{Chunk, StreamReader};
pub use replay::Replay;
pub use stepped::SteppedLog;
