//! What the metadata group holds at most (I5), and how often it tries.
//!
//! A limit that `State::apply` looks at is a part of the state machine: two nodes that differ in it
//! would differ in their state. Raising one needs a new `STATE_VERSION`.

use std::time::Duration;

/// A name in the metadata group (node, service, instance, lease, holder, configuration key), in
/// bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// A value in the metadata group (JSON of the configuration, what a service says of an instance), in
/// bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Streams in the metadata group.
pub const MAX_STREAMS: usize = 65_536;
/// Changes of one stream's followers that the metadata group keeps; those that end below the
/// watermark go with the next change.
pub const MAX_ENSEMBLES: usize = 1024;
/// Nodes that follow one stream for one signal.
pub const MAX_FOLLOWERS: usize = 64;
/// Ranges of sequence numbers that one seal names.
pub const MAX_RANGES: usize = 65_536;
/// Keys of the cluster's configuration.
pub const MAX_SETTINGS: usize = 8192;
/// Instances of all services together.
pub const MAX_INSTANCES: usize = 16_384;
/// Logs of tables in the metadata group, where the nodes keep the tables' files.
pub const MAX_FILE_LOGS: usize = 64;
/// Names in one such log besides commits: checkpoints, their checksums, the hint.
pub const MAX_LOG_NAMES: usize = 4096;
/// Commits of one such log that are told for certain.
pub const KEPT_COMMITS: u64 = 128;
/// Commits of one such log that are told at most, where no checkpoints are written.
pub const MAX_COMMITS: u64 = 8192;
/// Leases of the metadata group.
pub const MAX_LEASES: usize = 16_384;
/// The longest time that a lease or an instance of a service lives without renewal, in milliseconds.
pub const MAX_TTL_MS: u64 = 24 * 3_600_000;
/// Sessions of proposers that the metadata group remembers answers of.
pub const MAX_SESSIONS: usize = 8192;
/// How long a session that proposes nothing is remembered, in milliseconds: far longer than a
/// proposal is tried again.
pub const SESSION_MS: u64 = 3_600_000;
/// Proposals of one node that wait for their answer; a further one waits its turn.
pub const MAX_PENDING: usize = 256;
/// Proposals that one log entry takes.
pub const MAX_BATCH: usize = 128;
/// Members of the metadata group, voters and learners.
pub const MAX_MEMBERS: usize = 1024;
/// One message of the metadata group, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The piece of a snapshot that one message carries, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: u64 = 1024 * 1024;
/// A snapshot of the metadata group, in bytes; a greater one is refused.
pub const MAX_SNAPSHOT_BYTES: usize = 512 * 1024 * 1024;
/// Log entries that one message to a follower takes.
pub const MAX_APPEND_ENTRIES: u64 = 64;
/// Log entries from which on a snapshot is made and the log is cut before their time has come.
pub const MAX_LOG_ENTRIES: u64 = 200_000;
/// What a store may keep in memory of its file, in bytes.
pub const STORE_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// A learner that lacks at most this many entries may become a voter.
pub const CAUGHT_UP_ENTRIES: u64 = 64;
/// How long a leader whose disk does not answer may hold others back from electing another.
pub const LEADER_STALL: Duration = Duration::from_millis(1000);
/// How long one attempt at the leader may take before its place is looked up again.
pub const ATTEMPT: Duration = Duration::from_secs(1);
/// The first pause before a proposal or a read is tried again.
pub const RETRY_FIRST: Duration = Duration::from_millis(20);
/// The longest such pause.
pub const RETRY_LAST: Duration = Duration::from_millis(250);
/// How soon the store is opened again after the disk failed, the first time; twice as long each
/// further time.
pub const REOPEN_FIRST: Duration = Duration::from_millis(500);
/// The longest of these times.
pub const REOPEN_LAST: Duration = Duration::from_secs(15);
/// Transactions over tables that are not finished.
pub const MAX_TRANSACTIONS: usize = 1024;
/// Participants of one transaction.
pub const MAX_PARTICIPANTS: usize = 32;
/// What a participant notes of a transaction that it is prepared for, in bytes.
pub const MAX_NOTE_BYTES: usize = 4096;
/// Entries of the Paxos group's log from which on it is begun anew, with a snapshot.
pub const MAX_PAXOS_LOG: usize = 10_000;
/// Batches of Paxos's messages that wait for a node; further ones are dropped, and sent again later.
pub const MAX_BATCHES: usize = 64;
/// Events that wait for Paxos's thread; further ones are dropped, and sent again later.
pub const MAX_EVENTS: usize = 1024;
