//! What stores records durably: one node's log, or a log with copies on other nodes.

use std::time::Duration;

use otlake_base::{Position, Result, Signal, StreamId};

use crate::log::{Log, OnDurable, Record};

/// Told whether a record that is readable is acknowledged, too.
pub type OnAcknowledged = Box<dyn FnOnce(Result<()>) + Send>;

/// Where requests are stored before they are acknowledged.
pub trait Appender: Send + Sync + 'static {
    /// The stream that is written.
    fn stream(&self) -> StreamId;

    /// Whether a tenant's record of the signal would be taken now; asked before work is put into it.
    ///
    /// # Errors
    /// A code to try again upon.
    fn admit(&self, signal: Signal, tenant: &str) -> Result<()>;

    /// Appends a record; never blocks. `on_durable` is called once, in the order of the sequence:
    /// with the position when the record is to be readable, or with why it is refused. It is durable
    /// as far as an acknowledgement needs, unless [`Appender::is_overdue`] says otherwise.
    fn append(&self, record: Record, on_durable: OnDurable);

    /// Asked while `on_durable` is called with this position: whether the record is readable because
    /// those behind it must not wait, and may not be acknowledged yet, for its tenant asks for more
    /// copies than it has.
    fn is_overdue(&self, position: Position) -> bool {
        let _ = position;
        false
    }

    /// Has `then` called once when a record that `is_overdue` may be acknowledged, or with an error when
    /// it never will be.
    fn when_acknowledged(&self, position: Position, then: OnAcknowledged) {
        let _ = position;
        then(Ok(()));
    }

    /// The last sequence that was answered as durable; 0 at first.
    fn last_durable(&self) -> u64;

    /// How long a client waits for a tenant's record of the signal before it is told to try again,
    /// while the record goes on waiting for its copies; None: as long as the client does.
    fn patience(&self, signal: Signal, tenant: &str) -> Option<Duration>;

    /// A client was told to try again because its patience ended.
    fn late(&self, signal: Signal);

    /// Tells that the tables hold everything of `signal` up to `upto`, which may be of any stream.
    fn release(&self, signal: Signal, upto: Position);

    /// Tells that the tables take no more rows of a stream that were stored here: another node has
    /// taken it over at this epoch. Nothing more of it is to be acknowledged, or released.
    fn fenced(&self, stream: StreamId, epoch: u64);
}

impl Appender for Log {
    fn stream(&self) -> StreamId {
        Log::stream(self)
    }

    fn admit(&self, _: Signal, _: &str) -> Result<()> {
        Ok(())
    }

    fn append(&self, record: Record, on_durable: OnDurable) {
        Log::append(self, record, on_durable);
    }

    fn last_durable(&self) -> u64 {
        Log::last_durable(self)
    }

    fn patience(&self, _: Signal, _: &str) -> Option<Duration> {
        None
    }

    fn late(&self, _: Signal) {}

    fn release(&self, signal: Signal, upto: Position) {
        Log::release(self, signal, upto);
    }

    fn fenced(&self, _: StreamId, _: u64) {}
}
