use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use otlake_base::invariant::Invariant;
use otlake_base::{Metrics, Position, Signal, StreamId, limits};

use super::{Followed, Tail};
use crate::LiveBatch;

#[test]
fn i5_tails_that_hold_more_than_they_may_are_told() {
    let metrics = Arc::new(Metrics::new());
    let followed = Followed::new(Arc::clone(&metrics));
    let _reader = Tail::new(&followed);
    let labels = vec![("invariant", Invariant::I5Bounded.id())];
    let told = || metrics.invariant_violations.get_or_create(&labels).get();
    let send = |sequence| {
        let position = Position {
            stream: StreamId(42),
            sequence,
        };
        let batch = LiveBatch::new(position, Signal::Traces, Vec::new());
        // Debug builds stop at a broken invariant.
        let _ = catch_unwind(AssertUnwindSafe(|| followed.send(Arc::new(batch))));
    };
    for sequence in 1..2 * limits::TAIL_BATCHES as u64 {
        send(sequence);
    }
    assert_eq!(told(), 0);
    followed.state.lock().bytes = 2 * limits::TAIL_BYTES;
    send(1_000_000);
    assert_eq!(told(), 1);
}
