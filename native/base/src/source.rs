//! The port between storage and queries: what a query sees of one table.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::checksum::BlockSums;
use crate::{Code, Error, Position, Result, Session, StreamId, Table};

/// How fresh an answer must be (I7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// All that was acknowledged before the read began.
    #[default]
    Strong,
    /// At least all that the token covers.
    Session(Session),
    /// The files alone.
    Eventual,
}

impl Consistency {
    /// From the two headers: `otlake-consistency` (default `strong`) and `otlake-session`, a
    /// token.
    ///
    /// # Errors
    /// `QUERY_CONSISTENCY`, `QUERY_SESSION`.
    pub fn parse(consistency: Option<&str>, session: Option<&str>) -> Result<Consistency> {
        match consistency.unwrap_or("strong") {
            "strong" => Ok(Consistency::Strong),
            "eventual" => Ok(Consistency::Eventual),
            "session" => Ok(Consistency::Session(session.unwrap_or("").parse()?)),
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
    /// What a later read has to cover so that it sees no less.
    pub seen: Session,
    /// What may be missing, where a partial answer was asked for.
    pub missing: Vec<Missing>,
    /// Kept as long as the rows are.
    pub guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl Capture {
    /// These rows, and nothing missing.
    pub fn new(live: Vec<LiveRows>, files: Arc<Vec<DataFile>>, root: PathBuf) -> Capture {
        Capture {
            live,
            files,
            root,
            seen: Session::default(),
            missing: Vec::new(),
            guard: None,
        }
    }
}

/// Rows that a partial answer may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The stream; none where it cannot even be told which streams there are.
    pub stream: Option<StreamId>,
    /// The node that should have answered for it.
    pub node: Arc<str>,
    /// Why it did not.
    pub why: String,
}

/// As `otlake-partial` carries it: `<stream, 32 hex> of <node>`.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream {
            Some(stream) => write!(f, "{stream} of {}", self.node),
            None => write!(f, "streams of {}", self.node),
        }
    }
}

/// What of a table's live rows an answer can need: others need not be sent from node to node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Rows of this tenant alone.
    pub tenant: Option<Arc<str>>,
    /// Rows whose time column is not below the first and not above the second, in ns.
    pub times: Option<(i64, i64)>,
    /// Rows of this trace alone.
    pub trace_id: Option<[u8; 16]>,
    /// These columns alone, by name.
    pub columns: Option<Vec<String>>,
    /// Whether an answer may lack what cannot be had, as long as it says so.
    pub partial: bool,
}

/// A capture that takes a while.
pub type Gathering<'a> = Pin<Box<dyn Future<Output = Result<Capture>> + Send + 'a>>;

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
    /// This moment; none where rows are elsewhere, too. What is captured after it is of it or of a
    /// later one.
    ///
    /// # Errors
    /// As `capture`.
    fn moment(&self, consistency: &Consistency) -> Result<Option<Moment>>;
    /// Whether rows are elsewhere, too, so that a read has to `gather` them first.
    fn gathers(&self, _consistency: &Consistency) -> bool {
        false
    }
    /// As `capture`, with what other nodes have of it; batches may lack the columns that are not
    /// wanted.
    ///
    /// # Errors
    /// `QUERY_INCOMPLETE` where a node that has rows does not answer, unless a partial answer will
    /// do; `QUERY_SESSION`, `QUERY_MEMORY`, `TABLE_IO`.
    fn gather<'a>(&'a self, consistency: &'a Consistency, _wanted: &'a Wanted) -> Gathering<'a> {
        Box::pin(std::future::ready(self.capture(consistency)))
    }
}
