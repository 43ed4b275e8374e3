//! What must hold of any bytes. The target of cargo-fuzz checks the same.

use arrow::array::Array;
use bytes::Bytes;
use otlake_base::limits::RecordLimits;
use otlake_base::{Code, Signal};
use otlake_decode::{as_received, decode, encode, json, replay, to_log};

use super::allocations::peak_of;

/// Memory that a request may take for each of its bytes. A data point of an exponential
/// histogram, the widest row, can be two bytes on the wire.
pub const MEMORY_PER_BYTE: usize = 512;
/// Memory that the smallest request may take.
pub const MEMORY_SPARE: usize = 256 * 1024;

/// The paths of all that is repeated, by signal, as numbers of fields.
pub const REPEATED: &[(Signal, &[u32])] = &[
    (Signal::Traces, &[1]),
    (Signal::Traces, &[1, 1]),
    (Signal::Traces, &[1, 1, 1]),
    (Signal::Traces, &[1, 1, 3]),
    (Signal::Traces, &[1, 1, 3, 3]),
    (Signal::Traces, &[1, 1, 3, 4]),
    (Signal::Traces, &[1, 2]),
    (Signal::Traces, &[1, 2, 1]),
    (Signal::Traces, &[1, 2, 1, 3]),
    (Signal::Traces, &[1, 2, 2]),
    (Signal::Traces, &[1, 2, 2, 9]),
    (Signal::Traces, &[1, 2, 2, 11]),
    (Signal::Traces, &[1, 2, 2, 11, 3]),
    (Signal::Traces, &[1, 2, 2, 13]),
    (Signal::Traces, &[1, 2, 2, 13, 4]),
    (Signal::Traces, &[1, 2, 2, 15]),
    (Signal::Logs, &[1, 2, 2]),
    (Signal::Logs, &[1, 2, 2, 5]),
    (Signal::Logs, &[1, 2, 2, 5, 5]),
    (Signal::Logs, &[1, 2, 2, 5, 5, 1]),
    (Signal::Logs, &[1, 2, 2, 5, 6, 1]),
    (Signal::Logs, &[1, 2, 2, 6]),
    (Signal::Metrics, &[1, 2, 2]),
    (Signal::Metrics, &[1, 2, 2, 12]),
    (Signal::Metrics, &[1, 2, 2, 5]),
    (Signal::Metrics, &[1, 2, 2, 5, 1]),
    (Signal::Metrics, &[1, 2, 2, 5, 1, 5]),
    (Signal::Metrics, &[1, 2, 2, 7, 1]),
    (Signal::Metrics, &[1, 2, 2, 9, 1]),
    (Signal::Metrics, &[1, 2, 2, 9, 1, 6]),
    (Signal::Metrics, &[1, 2, 2, 9, 1, 7]),
    (Signal::Metrics, &[1, 2, 2, 9, 1, 8]),
    (Signal::Metrics, &[1, 2, 2, 10, 1]),
    (Signal::Metrics, &[1, 2, 2, 10, 1, 8]),
    (Signal::Metrics, &[1, 2, 2, 10, 1, 8, 2]),
    (Signal::Metrics, &[1, 2, 2, 10, 1, 9, 2]),
    (Signal::Metrics, &[1, 2, 2, 10, 1, 11]),
    (Signal::Metrics, &[1, 2, 2, 11, 1]),
    (Signal::Metrics, &[1, 2, 2, 11, 1, 6]),
];

/// A request in which the innermost field of a path comes `count` times, empty.
pub fn repeat(path: &[u32], count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (depth, number) in path.iter().rev().enumerate() {
        let inner = std::mem::take(&mut bytes);
        for _ in 0..if depth == 0 { count } else { 1 } {
            varint(u64::from(*number) << 3 | 2, &mut bytes);
            varint(inner.len() as u64, &mut bytes);
            bytes.extend_from_slice(&inner);
        }
    }
    bytes
}

/// Fields in each other, one of each number, the innermost empty. Written from the end, since
/// each length stands before what it measures.
pub fn nested(path: &[u32]) -> Vec<u8> {
    let (mut reversed, mut head) = (Vec::new(), Vec::new());
    for number in path.iter().rev() {
        head.clear();
        varint(u64::from(*number) << 3 | 2, &mut head);
        varint(reversed.len() as u64, &mut head);
        reversed.extend(head.iter().rev());
    }
    reversed.reverse();
    reversed
}

pub fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Whether protobuf is taken, after what must hold of what it became.
pub fn protobuf(signal: Signal, body: Vec<u8>, limits: RecordLimits) -> bool {
    let body = Bytes::from(body);
    let (decoded, peak) = peak_of(|| decode(signal, &body, "tenant", &limits));
    let most = MEMORY_SPARE + MEMORY_PER_BYTE * body.len();
    assert!(
        peak <= most,
        "{peak} bytes of memory for a request of {}",
        body.len()
    );
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => {
            // Columns out of step would be our error, INTERNAL, and not the request's.
            assert!(
                matches!(error.code, Code::OtlpMalformed | Code::OtlpTooLarge),
                "{error}"
            );
            // What is no OTLP is none as JSON, either, or at least does no harm.
            let _ = json::from_protobuf(signal, &body);
            return false;
        }
    };
    let mut rows = 0;
    for (_, batch) in &decoded.tables {
        rows += batch.num_rows() as u64;
        for column in batch.columns() {
            assert_eq!(column.len(), batch.num_rows());
            column.to_data().validate_full().expect("a whole column");
        }
    }
    assert_eq!(decoded.accepted, rows);
    assert_eq!(
        decoded.received,
        decoded.accepted + decoded.rejections.count
    );

    // The log gives the same rows again.
    let logged = to_log(body.clone(), &decoded, &limits);
    assert_eq!(as_received(&logged), body);
    let again = replay(signal, &logged, "tenant").expect("it was taken");
    assert_eq!(again.tables, decoded.tables);

    // What is exported is taken, as often.
    let exported = Bytes::from(encode::encode(&decoded.tables).expect("they are our rows"));
    let exported = decode(signal, &exported, "tenant", &RecordLimits::NONE).expect("it is OTLP");
    assert_eq!(exported.accepted, decoded.accepted);
    assert_eq!(exported.rejections.count, 0);
    assert!(exported.changed.is_empty(), "{:?}", exported.changed);

    // As JSON, which has one NaN and only text that is text, it says the same.
    let text = json::from_protobuf(signal, &body);
    if let (Ok(text), 0) = (text, decoded.rejections.count) {
        let back = Bytes::from(json::to_protobuf(signal, &text).expect("it is our JSON"));
        let back = decode(signal, &back, "tenant", &limits).expect("it is OTLP");
        assert_eq!(back.accepted, decoded.accepted);
        for ((table, back), (_, batch)) in back.tables.iter().zip(&decoded.tables) {
            if back != batch {
                // A NaN is written the same whatever its bits.
                assert_eq!(
                    format!("{back:?}"),
                    format!("{batch:?}"),
                    "{}",
                    table.name()
                );
            }
        }
    }
    true
}

/// As `protobuf`, of JSON.
pub fn json(signal: Signal, body: &[u8]) -> bool {
    let (read, peak) = peak_of(|| json::to_protobuf(signal, body));
    let most = MEMORY_SPARE + MEMORY_PER_BYTE * body.len();
    assert!(
        peak <= most,
        "{peak} bytes of memory for JSON of {}",
        body.len()
    );
    match read {
        Ok(read) => protobuf(signal, read, RecordLimits::default()),
        Err(_) => false,
    }
}
