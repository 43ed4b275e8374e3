//! Captures a table over all nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use otlake_base::{
    Capture, Code, Error, LiveRows, Missing, Position, Result, Session, StreamId, Table, Wanted,
};
use otlake_catalog::Snapshot;
use otlake_flush::{LiveBatch, LiveSet};
use tokio::time::{Instant, sleep, timeout};

use crate::ask::{Answer, Taken, ask};
use crate::port::{OpenStream, StreamState};
use crate::source::{Cluster, Reads};
use crate::wire::Request;

/// How long a read waits before it looks again for a version, or for what its token names.
const AGAIN: Duration = Duration::from_millis(25);
/// Times that it looks for a version that another node has named.
const VERSION_LOOKS: usize = 40;

/// What this node has of a table, before its files are looked at.
struct Own {
    /// The streams that it answers for, each with its last record.
    whole: HashMap<StreamId, u64>,
    batches: Vec<Arc<LiveBatch>>,
}

impl Own {
    fn capture(live: &LiveSet, table: Table) -> Own {
        // First, so that each batch up to these is among those captured, or in files.
        let whole = live.whole().into_iter();
        Own {
            whole: whole.map(|own| (own.stream, own.sequence)).collect(),
            batches: live.capture(table),
        }
    }
}

/// What other nodes answered.
#[derive(Default)]
struct Others {
    answers: HashMap<Arc<str>, Answer>,
    failures: HashMap<Arc<str>, String>,
}

impl Others {
    /// Whether a node has answered for all of a stream, and up to what.
    fn upto(&self, node: &str, stream: StreamId) -> Option<u64> {
        self.answers.get(node)?.whole.get(&stream).copied()
    }

    fn why_not(&self, node: &str) -> String {
        match (self.failures.get(node), self.answers.contains_key(node)) {
            (Some(why), _) => why.clone(),
            (None, true) => "it does not hold the stream yet".to_owned(),
            (None, false) => "it is not alive".to_owned(),
        }
    }
}

impl Reads {
    /// All that was acknowledged before the call.
    pub(crate) async fn strong(
        &self,
        cluster: &Cluster,
        table: Table,
        wanted: &Wanted,
    ) -> Result<Capture> {
        let mut own = Own::capture(&self.live, table);
        let taken = self.room.enter(&self.metrics);
        let request = Request::of(table, wanted, &[]);
        let listing = timeout(cluster.patience.answer, cluster.streams.open());
        let asking = self.ask_all(cluster, table, &request, &taken);
        let (others, listed) = tokio::join!(asking, listing);
        let mut others = others?;
        if let Ok(Ok(listed)) = &listed {
            of_holders(listed, cluster, &mut own, &mut others);
        }
        // After the list, because a stream that is not in it any more is in files by then.
        let snapshot = self.newest(table, &others).await?;
        let missing = match listed {
            Ok(Ok(listed)) => unanswered(&listed, cluster, &own, &others, &snapshot),
            Ok(Err(error)) => vec![unlisted(cluster, &error.message)],
            Err(_) => vec![unlisted(cluster, "the list of streams takes too long")],
        };
        let missing = accepted(missing, wanted)?;
        Ok(assemble(table, own, others, &snapshot, missing, taken))
    }

    /// At least what the token names, and what is at hand.
    pub(crate) async fn session(
        &self,
        cluster: &Cluster,
        table: Table,
        token: &Session,
        wanted: &Wanted,
    ) -> Result<Capture> {
        let deadline = Instant::now() + cluster.patience.session;
        let mut others = Others::default();
        loop {
            let taken = self.room.enter(&self.metrics);
            let own = Own::capture(&self.live, table);
            let mut snapshot = self.newest(table, &others).await?;
            let unmet = |snapshot: &Snapshot, others: &Others| -> Vec<Position> {
                let is_met = |position: &Position| {
                    let (stream, sequence) = (position.stream, position.sequence);
                    let upto = own.whole.get(&stream).copied();
                    let nodes = others.answers.values();
                    let held = nodes.filter_map(|answer| answer.whole.get(&stream).copied());
                    let mut held = held.chain(upto);
                    snapshot.covers(*position) || held.any(|upto| upto >= sequence)
                };
                token
                    .positions()
                    .filter(|position| !is_met(position))
                    .collect()
            };
            others = Others::default();
            let mut left = unmet(&snapshot, &others);
            if !left.is_empty() {
                let streams: Vec<StreamId> = left.iter().map(|at| at.stream).collect();
                let request = Request::of(table, wanted, &streams);
                others = self.ask_all(cluster, table, &request, &taken).await?;
                snapshot = self.newest(table, &others).await?;
                left = unmet(&snapshot, &others);
            }
            let mut done = Vec::new();
            let mut missing = Vec::new();
            if !left.is_empty() {
                (done, missing) = self.finished(cluster, table, &left, &others).await?;
                snapshot = self.newest(table, &others).await?;
            }
            let version = token.versions.get(&table).copied();
            let is_reached = version.is_none_or(|version| snapshot.version >= version);
            if (missing.is_empty() && is_reached) || Instant::now() >= deadline {
                if !is_reached {
                    let version = version.unwrap_or_default();
                    let wanted = format!("{}@{version}", table.name());
                    return Err(not_reached(&wanted));
                }
                let missing = accepted(missing, wanted)?;
                let mut capture = assemble(table, own, others, &snapshot, missing, taken);
                let mut token = token.clone();
                for position in &done {
                    // It is in files, whose versions say so from here on.
                    token.positions.remove(&position.stream);
                    for table in Table::ALL {
                        let snapshot = self.tables.handle(table).snapshot();
                        if snapshot.watermarks.contains_key(&position.stream) {
                            capture.seen.add_version(table, snapshot.version);
                        }
                    }
                }
                capture.seen.merge(&token);
                return Ok(capture);
            }
            sleep(AGAIN).await;
        }
    }

