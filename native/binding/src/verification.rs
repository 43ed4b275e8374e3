//! A check of a data folder as lines of JSON: no lock is taken and nothing is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, stream};
use otlake_base::checksum::Checked;
use otlake_base::disk::real;
use otlake_base::{Error, Metrics, Result, SystemClock};
use otlake_processor::{Finding, Verification};
use serde_json::json;
use tokio::runtime::Handle;

use crate::byte_stream::ByteStream;
use crate::failure::Outcome;
use crate::records::StoreConfig;

/// One line for each file: `path`, `kind`, `bytes`, `outcome` (`whole`, `no_checksum`, `gone`,
/// `damaged`, `unreadable`), `message`, and how far the check is: `checked_bytes` of
/// `total_bytes`. The first line has the total alone.
///
/// `tables` is their folder where it is not in the data folder, `store` the bucket that they are in.
pub async fn verify(
    data_dir: &str,
    tables: Option<String>,
    store: Option<StoreConfig>,
) -> Outcome<ByteStream> {
    let root = Path::new(data_dir);
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let store = store.map(|store| store.open(data_dir, clock, metrics));
    let (disk, folder) = match store.transpose()? {
        Some(bucket) => (bucket.disk(real()), bucket.path()),
        None => {
            let folder = tables.map_or_else(|| root.join("tables"), PathBuf::from);
            (real(), folder)
        }
    };
    let plan = Verification::plan_on(disk, root, &folder).await?;
    let total = plan.total_bytes();
    let first = line(&json!({ "checked_bytes": 0, "total_bytes": total }));
    let lines = stream::unfold((plan, 0_u64), move |(mut plan, checked)| async move {
        let found = plan.next().await?;
        let bytes = found.as_ref().map_or(0, |finding| finding.bytes);
        let checked = checked + bytes;
        Some((Ok(described(found, checked, total)), (plan, checked)))
    });
    let lines = stream::once(async move { Ok(first) }).chain(lines);
    Ok(ByteStream::new(Handle::current(), lines.boxed()))
}

fn described(found: Result<Finding, Error>, checked_bytes: u64, total_bytes: u64) -> Vec<u8> {
    let (path, kind, bytes, outcome, message) = match found {
        Err(error) => (None, None, 0, "unreadable", Some(error.message)),
        Ok(finding) => {
            let (outcome, message) = match finding.checked {
                Checked::Whole => ("whole", None),
                Checked::NoChecksum => ("no_checksum", None),
                Checked::Gone => ("gone", None),
                Checked::Damaged(what) => ("damaged", Some(what)),
            };
            let path = otlake_bucket::shown(&finding.path);
            (
                Some(path),
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

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}
