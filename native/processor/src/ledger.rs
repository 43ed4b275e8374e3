//! Received = acknowledged + rejected, and each rejection has a reason (I4). Of what is
//! acknowledged, the records that were changed and those that look wrong are counted, too.

use std::sync::Arc;

use otlake_base::invariant::Invariant;
use otlake_base::metrics::{Labels, by_signal};
use otlake_base::{Code, Metrics, Signal};
use otlake_decode::{ByReason, Decoded};

/// The records of one request, which are counted once: when their fate is known. It goes where
/// the request goes, so that a client that leaves, or a log that dies, cannot leave them out.
pub(crate) struct Entry {
    metrics: Arc<Metrics>,
    signal: Signal,
    received: u64,
    accepted: u64,
    rejected: ByReason,
    changed: ByReason,
    flagged: ByReason,
    settled: bool,
}

impl Entry {
    pub(crate) fn new(metrics: Arc<Metrics>, signal: Signal, decoded: &Decoded) -> Entry {
        Entry {
            metrics,
            signal,
            received: decoded.received,
            accepted: decoded.accepted,
            rejected: decoded.rejections.by_reason.clone(),
            changed: decoded.changed.clone(),
            flagged: decoded.flagged.clone(),
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
        if self.received != self.accepted + rejected {
            self.metrics.violated(
                Invariant::I4Ledger,
                "a received record is neither a row nor refused, or is both",
            );
        }
        self.metrics
            .records_received
            .get_or_create(&labels)
            .inc_by(self.received);
        for (reason, count) in &self.rejected {
            self.reject(reason, *count);
        }
        match refused {
            None => {
                let acknowledged = self.metrics.records_acknowledged.get_or_create(&labels);
                acknowledged.inc_by(self.accepted);
                for (counters, reasons) in [
                    (&self.metrics.records_changed, &self.changed),
                    (&self.metrics.records_flagged, &self.flagged),
                ] {
                    for (reason, count) in reasons {
                        let labels = by_reason(self.signal, reason);
                        counters.get_or_create(&labels).inc_by(*count);
                    }
                }
            }
            Some(reason) => self.reject(reason, self.accepted),
        }
    }

    fn reject(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.metrics
                .records_rejected
                .get_or_create(&by_reason(self.signal, reason))
                .inc_by(count);
        }
    }
}

fn by_reason(signal: Signal, reason: &'static str) -> Labels {
    vec![("signal", signal.name()), ("reason", reason)]
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.settle(Some(reason(Code::LogIo)));
    }
}

/// The reason that a refusal by the node, and not by the request's content, counts under.
pub(crate) fn reason(code: Code) -> &'static str {
    match code {
        Code::LogFull => "log_full",
        Code::LogIo => "log_io",
        Code::IngestOverloaded => "overloaded",
        Code::IngestStopping => "stopping",
        Code::OtlpTooLarge => "too_large",
        _ => "internal",
    }
}
