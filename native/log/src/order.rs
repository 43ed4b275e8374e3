//! What the writer is sent, and how what waits becomes a group.

use std::sync::mpsc::{Receiver, SyncSender};

use otlake_base::limits::{LOG_GROUP_BYTES, LOG_GROUP_RECORDS};
use otlake_base::{Error, Result};

use crate::log::{OnDurable, OnFrame, Record};

/// A record on its way to the disk.
pub struct Order {
    pub record: Record,
    pub answer: Answer,
}

/// What the writer is sent.
pub enum Sent {
    Order(Order),
    /// Begin the stream's first segment.
    Begin(SyncSender<Result<()>>),
}

/// Who is told what became of a record.
pub enum Answer {
    Position(OnDurable),
    Frame(OnFrame),
}

impl Answer {
    pub fn refuse(self, error: Error) {
        match self {
            Answer::Position(answer) => answer(Err(error)),
            Answer::Frame(answer) => answer(Err(error), false),
        }
    }
}

/// The first order and what waits behind it, within the limits of a group; and who waits for the
/// stream to begin.
pub fn gather(first: Sent, orders: &Receiver<Sent>) -> (Vec<Order>, Vec<SyncSender<Result<()>>>) {
    let (mut group, mut begins, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(sent) = next.take() {
        match sent {
            Sent::Order(order) => {
                bytes += order.record.payload.len();
                group.push(order);
            }
            Sent::Begin(begun) => begins.push(begun),
        }
        if group.len() < LOG_GROUP_RECORDS && bytes < LOG_GROUP_BYTES {
            next = orders.try_recv().ok();
        }
    }
    (group, begins)
}
