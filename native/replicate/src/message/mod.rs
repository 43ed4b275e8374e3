//! What nodes say to each other; `bytes.rs` has its bytes.

mod bytes;

use otlake_base::StreamId;
use otlake_log::Frame;

use crate::Ranges;

/// The version of the bytes. A node refuses what another version says.
pub const VERSION: u8 = 1;
/// Frames of one message, in bytes, beyond its first (I5).
pub const MESSAGE_BYTES: usize = 1024 * 1024;
/// Frames of one message (I5).
pub const MESSAGE_FRAMES: usize = 1024;

/// Numbers by signal.
pub type BySignal = [u64; 3];

/// Whose copy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A follower's, in the journal of this identity.
    Journal(u128),
    /// The owner's own log. `whole`: everything from what is released up to the end can be read.
    Owner {
        /// Whether nothing of it is damaged.
        whole: bool,
    },
}

/// What a node holds of a stream, all of it durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The stream.
    pub stream: StreamId,
    /// Whose copy it is.
    pub holder: Holder,
    /// The lowest epoch that is taken; 0 where any is.
    pub epoch: u64,
    /// By signal: the tables hold everything up to here, and the copies may be gone.
    pub released: BySignal,
    /// By signal: the sequences that are held.
    pub ranges: [Ranges; 3],
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The stream is fenced at a higher epoch.
    Fenced = 1,
    /// There is no room, or the disk refuses: try again.
    Busy = 2,
    /// A frame was not what its owner wrote: send it again.
    Damaged = 3,
}

/// One message of a link, or a call or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Owner to follower, first of a link and whenever it wants to know: what do you hold?
    Hello {
        /// The stream.
        stream: StreamId,
        /// The epoch that the owner writes in.
        epoch: u64,
    },
    /// Owner to follower: write these.
    Append {
        /// The stream.
        stream: StreamId,
        /// The epoch that the owner writes in.
        epoch: u64,
        /// The records.
        frames: Vec<Frame>,
    },
    /// Owner to follower, regularly: it lives, and this is in the tables.
    Beat {
        /// The stream.
        stream: StreamId,
        /// The epoch that the owner writes in.
        epoch: u64,
        /// The owner's own time, in ns: comes back in [`Message::Alive`].
        sent: u64,
        /// By signal: the tables hold everything up to here.
        released: BySignal,
        /// Everything up to here is acknowledged.
        acknowledged: u64,
    },
    /// What a node holds: the answer to `Hello`, `Fence` and `Ask`.
    Held(Held),
    /// Follower to owner: these are fsynced.
    Durable {
        /// The stream.
        stream: StreamId,
        /// In this journal.
        journal: u128,
        /// The sequences.
        ranges: Ranges,
    },
    /// Follower to owner, or the answer to a call: no.
    Refused {
        /// The stream.
        stream: StreamId,
        /// The lowest epoch that is taken.
        epoch: u64,
        /// Why.
        reason: Refusal,
    },
    /// Follower to owner: it is not fenced, and got the beat of this time.
    Alive {
        /// The stream.
        stream: StreamId,
        /// Its journal.
        journal: u128,
        /// The time that the beat told.
        sent: u64,
        /// By signal: it knows, and will know after a crash, that the tables hold all up to here.
        released: BySignal,
    },
    /// Recoverer to member: take nothing below this epoch any more, and say what you hold.
    Fence {
        /// The stream.
        stream: StreamId,
        /// The epoch.
        epoch: u64,
    },
    /// Anyone to member: what do you hold?
    Ask {
        /// The stream.
        stream: StreamId,
    },
    /// Recoverer to member: give me these.
    Fetch {
        /// The stream.
        stream: StreamId,
        /// The sequences.
        ranges: Ranges,
        /// Bytes that the answer may have, beyond its first frame.
        max_bytes: u64,
    },
    /// The answer to `Fetch`: as many as fit, in order.
    Frames {
        /// The stream.
        stream: StreamId,
        /// The records.
        frames: Vec<Frame>,
        /// Sequences that were asked for and are not held any more.
        gone: Ranges,
    },
    /// The tables hold everything of the stream up to here.
    Release {
        /// The stream.
        stream: StreamId,
        /// By signal.
        released: BySignal,
    },
    /// The stream is sealed, and the tables hold all of it: keep nothing, and take nothing more.
    Forget {
        /// The stream.
        stream: StreamId,
    },
    /// The answer to a call that has nothing else to say.
    Done,
}
