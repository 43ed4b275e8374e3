//! Every `txn` action of a version: of each stream its watermark, and once it was taken over its epoch.
//!
//! ```text
//! otlake/<stream>            the last sequence that the files hold
//! otlake-epoch/<stream>      the epoch below which nothing is taken; absent: 1
//! otlake-written/<stream>    the watermark when it was first raised
//! ```
//!
//! deltalake-core tells the version of an application id that one already knows; which
//! streams there are is what we need to learn, so the kernel replays the log for us.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use buoyant_kernel::Snapshot;
use buoyant_kernel::engine::arrow_data::ArrowEngineData;
use buoyant_kernel::schema::{DataType, StructField, StructType};
use deltalake_core::logstore::LogStoreRef;
use otlake_base::{Code, Error, FIRST_EPOCH, Position, Result, StreamId};
use serde_json::Value;

use crate::rule::Standing;

const APP_PREFIX: &str = "otlake/";
const EPOCH_PREFIX: &str = "otlake-epoch/";
const WRITTEN_PREFIX: &str = "otlake-written/";

/// The Delta application id of a stream.
pub(crate) fn app_id(stream: StreamId) -> String {
    format!("{APP_PREFIX}{stream}")
}

/// What a commit says of a stream that it raises, as application ids and versions.
pub(crate) fn entries(
    stream: StreamId,
    before: Standing,
    after: Standing,
) -> impl Iterator<Item = (String, u64)> {
    let watermark = (app_id(stream), after.watermark);
    let watermark = (after.watermark != before.watermark).then_some(watermark);
    let epoch = (after.epoch != before.epoch).then(|| {
        [
            (format!("{EPOCH_PREFIX}{stream}"), after.epoch),
            (format!("{WRITTEN_PREFIX}{stream}"), after.written),
        ]
    });
    watermark.into_iter().chain(epoch.into_iter().flatten())
}

/// The watermark that a `txn` action of ours says; none for another application's, or none at all.
pub(crate) fn position(txn: &Value) -> Option<Position> {
    let stream = txn["appId"].as_str()?.strip_prefix(APP_PREFIX)?;
    Some(Position {
        stream: stream.parse().ok()?,
        sequence: txn["version"].as_u64()?,
    })
}

/// Where streams stand that were taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// The epoch below which the table takes nothing.
    pub epoch: u64,
    /// The watermark when it was first raised.
    pub written: u64,
}

/// What all `txn` actions of a version say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) watermarks: HashMap<StreamId, u64>,
    pub(crate) taken_over: HashMap<StreamId, TakenOver>,
}

impl Marks {
    /// Takes an action in. Other applications may keep their own marks in the table.
    pub(crate) fn take(&mut self, app_id: &str, version: u64) {
        let of = |prefix| app_id.strip_prefix(prefix)?.parse::<StreamId>().ok();
        if let Some(stream) = of(APP_PREFIX) {
            let last = self.watermarks.entry(stream).or_insert(version);
            *last = version.max(*last);
        } else if let Some(stream) = of(EPOCH_PREFIX) {
            let epoch = &mut self.entry(stream).epoch;
            *epoch = version.max(*epoch);
        } else if let Some(stream) = of(WRITTEN_PREFIX) {
            // It is the same in every commit after the first that has it.
            self.entry(stream).written = version;
        }
    }

    fn entry(&mut self, stream: StreamId) -> &mut TakenOver {
        self.taken_over.entry(stream).or_insert(TakenOver {
            epoch: FIRST_EPOCH,
            written: 0,
        })
    }
}

/// By stream: what the table holds of it at `version`.
///
/// # Errors
/// `TABLE_IO` where the log cannot be replayed.
pub(crate) async fn read(store: &LogStoreRef, version: u64) -> Result<Marks> {
    let store = Arc::clone(store);
    let engine = store.engine(None);
    tokio::task::spawn_blocking(move || {
        let mut root = store.root_url().clone();
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let snapshot = Snapshot::builder_for(root)
            .at_version(version)
            .build(engine.as_ref())
            .map_err(failed)?;
        let txn = StructType::try_new([
            StructField::not_null("appId", DataType::STRING),
            StructField::not_null("version", DataType::LONG),
        ])
        .map_err(failed)?;
        let actions = StructType::try_new([StructField::nullable("txn", txn)]).map_err(failed)?;
        let mut marks = Marks::default();
        let batches = snapshot
            .log_segment()
            .read_actions(engine.as_ref(), Arc::new(actions))
            .map_err(failed)?;
        for batch in batches {
            let data = ArrowEngineData::try_from_engine_data(batch.map_err(failed)?.actions)
                .map_err(failed)?;
            let batch = data.record_batch();
            let txns = batch
                .column_by_name("txn")
                .and_then(|column| column.as_struct_opt());
            let Some(txns) = txns else { continue };
            let ids = txns
                .column_by_name("appId")
                .and_then(|column| column.as_string_opt::<i32>());
            let versions = txns
                .column_by_name("version")
                .and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(ids), Some(versions)) = (ids, versions) else {
                return Err(failed("a txn action of an unknown shape"));
            };
            for row in (0..txns.len()).filter(|row| txns.is_valid(*row)) {
                if let Ok(version) = u64::try_from(versions.value(row)) {
                    marks.take(ids.value(row), version);
                }
            }
        }
        Ok(marks)
    })
    .await
    .map_err(failed)?
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(
        Code::TableIo,
        format!("cannot read the watermarks: {error}"),
    )
}
