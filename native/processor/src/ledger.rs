//! Received = acknowledged + rejected, and each rejection has a reason (I4). Of what is
//! acknowledged, the records that were changed and those that look wrong are counted, too.

use std::sync::Arc;

use otlake_base::invariant::Invariant;
use otlake_base::metrics::{Labels, by_signal};
use otlake_base::{Code, Kind, Metrics, Signal};
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

    /// The accepted records were refused after all. Nothing is wrong with them, so the code must be
    /// one to try again upon (I10), unless they need more room than there is.
    pub(crate) fn refused(mut self, code: Code) {
        let by_size = matches!(code, Code::OtlpTooLarge | Code::OtlpTenant);
        if code.kind() != Kind::Unavailable && !by_size {
            let what = format!(
                "a request that can be stored was refused with {}",
                code.as_str()
            );
            self.metrics.violated(Invariant::I10DiskFault, &what);
        }
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
        Code::ClusterQuorum => "quorum",
        Code::ClusterFenced => "fenced",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use otlake_base::limits::RecordLimits;

    use super::*;
    use crate::testing::spans;

    fn decoded() -> Decoded {
        let limits = RecordLimits::default();
        otlake_decode::decode(Signal::Traces, &spans(0, 3), "default", &limits).expect("spans")
    }

    fn entry(metrics: &Arc<Metrics>, decoded: &Decoded) -> Entry {
        Entry::new(Arc::clone(metrics), Signal::Traces, decoded)
    }

    #[test]
    fn i4_a_record_that_is_neither_kept_nor_refused_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let mut decoded = decoded();
        entry(&metrics, &decoded).acknowledged();
        assert_eq!(metrics.violations(Invariant::I4Ledger), 0);
        decoded.received += 1;
        entry(&metrics, &decoded).acknowledged();
        assert_eq!(metrics.violations(Invariant::I4Ledger), 1);
    }

    #[test]
    fn i10_a_refusal_of_good_records_for_good_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let decoded = decoded();
        for code in [Code::LogIo, Code::LogFull, Code::OtlpTooLarge] {
            entry(&metrics, &decoded).refused(code);
        }
        assert_eq!(metrics.violations(Invariant::I10DiskFault), 0);
        entry(&metrics, &decoded).refused(Code::LogChecksumMismatch);
        assert_eq!(metrics.violations(Invariant::I10DiskFault), 1);
    }
}