    /// Of positions that nobody answers for: those that are in files for certain, as all of their
    /// streams is; and who should have answered for the others.
    ///
    /// # Errors
    /// `QUERY_SESSION` for a stream that nobody knows.
    async fn finished(
        &self,
        cluster: &Cluster,
        table: Table,
        left: &[Position],
        others: &Others,
    ) -> Result<(Vec<Position>, Vec<Missing>)> {
        let listing = timeout(cluster.patience.answer, cluster.streams.open());
        let listed = match listing.await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => return Ok((Vec::new(), vec![unlisted(cluster, &error.message)])),
            Err(_) => {
                let why = "the list of streams takes too long";
                return Ok((Vec::new(), vec![unlisted(cluster, why)]));
            }
        };
        // After the list: a stream that is not in it is in files, of whichever tables it has rows.
        let looks = Table::ALL.map(|table| self.tables.handle(table).refresh());
        for look in join_all(looks).await {
            look?;
        }
        let (mut done, mut missing) = (Vec::new(), Vec::new());
        for position in left {
            if let Some(open) = listed.iter().find(|open| open.stream == position.stream) {
                let snapshot = self.tables.handle(table).snapshot();
                if !is_covered(open, &snapshot) {
                    missing.push(lacking(open, cluster, others));
                }
                continue;
            }
            // All of it is, where nothing of it is left to be listed. Its last records may have had
            // no rows to put there.
            let in_files = Table::ALL.into_iter().any(|table| {
                let snapshot = self.tables.handle(table).snapshot();
                snapshot.watermarks.contains_key(&position.stream)
            });
            if !in_files {
                return Err(not_reached(position));
            }
            done.push(*position);
        }
        Ok((done, missing))
    }

    /// Asks every other node.
    ///
    /// # Errors
    /// `QUERY_MEMORY`.
    async fn ask_all(
        &self,
        cluster: &Cluster,
        table: Table,
        request: &Request,
        taken: &Taken,
    ) -> Result<Others> {
        let nodes = cluster.port.others();
        let asks = nodes
            .iter()
            .map(|node| ask(cluster, node, table, request, taken));
        let answers = join_all(asks).await;
        let mut others = Others::default();
        for (node, answer) in nodes.iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    others.answers.insert(Arc::clone(node), answer);
                }
                Err(error) if error.code == Code::QueryMemory => return Err(error),
                Err(error) => {
                    tracing::debug!(
                        target: "otlake::query", node = &**node,
                        "a node does not tell its live rows: {error}"
                    );
                    others.failures.insert(Arc::clone(node), error.message);
                }
            }
        }
        Ok(others)
    }

    /// The newest version, at least as new as any that the others named.
    async fn newest(&self, table: Table, others: &Others) -> Result<Arc<Snapshot>> {
        let handle = self.tables.handle(table);
        let named = others.answers.values().map(|answer| answer.version).max();
        let mut newest = handle.refresh().await?;
        let Some(named) = named else {
            return Ok(newest);
        };
        for _ in 0..VERSION_LOOKS {
            if newest.version >= named {
                return Ok(newest);
            }
            // A shared folder can show a new name a moment later elsewhere.
            sleep(AGAIN).await;
            newest = handle.refresh().await?;
        }
        handle.refresh_to(named).await
    }
}

fn not_reached(what: &dyn std::fmt::Display) -> Error {
    let message = format!("no node has reached `{what}`");
    Error::new(Code::QuerySession, message)
}

fn unlisted(cluster: &Cluster, why: &str) -> Missing {
    Missing {
        stream: None,
        node: Arc::clone(&cluster.node),
        why: why.to_owned(),
    }
}

