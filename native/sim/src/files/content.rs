//! What the files of a run hold: data files by their names, commits and checkpoints as lines of text.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::chance::draw;

/// The tables: one with three copies of its files, one with two.
pub const TABLES: [&str; 2] = ["spans", "metrics_gauge"];

pub fn log_of(table: &str) -> String {
    format!("{table}/_delta_log")
}

pub fn commit_key(table: &str, version: u64) -> String {
    format!("{table}/_delta_log/{version:020}.json")
}

/// A checkpoint's key, and that of the sums beside it.
pub fn checkpoint_keys(table: &str, version: u64) -> [String; 2] {
    let name = format!("{version:020}.checkpoint.parquet");
    [
        format!("{table}/_delta_log/{name}"),
        format!("{table}/_delta_log/.{name}.crc32c"),
    ]
}

pub fn hint_key(table: &str) -> String {
    format!("{table}/_delta_log/_last_checkpoint")
}

/// The bytes of a data file, which its name and its length say.
pub fn data(key: &str, bytes: u64) -> Bytes {
    let seed = draw(bytes, &[key.as_bytes()]);
    let mut content = Vec::with_capacity(bytes as usize);
    let mut block = seed;
    while (content.len() as u64) < bytes {
        block = block
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        content.extend_from_slice(&block.to_le_bytes());
    }
    content.truncate(bytes as usize);
    Bytes::from(content)
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Who wrote it, when: no two are alike.
    pub id: u64,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// How many bytes it has beside.
    pub filler: usize,
}

impl Commit {
    pub fn to_bytes(&self) -> Bytes {
        let mut text = format!("commit {}\n", self.id);
        for key in &self.added {
            text.push_str(&format!("+{key}\n"));
        }
        for key in &self.removed {
            text.push_str(&format!("-{key}\n"));
        }
        text.push_str(&"x".repeat(self.filler));
        Bytes::from(text)
    }

    /// What it makes of a table.
    pub fn apply(bytes: &[u8], table: &mut Snapshot) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let (mark, key) = line.split_at(line.len().min(1));
            let key = String::from_utf8_lossy(key).into_owned();
            match mark {
                b"+" => {
                    table.live.insert(key);
                }
                b"-" => {
                    table.live.remove(&key);
                    table.removed.insert(key);
                }
                _ => {}
            }
        }
    }
}

/// A version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The commits up to here are in it, this one excluded.
    pub next: u64,
    pub live: BTreeSet<String>,
    /// Keys that a commit removed, not all of them deleted yet.
    pub removed: BTreeSet<String>,
}

impl Snapshot {
    /// A checkpoint of it.
    pub fn to_bytes(&self) -> Bytes {
        let mut text = format!("checkpoint {}\n", self.next);
        for (mark, keys) in [("+", &self.live), ("-", &self.removed)] {
            for key in keys {
                text.push_str(&format!("{mark}{key}\n"));
            }
        }
        Bytes::from(text)
    }

    /// A table from its checkpoint of a version.
    pub fn of_checkpoint(version: u64, bytes: &[u8]) -> Snapshot {
        let mut table = Snapshot {
            next: version + 1,
            ..Snapshot::default()
        };
        Commit::apply(bytes, &mut table);
        table
    }
}
