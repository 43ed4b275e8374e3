//! Where requests are stored: the log, or what a cluster has put in its place.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use otlake_base::{Code, Error, Position, Result, Signal, StreamId};
use otlake_log::{Appender, Log, OnAcknowledged, OnDurable, Record};

/// The log, and what stands before it.
pub(crate) struct Store {
    log: Arc<Log>,
    before: OnceLock<Arc<dyn Appender>>,
}

impl Store {
    pub(crate) fn new(log: Log) -> Store {
        Store {
            log: Arc::new(log),
            before: OnceLock::new(),
        }
    }

    /// The log itself.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Puts something before the log.
    pub(crate) fn append_through(
        &self,
        wrap: impl FnOnce(Arc<Log>) -> Arc<dyn Appender>,
    ) -> Result<()> {
        let refused = |text| Err(Error::new(Code::NodeState, text));
        if self.log.last_durable() > 0 {
            return refused("the node has stored requests without copies");
        }
        let mut is_first = false;
        self.before.get_or_init(|| {
            is_first = true;
            wrap(Arc::clone(&self.log))
        });
        match is_first {
            true => Ok(()),
            false => refused("the node's requests are replicated already"),
        }
    }

    fn appender(&self) -> &dyn Appender {
        self.before.get().map_or(&*self.log, |before| &**before)
    }
}

impl Appender for Store {
    fn stream(&self) -> StreamId {
        self.log.stream()
    }

    fn admit(&self, signal: Signal, tenant: &str) -> Result<()> {
        self.appender().admit(signal, tenant)
    }

    fn append(&self, record: Record, on_durable: OnDurable) {
        self.appender().append(record, on_durable);
    }

    fn is_overdue(&self, position: Position) -> bool {
        self.appender().is_overdue(position)
    }

    fn when_acknowledged(&self, position: Position, then: OnAcknowledged) {
        self.appender().when_acknowledged(position, then);
    }

    fn last_durable(&self) -> u64 {
        self.appender().last_durable()
    }

    fn patience(&self, signal: Signal, tenant: &str) -> Option<Duration> {
        self.appender().patience(signal, tenant)
    }

    fn late(&self, signal: Signal) {
        self.appender().late(signal);
    }

    fn release(&self, signal: Signal, upto: Position) {
        self.appender().release(signal, upto);
    }

    fn fenced(&self, stream: StreamId, epoch: u64) {
        self.appender().fenced(stream, epoch);
    }
}
