//! A request as the log keeps it: its OTLP bytes, and, where a limit changed what was stored of
//! it, the limits that were in force, so that a replay gives the rows that were acknowledged,
//! whatever the configuration has become since.
//!
//! ```text
//! | OTLP bytes as received | tag | 24 | 6 limits, u32, little-endian |     the mark: 28 bytes
//! ```
//!
//! The mark is a field of its own at the end of the message, with a number that protobuf keeps
//! from every definition, so that the whole is still OTLP. Without a mark no limit mattered, and
//! the replay uses none. Bytes that a client sends and that end like a mark are given a true one.

use bytes::Bytes;
use otlake_base::limits::RecordLimits;
use otlake_base::{Result, Signal};

use crate::Decoded;
use crate::decode::decode_any_days;

/// Field 19,000 with a length, as a varint: protobuf reserves 19,000 to 19,999.
const TAG: [u8; 3] = [0xc2, 0xa3, 0x09];
const LIMITS_BYTES: usize = 24;
const MARK_BYTES: usize = TAG.len() + 1 + LIMITS_BYTES;

/// The bytes to log of a request that was decoded to `decoded` with these limits.
pub fn to_log(body: Bytes, decoded: &Decoded, limits: &RecordLimits) -> Bytes {
    if !decoded.limited && marked(&body).is_none() {
        return body;
    }
    let mut marked = Vec::with_capacity(body.len() + MARK_BYTES);
    marked.extend_from_slice(&body);
    marked.extend_from_slice(&TAG);
    marked.push(LIMITS_BYTES as u8);
    for limit in [
        limits.attributes,
        limits.attribute_key_bytes,
        limits.attribute_value_bytes,
        limits.value_depth,
        limits.events,
        limits.links,
    ] {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        marked.extend_from_slice(&limit.to_le_bytes());
    }
    Bytes::from(marked)
}

/// The bytes that the client sent, of those that the log keeps.
pub fn as_received(logged: &Bytes) -> Bytes {
    match marked(logged) {
        Some(_) => logged.slice(..logged.len() - MARK_BYTES),
        None => logged.clone(),
    }
}

/// Decodes what the log keeps: the rows are those that were acknowledged.
///
/// # Errors
/// As `decode`; none for what `to_log` gave.
pub fn replay(signal: Signal, logged: &Bytes, tenant: &str) -> Result<Decoded> {
    let limits = marked(logged).unwrap_or(RecordLimits::NONE);
    // Nobody is told again what looks wrong, so the time does not matter.
    decode_any_days(signal, &as_received(logged), tenant, &limits, u64::MAX)
}

/// The limits of a mark at the end.
fn marked(logged: &[u8]) -> Option<RecordLimits> {
    let mark = logged.last_chunk::<MARK_BYTES>()?;
    let limits = mark
        .strip_prefix(&TAG)?
        .strip_prefix(&[LIMITS_BYTES as u8])?;
    let mut limits = limits.chunks_exact(4).map(|limit| {
        let bytes = std::array::from_fn(|at| limit[at]);
        // No request has as many of anything.
        match u32::from_le_bytes(bytes) {
            u32::MAX => usize::MAX,
            limit => limit as usize,
        }
    });
    Some(RecordLimits {
        attributes: limits.next()?,
        attribute_key_bytes: limits.next()?,
        attribute_value_bytes: limits.next()?,
        value_depth: limits.next()?,
        events: limits.next()?,
        links: limits.next()?,
    })
}