fn lacking(open: &OpenStream, cluster: &Cluster, others: &Others) -> Missing {
    let holder = open.holder();
    Missing {
        stream: Some(open.stream),
        node: Arc::clone(holder),
        why: match *holder == cluster.node {
            true => "this node does not hold the stream yet".to_owned(),
            false => others.why_not(holder),
        },
    }
}

/// Whether the table's files hold all of a stream.
fn is_covered(open: &OpenStream, snapshot: &Snapshot) -> bool {
    let StreamState::Sealed { last, .. } = open.state else {
        return false;
    };
    let (stream, sequence) = (open.stream, last);
    last == 0 || snapshot.covers(Position { stream, sequence })
}

/// The streams that nobody answered for who should have, and that files do not hold.
fn unanswered(
    listed: &[OpenStream],
    cluster: &Cluster,
    own: &Own,
    others: &Others,
    snapshot: &Snapshot,
) -> Vec<Missing> {
    let is_answered = |open: &OpenStream| match open.holder() {
        holder if *holder == cluster.node => own.whole.contains_key(&open.stream),
        holder => others.upto(holder, open.stream).is_some(),
    };
    let missing = listed
        .iter()
        .filter(|open| !is_answered(open) && !is_covered(open, snapshot));
    missing.map(|open| lacking(open, cluster, others)).collect()
}

/// Drops the rows of streams that their node does not hold, by the list. A node that was taken for
/// dead can have rows of its stream that others have stored since; and one that the list does not
/// have is in files, or was acknowledged after this read began.
fn of_holders(listed: &[OpenStream], cluster: &Cluster, own: &mut Own, others: &mut Others) {
    let holders: HashMap<StreamId, &Arc<str>> = listed
        .iter()
        .map(|open| (open.stream, open.holder()))
        .collect();
    let holds = |node: &str, stream: StreamId| {
        let holder = holders.get(&stream);
        holder.is_some_and(|holder| ***holder == *node)
    };
    let held = |batch: &Arc<LiveBatch>| holds(&cluster.node, batch.position.stream);
    own.batches.retain(held);
    own.whole.retain(|stream, _| holds(&cluster.node, *stream));
    for (node, answer) in &mut others.answers {
        answer.rows.retain(|rows| holds(node, rows.position.stream));
        answer.whole.retain(|stream, _| holds(node, *stream));
    }
}

/// What may be missing, if an answer may be partial.
///
/// # Errors
/// `QUERY_INCOMPLETE` where it may not.
fn accepted(missing: Vec<Missing>, wanted: &Wanted) -> Result<Vec<Missing>> {
    if missing.is_empty() || wanted.partial {
        return Ok(missing);
    }
    let lacks: Vec<String> = missing
        .iter()
        .map(|lack| format!("{lack} ({})", lack.why))
        .collect();
    let message = format!("rows may be missing: {}", lacks.join(", "));
    Err(Error::new(Code::QueryIncomplete, message))
}

/// The rows of all nodes at one moment: what the snapshot covers is dropped, and what two nodes
/// have is taken from one.
fn assemble(
    table: Table,
    own: Own,
    others: Others,
    snapshot: &Snapshot,
    missing: Vec<Missing>,
    taken: Arc<Taken>,
) -> Capture {
    let mut live = Vec::new();
    let mut known: HashSet<Position> = HashSet::new();
    for batch in &own.batches {
        if snapshot.covers(batch.position) || !known.insert(batch.position) {
            continue;
        }
        live.extend(batch.of(table).map(|part| LiveRows {
            tenant: Arc::clone(&part.tenant),
            batch: part.rows.clone(),
        }));
    }
    let mut seen = Session::default();
    seen.add_version(table, snapshot.version);
    let mut places: Vec<(StreamId, u64)> = own.whole.into_iter().collect();
    for answer in others.answers.into_values() {
        places.extend(answer.whole);
        // A batch can come in several pieces, and be several tenants'.
        let of_node: HashSet<Position> = answer.rows.iter().map(|rows| rows.position).collect();
        for rows in answer.rows {
            if !snapshot.covers(rows.position) && !known.contains(&rows.position) {
                live.push(LiveRows {
                    tenant: rows.tenant,
                    batch: rows.batch,
                });
            }
        }
        known.extend(of_node);
    }
    for (stream, sequence) in places {
        let position = Position { stream, sequence };
        if sequence > 0 && !snapshot.covers(position) {
            seen.add(position);
        }
    }
    let mut capture = Capture::new(live, Arc::clone(&snapshot.files), snapshot.root.clone());
    capture.seen = seen;
    capture.missing = missing;
    capture.guard = Some(taken);
    capture
}
