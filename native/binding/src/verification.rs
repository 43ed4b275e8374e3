//! A check of a data folder as lines of JSON: no lock is taken and nothing is written. And what a
//! backup of a node that keeps files of its cluster's tables needs to know of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, stream};
use otlake_base::checksum::Checked;
use otlake_base::disk::real;
use otlake_base::{Code, Error, Metrics, Result, SystemClock, Table};
use otlake_files::{Copies, Found};
use otlake_processor::Verification;
use serde_json::json;
use tokio::runtime::Handle;

use crate::byte_stream::ByteStream;
use crate::failure::Outcome;
use crate::records::StoreConfig;

/// One line for each file: `path`, `kind`, `bytes`, `outcome` (`whole`, `no_checksum`, `gone`,
/// `damaged`, `unreadable`; `elsewhere` for one that only other nodes can have), `message`, and how far
/// the check is: `checked_bytes` of `total_bytes`. The first line has the total alone.
///
/// `tables` is their folder where it is not in the data folder, `store` the bucket that they are in.
pub async fn verify(
    data_dir: &str,
    tables: Option<String>,
    store: Option<StoreConfig>,
) -> Outcome<ByteStream> {
    let root = Path::new(data_dir);
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    // Tables of a node by itself, or of a cluster whose nodes keep them, are in the data folder.
    let copies = match store.is_none() && tables.is_none() {
        true => copies_in(root)?,
        false => None,
    };
    let store = store.map(|store| store.open(data_dir, clock, metrics));
    let (disk, folder) = match store.transpose()? {
        Some(bucket) => (bucket.disk(real()), bucket.path()),
        None => {
            let folder = tables.map_or_else(|| root.join("tables"), PathBuf::from);
            (real(), folder)
        }
    };
    let plan = Verification::plan_on(disk, root, &folder).await?;
    let copies = match copies {
        Some(copies) => Some(otlake_files::Verification::plan(copies).await?),
        None => None,
    };
    let of_copies = copies.as_ref().map_or(0, |copies| copies.total_bytes());
    let total = plan.total_bytes() + of_copies;
    let first = line(&json!({ "checked_bytes": 0, "total_bytes": total }));
    let checks = Checks { plan, copies };
    let lines = stream::unfold((checks, 0_u64), move |(mut checks, checked)| async move {
        let found = checks.next().await?;
        let bytes = found.as_ref().map_or(0, |finding| finding.bytes);
        let checked = checked + bytes;
        Some((Ok(described(found, checked, total)), (checks, checked)))
    });
    let lines = stream::once(async move { Ok(first) }).chain(lines);
    Ok(ByteStream::new(Handle::current(), lines.boxed()))
}

/// The check of a data folder, and of the copies of a cluster's tables in it.
struct Checks {
    plan: Verification,
    copies: Option<otlake_files::Verification>,
}

/// What one file turned out to be.
struct Finding {
    path: String,
    kind: &'static str,
    bytes: u64,
    found: Found,
}

impl Checks {
    async fn next(&mut self) -> Option<Result<Finding>> {
        if let Some(found) = self.plan.next().await {
            return Some(found.map(|found| Finding {
                path: otlake_bucket::shown(&found.path),
                kind: found.kind,
                bytes: found.bytes,
                found: Found::Here(found.checked),
            }));
        }
        let found = self.copies.as_mut()?.next().await?;
        Some(found.map(|found| Finding {
            path: format!("files/tables/{}", found.key),
            kind: found.kind,
            bytes: found.bytes,
            found: found.found,
        }))
    }
}

fn described(found: Result<Finding, Error>, checked_bytes: u64, total_bytes: u64) -> Vec<u8> {
    let (path, kind, bytes, outcome, message) = match found {
        Err(error) => (None, None, 0, "unreadable", Some(error.message)),
        Ok(finding) => {
            let (outcome, message) = match finding.found {
                Found::Here(Checked::Whole) => ("whole", None),
                Found::Here(Checked::NoChecksum) => ("no_checksum", None),
                Found::Here(Checked::Gone) => ("gone", None),
                Found::Here(Checked::Damaged(what)) => ("damaged", Some(what)),
                Found::Elsewhere => ("elsewhere", None),
            };
            (
                Some(finding.path),
                Some(finding.kind),
                finding.bytes,
                outcome,
                message,
            )
        }
    };
    line(&json!({
        "path": path, "kind": kind, "bytes": bytes, "outcome": outcome, "message": message,
        "checked_bytes": checked_bytes, "total_bytes": total_bytes,
    }))
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::new(Code::NodeDirectoryUnusable, error.to_string())
}

fn copies_in(root: &Path) -> Result<Option<Copies>> {
    Copies::of(real(), root).map_err(|error| unusable(format!("{}: {error}", root.display())))
}

/// Whether a node has the copies in a data folder open.
///
/// # Errors
/// `NODE_DIRECTORY_UNUSABLE`.
pub fn copies_are_open(data_dir: &str) -> Outcome<bool> {
    let Some(copies) = copies_in(Path::new(data_dir))? else {
        return Ok(false);
    };
    Ok(copies
        .are_open()
        .map_err(|error| unusable(format!("{data_dir}: {error}")))?)
}

/// Holds a file against what stands beside a copy; what is wrong with it, or none.
///
/// # Errors
/// `TABLE_IO` where it cannot be read.
pub async fn check_copy(path: String, sums: String) -> Outcome<Option<String>> {
    let shown = path.clone();
    let checked = tokio::task::spawn_blocking(move || {
        otlake_files::check_copy(&*real(), Path::new(&path), &sums)
    });
    let checked = checked.await?;
    let checked =
        checked.map_err(|error| Error::new(Code::TableIo, format!("{shown}: {error}")))?;
    Ok(match checked {
        Checked::Damaged(what) => Some(what),
        Checked::Gone => Some("it is not there".to_owned()),
        Checked::Whole | Checked::NoChecksum => None,
    })
}

/// The paths, below the table's folder, of the files that its newest version names.
///
/// # Errors
/// `CONFIG_INVALID` where there is no such table; `TABLE_CORRUPT`, `TABLE_IO` where its version cannot be
/// read.
pub async fn named_files(data_dir: &str, table: &str) -> Outcome<Vec<String>> {
    let table = Table::from_name(table).ok_or_else(|| {
        let what = format!("there is no table `{table}`");
        Error::new(Code::ConfigInvalid, what)
    })?;
    let named = otlake_files::named_files(real(), Path::new(data_dir), table).await?;
    Ok(named.into_iter().map(|file| file.path).collect())
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}
