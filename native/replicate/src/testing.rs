//! What the tests share: frames, names, and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::{Signal, StreamId};
use otlake_log::{Frame, Record};

pub const STREAM: StreamId = StreamId(0xA11CE);

pub fn name(text: &str) -> Arc<str> {
    text.into()
}

pub fn names(texts: &[&str]) -> Vec<Arc<str>> {
    texts.iter().map(|text| name(text)).collect()
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A record's frame, as its owner's log makes it.
pub fn frame_of(stream: StreamId, signal: Signal, sequence: u64, bytes: usize) -> Frame {
    framed("default", stream, signal, sequence, bytes)
}

pub fn frame_for(tenant: &str, signal: Signal, sequence: u64) -> Frame {
    framed(tenant, STREAM, signal, sequence, 100)
}

fn framed(tenant: &str, stream: StreamId, signal: Signal, sequence: u64, bytes: usize) -> Frame {
    let record = Record {
        signal,
        tenant: tenant.into(),
        received_unix_nano: 7,
        payload: Bytes::from(vec![sequence as u8 | 1; bytes]),
    };
    let mut head = Vec::new();
    otlake_log::frame::encode_head(&record, stream, sequence, sequence, &mut head);
    Frame::new(Bytes::from(head), record.payload).expect("the head is whole")
}

pub fn frame(signal: Signal, sequence: u64) -> Frame {
    frame_of(STREAM, signal, sequence, 100)
}

/// The same with a byte of its payload changed.
pub fn damaged(frame: &Frame) -> Frame {
    let [head, payload] = frame.parts();
    let mut payload = payload.to_vec();
    payload[0] ^= 1;
    Frame::new(head.clone(), Bytes::from(payload)).expect("its head is whole")
}
