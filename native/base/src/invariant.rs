//! The invariants, numbered once. Assertions, tests, simulation and counters share the ids.

/// An invariant of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// Success is sent only after the batch is fsynced on its ack quorum.
    I1DurableAck,
    /// After any tolerated crash every acknowledged record is readable.
    I2NothingLost,
    /// No record counts twice.
    I3Once,
    /// Received = acknowledged + rejected, and each rejection has a reason.
    I4Ledger,
    /// Memory, queues, batches and messages have limits.
    I5Bounded,
    /// A flipped bit or torn write is found, reported and never served.
    I6Detected,
    /// A strong read sees all that was acknowledged before it began.
    I7StrongRead,
    /// A table holds every OTLP field, and outside readers see the same rows.
    I8Open,
    /// At most one epoch of a stream can be acknowledged or flushed.
    I9Fenced,
    /// A full disk or an I/O error refuses retryably, keeps reading, recovers alone.
    I10DiskFault,
}

impl Invariant {
    /// The id as text: `I1` to `I10`.
    pub fn id(self) -> &'static str {
        match self {
            Invariant::I1DurableAck => "I1",
            Invariant::I2NothingLost => "I2",
            Invariant::I3Once => "I3",
            Invariant::I4Ledger => "I4",
            Invariant::I5Bounded => "I5",
            Invariant::I6Detected => "I6",
            Invariant::I7StrongRead => "I7",
            Invariant::I8Open => "I8",
            Invariant::I9Fenced => "I9",
            Invariant::I10DiskFault => "I10",
        }
    }
}
