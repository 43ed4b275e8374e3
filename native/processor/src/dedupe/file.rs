//! A window on disk.
//!
//! ```text
//! <data>/dedupe/<signal>.window
//!   "OTLAKDUP" version:u32 crc32c:u32 count:u64  { hash:u128 received_unix_nano:u64 } * count
//!   version 2:  { hash:u128 received_unix_nano:u64 kind:u8 [shards, 64 bytes] } * count
//! ```
//!
//! Numbers are little-endian; the checksum covers everything else. An entry of some shards (version 2) has
//! `kind` 1 and the set behind it; `kind` 0 is the whole request.

use std::io::{self, IoSlice};
use std::path::Path;

use otlake_base::ShardSet;
use otlake_base::disk::Disk;

use super::content::{Content, ContentHash};
use super::state::State;

const MAGIC: [u8; 8] = *b"OTLAKDUP";
/// The version without sets of shards, which is written as long as there are none.
const WHOLE_REQUESTS: u32 = 1;
const WITH_SHARDS: u32 = 2;
const HEADER_BYTES: usize = 24;
const ENTRY_BYTES: usize = 24;

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = self.order.iter().filter_map(|(received, hash)| {
            let shards = self.entries.get(hash)?.stored();
            (!shards.is_empty()).then_some((*received, *hash, shards))
        });
        let readable = self.readable.iter();
        let readable = readable.map(|(hash, (shards, received))| (*received, *hash, *shards));
        let stored: Vec<(u64, ContentHash, ShardSet)> = stored.chain(readable).collect();
        let is_part = |shards: &ShardSet| *shards != ShardSet::ALL;
        let version = match stored.iter().any(|(_, _, shards)| is_part(shards)) {
            true => WITH_SHARDS,
            false => WHOLE_REQUESTS,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + stored.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(stored.len() as u64).to_le_bytes());
        for (received, hash, shards) in &stored {
            bytes.extend_from_slice(&hash.number().to_le_bytes());
            bytes.extend_from_slice(&received.to_le_bytes());
            if version == WITH_SHARDS {
                bytes.push(u8::from(is_part(shards)));
                if is_part(shards) {
                    bytes.extend_from_slice(&shards.to_bytes());
                }
            }
        }
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// The entries of a window's file, oldest first; else what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Vec<(Content, u64)>, &'static str> {
    let array = |at: usize| -> [u8; 4] { std::array::from_fn(|index| bytes[at + index]) };
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err("it is not a window file");
    }
    if u32::from_le_bytes(array(12)) != checksum(bytes) {
        return Err("its checksum is wrong");
    }
    let with_shards = match u32::from_le_bytes(array(8)) {
        WHOLE_REQUESTS => false,
        WITH_SHARDS => true,
        _ => return Err("another version wrote it"),
    };
    let mut rest = &bytes[HEADER_BYTES..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let entry = entry(&mut rest, with_shards).ok_or("it ends within an entry")?;
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(rest: &mut &[u8], with_shards: bool) -> Option<(Content, u64)> {
    let hash = u128::from_le_bytes(*rest.split_off(..16)?.first_chunk()?);
    let received = u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?);
    let is_part = with_shards && *rest.split_off_first()? == 1;
    let shards = if is_part {
        ShardSet::from_bytes(rest.split_off(..ShardSet::BYTES)?.first_chunk()?)
    } else {
        ShardSet::ALL
    };
    let hash = ContentHash::of_request(hash);
    Some((Content { hash, shards }, received))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

pub(super) fn replace_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("window.tmp");
    // What a crash left of an earlier attempt.
    match disk.remove(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&staged)?;
    file.write_all(&mut [IoSlice::new(bytes)])?;
    file.sync()?;
    drop(file);
    disk.rename(&staged, path)?;
    match path.parent() {
        Some(folder) => disk.sync_folder(folder),
        None => Ok(()),
    }
}
