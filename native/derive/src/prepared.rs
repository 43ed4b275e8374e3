//! One flush: what is counted of it for each table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use otlake_base::{Position, StreamId};

use crate::edge::Edge;
use crate::totals::Totals;

/// The spans of one log record.
#[derive(Clone, Debug)]
pub struct SpanBatch {
    /// The record's name.
    pub position: Position,
    /// Rows of the table `spans`, by whose they are, each tenant once; empty where there are none, or
    /// the node has no use for them.
    pub spans: Vec<(Arc<str>, RecordBatch)>,
    /// What they take in memory.
    pub bytes: usize,
}

/// What a table holds, of each stream: the watermarks of its newest version.
pub type Watermarks = HashMap<StreamId, u64>;

/// What a flush has, beside what is in the tables already. It is made once for each flush, whatever
/// attempts that takes, and asked for each table.
pub struct Prepared {
    pub(crate) batches: Vec<SpanBatch>,
    pub(crate) edges: Vec<Edge>,
    /// By stream: the last batch that is counted when this is committed.
    pub(crate) counted: HashMap<StreamId, u64>,
    /// By stream: up to where nothing waits any more, as `Waiting` has it.
    pub(crate) settling: HashMap<StreamId, u64>,
    /// Halves that nobody came for and that tell nothing by themselves.
    pub(crate) unpaired: u64,
    /// The totals that were made last, for the next table lacks the same as a rule.
    pub(crate) totals: Option<(Lacking, Arc<Totals>)>,
}

/// What a table lacks of a flush: which batches, and which edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub(crate) batches: Vec<bool>,
    pub(crate) edges: Vec<bool>,
}

/// A table's watermark of one of our streams; 0 where it has none.
pub(crate) fn upto(watermarks: &Watermarks, stream: StreamId) -> u64 {
    watermarks.get(&stream).copied().unwrap_or(0)
}

impl Prepared {
    /// The streams that it has a part in.
    pub fn streams(&self) -> Vec<StreamId> {
        let mut streams: Vec<StreamId> = self.counted.keys().copied().collect();
        streams.extend(self.settling.keys());
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// Another node has taken a stream over: what is of it is not this node's to write.
    pub fn leave_out(&mut self, stream: StreamId) {
        self.batches.retain(|batch| batch.position.stream != stream);
        self.edges.retain(|edge| !edge.is_of(stream));
        self.counted.remove(&stream);
        self.settling.remove(&stream);
        self.totals = None;
    }

    /// The watermarks that a commit of a table's rows raises, each with the stream that it is of. They
    /// are raised where there are no rows, too: that a batch is counted decides which commit an edge
    /// is of.
    pub fn marks(&self, watermarks: &Watermarks) -> Vec<(StreamId, Position)> {
        let of = |upto_of: &HashMap<StreamId, u64>, companion: fn(StreamId) -> StreamId| {
            let mut marks: Vec<(StreamId, Position)> = upto_of
                .iter()
                .map(|(stream, sequence)| {
                    let (stream, sequence) = (*stream, *sequence);
                    let position = Position {
                        stream: companion(stream),
                        sequence,
                    };
                    (stream, position)
                })
                .filter(|(_, mark)| mark.sequence > upto(watermarks, mark.stream))
                .collect();
            marks.sort_unstable();
            marks
        };
        let mut marks = of(&self.counted, StreamId::counted);
        marks.extend(of(&self.settling, StreamId::settled));
        marks
    }

    pub(crate) fn lacking(&self, watermarks: &Watermarks) -> Lacking {
        let counted = |stream: StreamId| upto(watermarks, stream.counted());
        let settled = |stream: StreamId| upto(watermarks, stream.settled());
        let of_batch = |batch: &SpanBatch| {
            !batch.spans.is_empty() && batch.position.sequence > counted(batch.position.stream)
        };
        let of_edge = |edge: &Edge| edge.is_due(counted, settled);
        Lacking {
            batches: self.batches.iter().map(of_batch).collect(),
            edges: self.edges.iter().map(of_edge).collect(),
        }
    }

    /// Edges by `connection` of the counter.
    pub(crate) fn edges_by_name(&self) -> HashMap<&'static str, u64> {
        let mut by = HashMap::new();
        for edge in &self.edges {
            *by.entry(edge.connection.name()).or_insert(0) += 1;
        }
        by
    }
}
