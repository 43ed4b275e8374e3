//! Batches of all nodes as they become readable.
//!
//! One task follows this node, and one each other node that is alive; they come together in a
//! bounded queue, so that a slow reader slows the nodes that it follows down to what their own
//! queues hold, and is told what it has missed. A record that a second node tells of, because it
//! has recovered the first one's stream, is told once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use otlake_base::{Error, Position, Result, StreamId, Table, TableRows, Wanted};
use otlake_decode::schema;
use otlake_flush::{Tail, Tailed};
use prost::Message as _;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};

use crate::port::LivePort;
use crate::source::Reads;
use crate::wire::{BatchReader, Part, Request, malformed};

/// What is read and not taken yet, of all nodes.
const QUEUE: usize = 16;
/// How often it is looked which nodes there are, and one that was lost is tried again.
const LOOK: Duration = Duration::from_secs(1);

/// What a reader gets.
#[derive(Debug)]
pub enum Followed {
    /// Rows of one record that are one tenant's.
    Rows {
        /// Whose they are.
        tenant: Arc<str>,
        /// The rows.
        rows: RecordBatch,
    },
    /// As many batches were let go before this reader came to them.
    Skipped(u64),
    /// A node's batches are not told until it is reached again; those in between are missed.
    Lost(Arc<str>),
}

/// What a task tells.
enum Told {
    Rows(Batch),
    Skipped(u64),
    Lost(Arc<str>),
}

struct Batch {
    position: Position,
    tenant: Arc<str>,
    rows: RecordBatch,
    /// Who tells of it; none: this node.
    node: Option<Arc<str>>,
}

/// One reader.
pub struct Follow {
    table: Table,
    tenant: Option<Arc<str>>,
    source: Source,
}

enum Source {
    /// This node alone.
    Own {
        tail: Tail,
        /// What is left to tell of a batch whose rows are several tenants'.
        ready: VecDeque<TableRows>,
    },
    /// All nodes.
    All {
        told: Receiver<Told>,
        /// By stream: the last record that was told, and by whom: a large one comes in pieces, as does
        /// one whose rows are several tenants'.
        last: HashMap<StreamId, (u64, Option<Arc<str>>)>,
        _tasks: JoinSet<()>,
    },
}

impl Reads {
    /// Batches of a table, of a tenant or of all, from here on. It follows the nodes that there
    /// are, as they come and go; without a cluster, and until its end, this node alone. Needs a
    /// tokio runtime with time enabled.
    pub fn follow(self: &Arc<Self>, table: Table, tenant: Option<Arc<str>>) -> Follow {
        let own = self.live.subscribe();
        let source = match self.cluster() {
            None => Source::Own {
                tail: own,
                ready: VecDeque::new(),
            },
            Some(cluster) => {
                let (tell, told) = channel(QUEUE);
                let mut tasks = JoinSet::new();
                tasks.spawn(follow_own(own, table, tell.clone()));
                let wanted = Wanted {
                    tenant: tenant.clone(),
                    ..Wanted::default()
                };
                let mut request = Request::of(table, &wanted, &[]);
                request.follow = true;
                tasks.spawn(follow_others(
                    Arc::clone(&cluster.port),
                    table,
                    request,
                    tell,
                ));
                Source::All {
                    told,
                    last: HashMap::new(),
                    _tasks: tasks,
                }
            }
        };
        Follow {
            table,
            tenant,
            source,
        }
    }
}

