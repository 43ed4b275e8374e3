//! Received = acknowledged + rejected, and each rejection has a reason (I4).

use std::sync::Arc;

use otlake_base::metrics::by_signal;
use otlake_base::{Code, Metrics, Signal};

/// The records of one request, which are counted once: when their fate is known. It goes where
/// the request goes, so that a client that leaves, or a log that dies, cannot leave them out.
pub(crate) struct Entry {
    metrics: Arc<Metrics>,
    signal: Signal,
    accepted: u64,
    rejected: Vec<(&'static str, u64)>,
    settled: bool,
}

impl Entry {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        signal: Signal,
        accepted: u64,
        rejected: Vec<(&'static str, u64)>,
    ) -> Entry {
        Entry {
            metrics,
            signal,
            accepted,
            rejected,
            settled: false,
        }
    }

    /// The accepted records are durable and readable.
    pub(crate) fn acknowledged(mut self) {
        self.settle(None);
    }

    /// The accepted records were refused after all.
    pub(crate) fn refused(mut self, code: Code) {
        self.settle(Some(reason(code)));
    }

    fn settle(&mut self, refused: Option<&'static str>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let labels = by_signal(self.signal);
        let rejected: u64 = self.rejected.iter().map(|(_, count)| count).sum();
        let received = self.accepted + rejected;
        self.metrics
            .records_received
            .get_or_create(&labels)
            .inc_by(received);
        for (reason, count) in &self.rejected {
            self.reject(reason, *count);
        }
        match refused {
            None => {
                let acknowledged = self.metrics.records_acknowledged.get_or_create(&labels);
                acknowledged.inc_by(self.accepted);
            }
            Some(reason) => self.reject(reason, self.accepted),
        }
    }

    fn reject(&self, reason: &'static str, count: u64) {
        if count > 0 {
            let labels = vec![("signal", self.signal.name()), ("reason", reason)];
            self.metrics
                .records_rejected
                .get_or_create(&labels)
                .inc_by(count);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.settle(Some(reason(Code::LogIo)));
    }
}

/// The reason that a refusal by the node, and not by the request's content, counts under.
fn reason(code: Code) -> &'static str {
    match code {
        Code::LogFull => "log_full",
        Code::LogIo => "log_io",
        Code::IngestOverloaded => "overloaded",
        Code::IngestStopping => "stopping",
        Code::OtlpTooLarge => "too_large",
        _ => "internal",
    }
}
