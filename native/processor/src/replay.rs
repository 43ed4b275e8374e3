//! What the log holds and no file does, back into the live set.

use std::collections::{HashMap, HashSet};

use otlake_base::{
    Code, Error, FIRST_EPOCH, Kind, Metrics, Position, Result, Signal, StreamId, Table,
};
use otlake_derive::DeriveConfig;
use otlake_flush::{LiveBatch, LiveSet, Tables, covers};
use otlake_log::{Record, Replay};
use tokio::runtime::Handle;

use crate::dedupe::{Content, Dedupe};
use crate::rows::Ruled;

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Records read.
    pub(crate) records: u64,
    /// Rows that no file held.
    pub(crate) rows: u64,
    /// Records that could not be read back.
    pub(crate) damaged: u64,
}

/// A part of the budget that replay may take beyond it where the disk takes no files. What no
/// file holds was within the budget of the process before; but it comes back without the order
/// that it came in, so it can amount to a little more.
const SLACK: usize = 4;

/// Reads every record of earlier streams. Flushers run meanwhile: once the budget is full, it
/// waits for them, so a log of any size needs no more memory than a running node. With a full
/// disk they cannot make room, and the node must start all the same, to be read (I10).
///
/// Every record becomes a batch, even one whose rows are all in files: its number then takes
/// part in the next release, and its segment is deleted.
///
/// # Errors
/// `LOG_IO`; `LOG_FORMAT` for what another version wrote, which is kept and not passed over; what
/// flushing came to, when the rows that are not in files need more memory than there is.
pub(crate) fn replay(
    records: Replay,
    (tables, live, dedupe, metrics): (&Tables, &LiveSet, &Dedupe, &Metrics),
    (derives, ruled): (Derives, &Ruled),
    runtime: &Handle,
) -> Result<Replayed> {
    let watermarks = Table::ALL.map(|table| tables.handle(table).snapshot().watermarks.clone());
    let mut replayed = Replayed::default();
    let max = live.budget().max();
    let mut allowed = max;
    let mut streams = HashSet::new();
    for item in records {
        let Some((position, record)) = whole(item, &mut replayed, metrics)? else {
            continue;
        };
        if streams.insert(position.stream) {
            // Where others have taken it over before, this node goes on from there.
            let epochs = Table::ALL.map(|table| {
                let snapshot = tables.handle(table).snapshot();
                snapshot.standing(position.stream).epoch
            });
            live.write_at(
                position.stream,
                epochs.into_iter().max().unwrap_or(FIRST_EPOCH),
            );
        }
        let received = otlake_decode::as_received(&record.payload);
        let content = Content::of(&record.tenant, &received);
        let received = record.received_unix_nano;
        dedupe.replayed(record.signal, content, received);
        let batch = rows_not_in_files(position, record, &watermarks, (derives, ruled))?;
        replayed.rows += batch.rows;
        let budget = live.budget();
        let reservation = budget.reserve(batch.bytes);
        live.insert(batch, reservation);
        if budget.used() >= allowed {
            match runtime.block_on(live.room()) {
                Err(error) if allowed == max && error.kind() == Kind::Unavailable => {
                    allowed = max + max / SLACK;
                    tracing::warn!(
                        target: "otlake::log",
                        "the log is replayed beyond the memory for live rows: {error}"
                    );
                }
                outcome => outcome?,
            }
        }
    }
    for stream in streams {
        live.hold_whole(stream);
    }
    Ok(replayed)
}

/// A record that was read; none where it is damaged, which is reported and never served (I6): the
/// records after it are whole.
fn whole(
    item: Result<(Position, Record)>,
    replayed: &mut Replayed,
    metrics: &Metrics,
) -> Result<Option<(Position, Record)>> {
    match item {
        Ok(read) => {
            replayed.records += 1;
            Ok(Some(read))
        }
        Err(error) if error.code == Code::LogChecksumMismatch => {
            replayed.damaged += 1;
            metrics.damaged("log");
            tracing::error!(
                target: "otlake::log", code = error.code.as_str(),
                "a log record is damaged and its rows are lost: {error}"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads every record of earlier streams for the windows alone: in a cluster it is not this node's
/// to say what of them is still to be stored.
///
/// # Errors
/// As `replay`, but for memory.
pub(crate) fn index(records: Replay, dedupe: &Dedupe, metrics: &Metrics) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    for item in records {
        if let Some((position, record)) = whole(item, &mut replayed, metrics)? {
            let received = otlake_decode::as_received(&record.payload);
            let content = Content::of(&record.tenant, &received);
            let received = record.received_unix_nano;
            dedupe.unsettled(record.signal, content, received, position);
        }
    }
    Ok(replayed)
}

/// What derived rows need of records whose own rows are in files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Derives {
    counts: bool,
    pairs: bool,
}

impl Derives {
    pub(crate) fn of(config: &DeriveConfig) -> Derives {
        Derives {
            counts: config.is_on(),
            pairs: config.service_graph,
        }
    }

    /// Whether the spans of a record are still to be derived from: where a crash fell between the
    /// commits of derived tables, or where halves of edges waited.
    fn needs(self, position: Position, watermarks: &[HashMap<StreamId, u64>; 7]) -> bool {
        let lacks = |companion: StreamId| {
            let stream = companion;
            let at = Position { stream, ..position };
            let mut tables = Table::DERIVED.into_iter();
            tables.any(|table| !covers(&watermarks[table as usize], at))
        };
        (self.counts && lacks(position.stream.counted()))
            || (self.pairs && lacks(position.stream.settled()))
    }
}

/// The record's rows, without those of tables that hold them. Metrics reach five tables in five
/// commits, and a crash can fall between two of them.
pub(crate) fn rows_not_in_files(
    position: Position,
    record: Record,
    watermarks: &[HashMap<StreamId, u64>; 7],
    (derives, ruled): (Derives, &Ruled),
) -> Result<LiveBatch> {
    let derives = record.signal == Signal::Traces && derives.needs(position, watermarks);
    // Rows that files hold are shown to nobody: whoever reads leaves out what the files cover.
    let missing = |table: Table| derives || !covers(&watermarks[table as usize], position);
    let rows = if record.signal.tables().iter().any(|table| missing(*table)) {
        // The record is whole, and was decoded before it was acknowledged, with the limits that
        // it tells: only a decoder that is not the one that took it in can refuse it.
        let decoded = otlake_decode::replay(record.signal, &record.payload, &record.tenant)
            .map_err(|error| Error::new(Code::LogFormat, format!("{position}: {error}")))?;
        let decoded = decoded.tables.into_iter();
        let decoded = decoded.filter(|(table, _)| missing(*table));
        ruled.rows(&record.tenant, decoded.collect())
    } else {
        Vec::new()
    };
    Ok(LiveBatch::new(position, record.signal, rows))
}
