//! Files and watermarks of one version of a table.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Date32Type;
use deltalake_core::kernel::{Add, LogicalFileView};
use deltalake_core::table::state::DeltaTableState;
use otlake_base::checksum::BlockSums;
use otlake_base::{Code, DataFile, Error, FIRST_EPOCH, Position, Result, StreamId, Table};
use serde_json::Value;

use crate::rule::{Mark, Standing};
use crate::watermarks::TakenOver;

/// The tag of an add action that holds its file's checksums, of 64 KiB each.
pub(crate) const SUMS_TAG: &str = "otlake.crc32c";

/// One version of a table, in memory; it never changes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The Delta version.
    pub version: i64,
    /// Its files.
    pub files: Arc<Vec<DataFile>>,
    /// By stream: the last sequence whose rows the files hold.
    pub watermarks: HashMap<StreamId, u64>,
    /// By stream that was taken over: at which epoch.
    pub taken_over: HashMap<StreamId, TakenOver>,
    /// The table's folder.
    pub root: PathBuf,
}

impl Snapshot {
    /// Whether the files hold the batch at this position and all before it of its stream.
    pub fn covers(&self, position: Position) -> bool {
        self.watermarks
            .get(&position.stream)
            .is_some_and(|last| *last >= position.sequence)
    }

    /// What the table holds of a stream.
    pub fn standing(&self, stream: StreamId) -> Standing {
        let taken_over = self.taken_over.get(&stream);
        Standing {
            watermark: self.watermarks.get(&stream).copied().unwrap_or(0),
            epoch: taken_over.map_or(FIRST_EPOCH, |over| over.epoch),
            written: taken_over.map_or(0, |over| over.written),
        }
    }

    /// Has it stand there.
    pub(crate) fn set(&mut self, stream: StreamId, standing: Standing) {
        let Standing {
            watermark,
            epoch,
            written,
        } = standing;
        if watermark > 0 {
            self.watermarks.insert(stream, watermark);
        }
        if epoch > FIRST_EPOCH {
            let over = TakenOver { epoch, written };
            self.taken_over.insert(stream, over);
        }
    }

    /// The marks of a commit that is written against this version, each stream at its epoch.
    pub fn marks(&self, upto: &[Position], epoch: impl Fn(StreamId) -> u64) -> Vec<Mark> {
        let mark = |upto: &Position| Mark {
            upto: *upto,
            base: self.standing(upto.stream).watermark,
            epoch: epoch(upto.stream),
        };
        upto.iter().map(mark).collect()
    }
}

/// Every file of a loaded state.
pub(crate) fn files(table: Table, state: &DeltaTableState) -> Result<Vec<DataFile>> {
    state
        .log_data()
        .iter()
        .map(|view| file(table, &view))
        .collect()
}

/// The parts of an add action that a file is made of.
struct Parts {
    path: String,
    values: HashMap<String, Option<String>>,
    stats: Option<String>,
    size: i64,
    sums: Option<String>,
    has_deletions: bool,
}

fn file(table: Table, view: &LogicalFileView) -> Result<DataFile> {
    file_of(
        table,
        Parts {
            path: view.path().into_owned(),
            values: view.partition_values_map(),
            stats: view.stats(),
            size: view.size(),
            sums: tag(view, SUMS_TAG),
            has_deletions: view.deletion_vector_descriptor().is_some(),
        },
    )
}

/// The file of an add action, as a commit has it.
pub(crate) fn of_add(table: Table, add: &Add) -> Result<DataFile> {
    let tags = add.tags.as_ref();
    file_of(
        table,
        Parts {
            path: add.path.clone(),
            values: add.partition_values.clone(),
            stats: add.stats.clone(),
            size: add.size,
            sums: tags.and_then(|tags| tags.get(SUMS_TAG).cloned().flatten()),
            has_deletions: add.deletion_vector.is_some(),
        },
    )
}

fn file_of(table: Table, parts: Parts) -> Result<DataFile> {
    let Parts {
        path, mut values, ..
    } = parts;
    let broken = |what: &str| {
        Error::new(
            Code::TableCorrupt,
            format!("{}: the file {path} {what}", table.name()),
        )
    };
    if parts.has_deletions {
        return Err(broken(
            "has a deletion vector, which otlake does not write or read",
        ));
    }
    let tenant = values
        .remove("tenant")
        .flatten()
        .ok_or_else(|| broken("has no tenant"))?;
    let day = values
        .remove("day")
        .flatten()
        .and_then(|day| Date32Type::parse(&day))
        .ok_or_else(|| broken("has no day"))?;
    let stats: Value = parts
        .stats
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null);
    let size = u64::try_from(parts.size).map_err(|_| broken("has a negative size"))?;
    let sums = match parts.sums {
        None => None,
        Some(text) => Some(
            BlockSums::from_text(&text)
                .filter(|sums| sums.fits(size))
                .ok_or_else(|| broken("has checksums of another length"))?,
        ),
    };
    let time = |bound: &str| stats[bound][table.time_column()].as_i64();
    Ok(DataFile {
        size,
        rows: stats["numRecords"].as_u64().unwrap_or_default(),
        tenant,
        day,
        min_time: time("minValues").unwrap_or(i64::MIN),
        max_time: time("maxValues").unwrap_or(i64::MAX),
        path,
        sums: sums.map(Arc::new),
    })
}

fn tag(view: &LogicalFileView, name: &str) -> Option<String> {
    #[expect(deprecated, reason = "nothing else gives a file's tags")]
    let tags = view.add_action().tags;
    tags?.remove(name).flatten()
}
