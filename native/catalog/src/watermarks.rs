//! Every `txn` action of a version.
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
use otlake_base::{Code, Error, Position, Result, StreamId};
use serde_json::Value;

const APP_PREFIX: &str = "otlake/";

/// The Delta application id of a stream.
pub(crate) fn app_id(stream: StreamId) -> String {
    format!("{APP_PREFIX}{stream}")
}

/// What a `txn` action of ours says; none for another application's, or none at all.
pub(crate) fn position(txn: &Value) -> Option<Position> {
    let stream = txn["appId"].as_str()?.strip_prefix(APP_PREFIX)?;
    Some(Position {
        stream: stream.parse().ok()?,
        sequence: txn["version"].as_u64()?,
    })
}

/// By stream: the last sequence that the table's files hold at `version`.
///
/// # Errors
/// `TABLE_IO` where the log cannot be replayed.
pub(crate) async fn read(store: &LogStoreRef, version: u64) -> Result<HashMap<StreamId, u64>> {
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
        let mut watermarks = HashMap::new();
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
                // Other applications may keep their own marks in the table.
                let Some(stream) = ids.value(row).strip_prefix(APP_PREFIX) else {
                    continue;
                };
                let Ok(stream) = stream.parse::<StreamId>() else {
                    continue;
                };
                let Ok(sequence) = u64::try_from(versions.value(row)) else {
                    continue;
                };
                let last = watermarks.entry(stream).or_insert(sequence);
                *last = sequence.max(*last);
            }
        }
        Ok(watermarks)
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
