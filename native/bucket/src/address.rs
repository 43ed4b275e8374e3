//! `s3://bucket/prefix`, and the paths that stand for it.

use std::path::{Path, PathBuf};

use object_store::path::Path as Key;
use otlake_base::disk::BUCKETS as MOUNT;
use otlake_base::{Code, Error, Result};

const SCHEME: &str = "s3://";
/// What stands in a bucket's place where the nodes keep the files: no bucket's name begins so.
const NODES: &str = "_nodes";
/// Characters of a bucket's name.
const BUCKET_LENGTH: std::ops::RangeInclusive<usize> = 3..=63;
/// Bytes of a prefix: a key has 1,024 at most, and tables need some of them.
const MAX_PREFIX_BYTES: usize = 512;

/// Where tables are in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with, without slashes around it; empty for all of the bucket.
    pub prefix: String,
}

impl Address {
    /// Whether it is an address of a bucket and not of a folder.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub fn parse(text: &str) -> Result<Address> {
        let bad = |what: &str| {
            let message = format!("`storage.tables`: {text}: {what}; write s3://bucket/prefix");
            Error::new(Code::ConfigInvalid, message)
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| bad("is no address of a bucket"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.starts_with('_') {
            return Err(bad("a bucket's name does not begin with an underscore"));
        }
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !BUCKET_LENGTH.contains(&bucket.len()) || !bucket.bytes().all(of_a_name) {
            return Err(bad(
                "the bucket's name is not 3 to 63 letters, digits, dots and hyphens",
            ));
        }
        let parts = prefix.split('/').filter(|_| !prefix.is_empty());
        for part in parts {
            let is_plain = part.bytes().all(|byte| of_a_name(byte) || byte == b'=');
            if part.is_empty() || part == "." || part == ".." || !is_plain {
                return Err(bad(
                    "a part of the prefix is not letters, digits, dots, hyphens and underscores",
                ));
            }
        }
        if prefix.len() > MAX_PREFIX_BYTES {
            return Err(bad("the prefix has more than 512 bytes"));
        }
        Ok(Address {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// What stands for the nodes' own disks.
    pub fn of_nodes() -> Address {
        Address {
            bucket: NODES.to_owned(),
            prefix: String::new(),
        }
    }

    /// The path that stands for it.
    pub fn path(&self) -> PathBuf {
        let bucket = Path::new(MOUNT).join(&self.bucket);
        match self.prefix.is_empty() {
            true => bucket,
            false => bucket.join(&self.prefix),
        }
    }

    /// The key of a path in the bucket; none for a path that is not in it.
    pub(crate) fn key(&self, path: &Path) -> Option<Key> {
        let below = path.strip_prefix(MOUNT).ok()?.strip_prefix(&self.bucket);
        Key::parse(below.ok()?.to_str()?).ok()
    }
}

/// A path as people write it: one in a bucket with its scheme, one on the nodes' disks with `cluster:`.
pub fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if let Ok(below) = path.strip_prefix(Path::new(MOUNT).join(NODES)) {
        return format!("cluster:/{}", below.display());
    }
    match path.starts_with(MOUNT) {
        true => format!("s3:/{}", &text[MOUNT.len()..]),
        false => text,
    }
}