impl Follow {
    /// What is next; waits where there is nothing yet. `None` when the node was closed.
    pub async fn recv(&mut self) -> Option<Followed> {
        let is_wanted = |tenant: &str| self.tenant.as_deref().is_none_or(|own| own == tenant);
        loop {
            match &mut self.source {
                Source::Own { tail, ready } => {
                    if let Some(TableRows { tenant, rows, .. }) = ready.pop_front() {
                        return Some(Followed::Rows { tenant, rows });
                    }
                    match tail.recv().await? {
                        Tailed::Skipped(skipped) => return Some(Followed::Skipped(skipped)),
                        Tailed::Batch(batch) => {
                            let wanted = batch.of(self.table);
                            let wanted = wanted.filter(|part| is_wanted(&part.tenant));
                            ready.extend(wanted.cloned());
                        }
                    }
                }
                Source::All { told, last, .. } => match told.recv().await? {
                    Told::Skipped(skipped) => return Some(Followed::Skipped(skipped)),
                    Told::Lost(node) => return Some(Followed::Lost(node)),
                    Told::Rows(batch) => {
                        let Position { stream, sequence } = batch.position;
                        let (told, by) = last.entry(stream).or_insert((0, None));
                        let is_new = sequence > *told || (sequence == *told && *by == batch.node);
                        if is_new && is_wanted(&batch.tenant) {
                            (*told, *by) = (sequence, batch.node);
                            return Some(Followed::Rows {
                                tenant: batch.tenant,
                                rows: batch.rows,
                            });
                        }
                    }
                },
            }
        }
    }
}

async fn follow_own(mut tail: Tail, table: Table, tell: Sender<Told>) {
    while let Some(next) = tail.recv().await {
        let batch = match next {
            Tailed::Skipped(skipped) => {
                if tell.send(Told::Skipped(skipped)).await.is_err() {
                    return;
                }
                continue;
            }
            Tailed::Batch(batch) => batch,
        };
        for part in batch.of(table) {
            let told = Told::Rows(Batch {
                position: batch.position,
                tenant: Arc::clone(&part.tenant),
                rows: part.rows.clone(),
                node: None,
            });
            if tell.send(told).await.is_err() {
                return;
            }
        }
    }
}

/// Keeps a task for each other node that is alive.
async fn follow_others(
    port: Arc<dyn LivePort>,
    table: Table,
    request: Request,
    tell: Sender<Told>,
) {
    let mut tasks = JoinSet::new();
    let mut followed: HashMap<Arc<str>, AbortHandle> = HashMap::new();
    while !tell.is_closed() {
        let nodes = port.others();
        followed.retain(|node, task| {
            if !nodes.contains(node) {
                task.abort();
            }
            nodes.contains(node) && !task.is_finished()
        });
        for node in nodes {
            let (port, request, tell) = (Arc::clone(&port), request.clone(), tell.clone());
            followed.entry(Arc::clone(&node)).or_insert_with(|| {
                tasks.spawn(async move { follow_node(&*port, node, table, &request, &tell).await })
            });
        }
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(LOOK).await;
    }
}

/// Follows a node, again and again, and tells when it is lost.
async fn follow_node(
    port: &dyn LivePort,
    node: Arc<str>,
    table: Table,
    request: &Request,
    tell: &Sender<Told>,
) {
    let mut is_lost = false;
    loop {
        match follow_once(port, &node, table, request, tell, &mut is_lost).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(
                target: "otlake::query", node = &*node, "a node is not followed: {error}"
            ),
        }
        if !is_lost {
            is_lost = true;
            if tell.send(Told::Lost(Arc::clone(&node))).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Follows a node until nobody listens any more.
async fn follow_once(
    port: &dyn LivePort,
    node: &Arc<str>,
    table: Table,
    request: &Request,
    tell: &Sender<Told>,
    is_lost: &mut bool,
) -> Result<()> {
    let mut messages = port.live(node, request.encode_to_vec().into()).await?;
    let mut reader = BatchReader::new(schema::schema(table));
    while let Some(message) = messages.next().await {
        let told = match Part::read(message?)? {
            Part::Head(_) => {
                *is_lost = false;
                continue;
            }
            Part::End(_) => break,
            Part::Skipped(skipped) => Told::Skipped(skipped),
            Part::Batch(batch) => {
                let place = batch.place.ok_or_else(|| malformed("no position"))?;
                let rows = reader.read(batch.ipc)?;
                Told::Rows(Batch {
                    position: place.position()?,
                    tenant: batch.tenant.into(),
                    rows,
                    node: Some(Arc::clone(node)),
                })
            }
        };
        if tell.send(told).await.is_err() {
            return Ok(());
        }
    }
    Err(Error::new(
        otlake_base::Code::QueryIncomplete,
        "it has ended what it tells",
    ))
}
