//! Replication: copies of a stream's records on other nodes, fsynced, before a success is sent (I1),
//! and what a dead node acknowledged, recovered from them (I2). The protocol is that of BookKeeper's
//! ledgers: one writer, an ack quorum, fencing, recovery. docs/replication.md tells it in full.
//!
//! ```text
//! Replicator: Log -> Owner --Append--> Follower -> Journal     (one link per owner and follower)
//!                      ^----Durable------'
//! Recoverer: Recovery --Fence, Fetch--> Follower, owner's log  (calls)
//! ```
//!
//! - `ranges`: sets of sequences. `ensemble`: who holds copies. `quorums`: how many a record needs, by
//!   signal and tenant. `message`: what is said.
//! - `owner`, `follower`, `recovery`: the protocol, without I/O. A message or the time goes in;
//!   messages, writes and completions come out.
//! - `journal`: the copies on disk. `drive`: what connects the protocol to log, journal and wire.
//!
//! What was thought through, and where it is settled:
//!
//! - **A record's number is its bytes for good.** A log that fails a write uses its numbers again,
//!   so a record is sent only once it is fsynced in its owner's log: no follower ever holds other
//!   bytes under the same position, and an intact owner's log holds everything that anyone holds.
//! - **The ensemble changes while records wait** (`owner/change.rs`): from the proposal to its answer
//!   a record needs the quorum of both; the new one begins where everything done has its quorum in
//!   it.
//! - **A stream with no record**: it is begun on disk before it is registered. Else its owner could
//!   not tell it, when it comes back, from one that it has lost.
//! - **A follower comes back without its disk**: its journal has another identity. Ensembles name
//!   journals, not nodes alone; owners and recoveries compare (`owner/cursor.rs`,
//!   `recovery/gather.rs`). A journal that finds damage takes another identity by itself.
//! - **An owner is paused and goes on**: followers that were fenced refuse it, and recovery has asked
//!   so many that no quorum is left. What they had confirmed before the fence is among what they
//!   told the recovery. Signals that are acknowledged at the owner's fsync alone stop within their
//!   time-out of the last word from a follower (`owner/quorum.rs`).
//! - **Such an owner flushes late**: a commit is a compare-and-swap of the stream's epoch and watermark. A recoverer passes no gap over before it knows that the
//!   gap was never acknowledged, since the watermark would pass it, too (`recovery/mod.rs`).
//! - **It flushes after the seal, too**: what it acknowledged alone would be in the tables twice when
//!   it comes back and appends it anew. So tables are fenced as followers are: a commit names its
//!   epoch, and a recovery raises that of each table before it reads the watermark.
//! - **What an owner that comes back appends anew** is told by the seal, and a recovery that dies
//!   midway has told it before it passed a gap (`recovery/plan.rs`).
//! - **Tenants want different quorums** of one stream (`quorums.rs`): each record is acknowledged by its
//!   own tenant's; a recovery counts on the fewest acknowledgements that anyone asks for, and a record
//!   whose quorum is late does not hold up those behind it that ask for less (`owner/overdue.rs`).
//! - **A proposal comes late, or twice**: ensembles are numbered, and the metadata group takes each
//!   number once (`ensemble.rs`).
//! - **Messages of an older link**: owners pass them over. What reaches a follower late is harmless:
//!   an append is a record of its stream, whenever it comes; a release tells what the tables hold,
//!   which stays true; a fence only rises.
//! - **A recovery is recovered**: the later one has the higher epoch, and members tell it to the
//!   earlier. Both may flush: see above. Copies are released by the tables' watermarks alone, so
//!   what the earlier one took is there still for the later.
//! - **A stream that is sealed and forgotten**: followers keep its fence, so that an owner paused for
//!   hours gets no confirmation of anything.

#![warn(missing_docs)]

pub mod drive;
pub mod ensemble;
pub mod follower;
pub mod journal;
pub mod message;
pub mod owner;
mod quorums;
mod ranges;
pub mod recovery;

pub use ensemble::{Copies, Ensemble, Ensembles, Member, Quorum};
pub use quorums::{MAX_TENANT_QUORUMS, Quorums};
pub use ranges::Ranges;

#[cfg(test)]
#[path = "../../log/src/faulty_disk.rs"]
mod faulty_disk;
#[cfg(test)]
mod follower_test;
#[cfg(test)]
mod message_test;
#[cfg(test)]
mod owner_driven;
#[cfg(test)]
mod owner_test;
#[cfg(test)]
mod quorums_test;
#[cfg(test)]
mod ranges_test;
#[cfg(test)]
mod recovery_test;
#[cfg(test)]
mod tenants_test;
#[cfg(test)]
mod testing;
