//! Which shard a key belongs to, the same in every language
//! (`proto/otlake/v1/ring-vectors.json`, docs/adr/0007-hash-of-shard-keys.md).

use otlake_base::Signal;
use xxhash_rust::xxh64::xxh64;

/// Shards of traces, metrics and logs, by `Signal::index`.
pub const SHARDS: [usize; 3] = [500, 300, 200];

/// The shard of a trace id, given as its bytes, or of another key: from 0, below the signal's
/// number of shards.
pub fn shard_of(signal: Signal, key: &[u8]) -> usize {
    shard_of_hash(signal, hash(key, 0))
}

/// The hash of a key, or of what follows what `seed` is the hash of.
#[inline]
pub fn hash(key: &[u8], seed: u64) -> u64 {
    xxh64(key, seed)
}

/// The shard of a key's hash.
#[inline]
pub fn shard_of_hash(signal: Signal, hash: u64) -> usize {
    // Constants in each arm, so that none of them is a division.
    (match signal {
        Signal::Traces => hash % SHARDS[0] as u64,
        Signal::Metrics => hash % SHARDS[1] as u64,
        Signal::Logs => hash % SHARDS[2] as u64,
    }) as usize
}
