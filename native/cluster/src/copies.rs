//! What this node holds copies of, for its windows of resends (I3): shards move from node to node, and a
//! client that did not hear the answer of the one sends its request to the other, which has to know what
//! the first has stored. With as many copies as there are nodes every node knows.

use std::sync::Weak;

use otlake_base::StreamId;
use otlake_log::Frame;
use otlake_processor::Processor;
use otlake_replicate::drive::Observer;

/// Tells the store of the copies.
pub(crate) struct Copies(pub(crate) Weak<Processor>);

impl Observer for Copies {
    fn took(&self, frames: &[Frame]) {
        let Some(processor) = self.0.upgrade() else {
            return;
        };
        for frame in frames {
            if let Some(record) = frame.record() {
                processor.holds_copy(frame.position(), &record);
            }
        }
    }

    fn settled(&self, stream: StreamId, acknowledged: u64, released: [u64; 3]) {
        if let Some(processor) = self.0.upgrade() {
            processor.settle_copies(stream, acknowledged, released);
        }
    }
}
