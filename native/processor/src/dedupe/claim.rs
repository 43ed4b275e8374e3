//! What a request, or a record that is recovered, is to the windows.

use otlake_base::{Position, ShardSet};
use tokio::sync::watch;

use super::window::Ticket;

/// What a request is to the window.
pub(crate) enum Claim {
    /// The first of its content: it holds the place until it is stored or dropped.
    First(Ticket),
    /// The same content is stored.
    Stored,
    /// These of its shards are stored, and others are not.
    Partly(ShardSet),
    /// The same content is being stored; the receiver changes when that has ended.
    InFlight(watch::Receiver<()>),
    /// A record of the same content is being appended anew: whether it will be there is not known yet.
    Reserved,
    /// This node holds copies of records with the same content, of which it is not known whether they are
    /// stored.
    Undecided(Vec<Position>),
}

/// How far a record that is recovered has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It is about to be appended anew: a resend is neither stored nor told as stored. This ends by
    /// itself when nobody says it again.
    Reserved,
    /// Its stream is being recovered. Another node may have to begin anew, and not find it: until the
    /// stream is sealed a resend is neither stored nor told as stored.
    Recovering,
    /// It is where readers find it: a resend is told as stored.
    Stored,
    /// As `Recovering`, of one that was found elsewhere in part: these shards are all that its recovery brings,
    /// and stand when its stream is sealed, whose seal does not name it.
    Cut,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Stage; 4] = [
        Stage::Reserved,
        Stage::Recovering,
        Stage::Stored,
        Stage::Cut,
    ];

    /// The stage whose number this is, if there is one.
    pub fn from_u8(number: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| *stage as u8 == number)
    }
}

/// What the window says of a record that is recovered.
pub(crate) enum Recovered {
    /// These of its shards are stored here beside it.
    Known(ShardSet),
    /// Something of the same request is being stored; the receiver changes when that has ended.
    InFlight(watch::Receiver<()>),
    /// Whether some of its shards are stored here will be known when another stream is settled.
    Unsettled,
}

/// How long a reservation holds without its record's end, in nanoseconds: it is made again by
/// whoever still tries, and nobody does once its node is gone.
pub(crate) const RESERVED_NANOS: u64 = 60_000_000_000;

/// How long a record that is recovered waits for one of the same content whose stream's recovery is to
/// wait for its own, in nanoseconds: that one may be further already, and be settled at any moment.
pub(crate) const SETTLING_NANOS: u64 = 3_000_000_000;
