//! A part of a request that was split by owner: which request it is of, and which shards.
//!
//! ```text
//! | OTLP bytes of the part | tag | 80 | request, u128 | shards, 64 bytes |     the mark: 84 bytes
//! ```
//!
//! Numbers are little-endian. As with the limits (`logged.rs`) the mark is a field of its own at the
//! end of the message, with a number that protobuf keeps from every definition, so that the
//! whole is still OTLP. It goes with the part over the wire and into the log, and says what a resend
//! is told by when other nodes own the shards by then (I3).

use bytes::Bytes;
use otlake_base::ShardSet;
use xxhash_rust::xxh3::Xxh3;

/// Field 19,001 with a length, as a varint.
const TAG: [u8; 3] = [0xca, 0xa3, 0x09];
const REQUEST_BYTES: usize = 16;
const BODY_BYTES: usize = REQUEST_BYTES + ShardSet::BYTES;
/// Bytes of a mark.
pub const MARK_BYTES: usize = TAG.len() + 1 + BODY_BYTES;

/// What a part is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The hash of the whole request and its tenant.
    pub request: u128,
    /// The shards whose records are in the part: all of the request's that are of these.
    pub shards: ShardSet,
}

/// The hash that names a request, as `tenant` sent it (XXH3, 128 bits).
pub fn request_hash(tenant: &str, body: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(tenant.len() as u64).to_le_bytes());
    hasher.update(tenant.as_bytes());
    hasher.update(body);
    hasher.digest128()
}

/// Puts a mark behind a part.
pub fn mark(part: &mut Vec<u8>, slice: &Slice) {
    part.extend_from_slice(&TAG);
    part.push(BODY_BYTES as u8);
    part.extend_from_slice(&slice.request.to_le_bytes());
    part.extend_from_slice(&slice.shards.to_bytes());
}

/// The part with its mark.
pub fn marked(part: &[u8], slice: &Slice) -> Bytes {
    let mut bytes = Vec::with_capacity(part.len() + MARK_BYTES);
    bytes.extend_from_slice(part);
    mark(&mut bytes, slice);
    Bytes::from(bytes)
}

/// A request that was not split, which must not look like a part: what a client sends and ends like
/// a mark is given a true one.
pub fn whole(tenant: &str, body: Bytes) -> Bytes {
    if of(&body).is_none() {
        return body;
    }
    let slice = Slice {
        request: request_hash(tenant, &body),
        shards: ShardSet::ALL,
    };
    marked(&body, &slice)
}

/// The mark at the end of what was received, and the part without it; none where there is no mark.
pub fn of(received: &Bytes) -> Option<(Slice, Bytes)> {
    let mark = received.last_chunk::<MARK_BYTES>()?;
    let body = mark.strip_prefix(&TAG)?.strip_prefix(&[BODY_BYTES as u8])?;
    let request = body.first_chunk::<REQUEST_BYTES>()?;
    let shards = body.last_chunk::<{ ShardSet::BYTES }>()?;
    let slice = Slice {
        request: u128::from_le_bytes(*request),
        shards: ShardSet::from_bytes(shards),
    };
    Some((slice, received.slice(..received.len() - MARK_BYTES)))
}
