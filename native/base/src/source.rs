//! The port between storage and queries: what a query sees of one table.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::checksum::BlockSums;
use crate::{Code, Error, Position, Result, Table};

/// How fresh an answer must be (I7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// All that was acknowledged before the read began.
    #[default]
    Strong,
    /// At least all that the token covers.
    Session(Vec<Position>),
    /// The files alone.
    Eventual,
}

impl Consistency {
    /// From the two headers: `otlake-consistency` (default `strong`) and `otlake-session`, a
    /// comma-separated list of positions.
    ///
    /// # Errors
    /// `QUERY_CONSISTENCY`, `QUERY_SESSION`.
    pub fn parse(consistency: Option<&str>, session: Option<&str>) -> Result<Consistency> {
        match consistency.unwrap_or("strong") {
            "strong" => Ok(Consistency::Strong),
            "eventual" => Ok(Consistency::Eventual),
            "session" => {
                let token = session.unwrap_or("");
                let positions = token.split(',').filter(|part| !part.is_empty());
                Ok(Consistency::Session(
                    positions
                        .map(|part| Position::from_str(part.trim()))
                        .collect::<Result<_>>()?,
                ))
            }
            other => Err(Error::new(
                Code::QueryConsistency,
                format!("`{other}` is not a consistency"),
            )),
        }
    }
}

/// One Parquet file that a table's snapshot holds.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Path below the table's folder, for example `tenant=default/day=2026-11-23/….parquet`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// The partition: tenant.
    pub tenant: String,
    /// The partition: days since 1970-01-01.
    pub day: i32,
    /// Least value of the table's time column, in ns; `i64::MIN` where unknown.
    pub min_time: i64,
    /// Greatest value of the table's time column, in ns; `i64::MAX` where unknown.
    pub max_time: i64,
    /// What its bytes are checked by; none where another writer wrote it.
    pub sums: Option<Arc<BlockSums>>,
}

/// Acknowledged rows that no file holds yet.
#[derive(Clone, Debug)]
pub struct LiveRows {
    /// Whose they are.
    pub tenant: Arc<str>,
    /// Rows in the table's schema, `tenant` and `day` included.
    pub batch: RecordBatch,
}

/// A table at one moment: together, `live` and `files` hold each row once.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Rows above the files' watermark.
    pub live: Vec<LiveRows>,
    /// The snapshot's files.
    pub files: Arc<Vec<DataFile>>,
    /// The table's folder.
    pub root: PathBuf,
}

/// Which rows a table has, as a value to compare: captures of equal moments hold the same rows. It
/// never comes back to what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The last acknowledged batch with rows of the table; none where only files are read.
    pub newest: Option<Position>,
    /// The version of the files' snapshot.
    pub version: i64,
}

/// What a query sees of one table.
pub trait TableSource: Send + Sync + 'static {
    /// Which table.
    fn table(&self) -> Table;
    /// Its columns; the last two are the partition columns `tenant` and `day`, which the
    /// files do not hold.
    fn schema(&self) -> SchemaRef;
    /// The rows at this moment: live batches first, snapshot second, and what the snapshot's
    /// watermark covers dropped from the live ones, so that nothing is missed or doubled.
    ///
    /// # Errors
    /// `QUERY_SESSION` for a token this node has not reached.
    fn capture(&self, consistency: &Consistency) -> Result<Capture>;
    /// This moment. What is captured after it is of it or of a later one.
    ///
    /// # Errors
    /// As `capture`.
    fn moment(&self, consistency: &Consistency) -> Result<Moment>;
}
