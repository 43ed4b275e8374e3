//! The tables as the query engine sees them, on one node and on many.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use otlake_base::limits::{LIVE_ANSWER_MS, SESSION_WAIT_MS};
use otlake_base::{
    Capture, Code, Consistency, Error, Gathering, Metrics, Moment, Result, Session, Table,
    TableSource, Wanted,
};
use otlake_catalog::Sharing;
use otlake_decode::schema;
use otlake_flush::{LiveSet, Source, Tables};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::ask::Room;
use crate::port::{LivePort, Streams};
use crate::serve::LiveServer;

/// What a node is among.
pub struct Cluster {
    /// The node's own name.
    pub node: Arc<str>,
    /// The way to the others.
    pub port: Arc<dyn LivePort>,
    /// The list of streams.
    pub streams: Arc<dyn Streams>,
    /// How long reads wait.
    pub patience: Patience,
}

/// How long reads wait for other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one node's live rows, and for the list of streams.
    pub answer: Duration,
    /// For what a session token names.
    pub session: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            answer: Duration::from_millis(LIVE_ANSWER_MS),
            session: Duration::from_millis(SESSION_WAIT_MS),
        }
    }
}

/// Reads of one node; of all nodes, once it has joined others.
pub struct Reads {
    pub(crate) live: Arc<LiveSet>,
    pub(crate) tables: Tables,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) room: Arc<Room>,
    server: LiveServer,
    cluster: RwLock<Option<Arc<Cluster>>>,
    has_left: AtomicBool,
}

impl Reads {
    /// Reads of a node that is alone.
    pub fn new(live: Arc<LiveSet>, tables: Tables, metrics: Arc<Metrics>) -> Arc<Reads> {
        Arc::new(Reads {
            server: LiveServer::new(Arc::clone(&live), tables.clone()),
            live,
            tables,
            metrics,
            room: Arc::default(),
            cluster: RwLock::default(),
            has_left: AtomicBool::new(false),
        })
    }

    /// From here on, reads gather what other nodes have.
    pub fn join(&self, cluster: Cluster) {
        *self.cluster.write() = Some(Arc::new(cluster));
    }

    /// From here on, reads that need other nodes are refused: this node's rows are not all there are.
    pub fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
        *self.cluster.write() = None;
    }

    /// The way to the other nodes; none on a node that was never among any.
    ///
    /// # Errors
    /// `QUERY_INCOMPLETE` where this node has left them.
    fn others(&self) -> Result<Option<Arc<Cluster>>> {
        let cluster = self.cluster();
        if cluster.is_none() && self.has_left.load(Ordering::SeqCst) {
            let what = "the node is stopping, and does not know what others have: ask another";
            return Err(Error::new(Code::QueryIncomplete, what));
        }
        Ok(cluster)
    }

    /// Whether this node's rows may not be all there are.
    fn is_part(&self) -> bool {
        !matches!(self.others(), Ok(None))
    }

    /// Whether reads gather what other nodes have.
    pub fn is_joined(&self) -> bool {
        self.cluster.read().is_some()
    }

    /// Every table, for the query engine.
    pub fn sources(self: &Arc<Self>) -> Vec<Arc<dyn TableSource>> {
        let source = |table| -> Arc<dyn TableSource> {
            Arc::new(ReadSource {
                table,
                own: Source::new(table, Arc::clone(&self.live), self.tables.clone()),
                reads: Arc::clone(self),
            })
        };
        Table::ALL.map(source).into()
    }

    /// What answers other nodes.
    pub fn server(&self) -> LiveServer {
        self.server.clone()
    }

    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.read().clone()
    }

    /// Counts what a read gathers.
    async fn counted(
        &self,
        level: &'static str,
        gathering: impl Future<Output = Result<Capture>>,
    ) -> Result<Capture> {
        let started = Instant::now();
        let gathered = gathering.await;
        let outcome = match &gathered {
            Ok(capture) if capture.missing.is_empty() => "ok",
            Ok(_) => "partial",
            Err(_) => "failed",
        };
        let gathers = &self.metrics.gathers;
        gathers.get_or_create(&vec![("outcome", outcome)]).inc();
        let seconds = self
            .metrics
            .gather_seconds
            .get_or_create(&vec![("level", level)]);
        seconds.observe(started.elapsed().as_secs_f64());
        gathered
    }

    /// Whether rows of this node, and the files that are known here, cover a token for a table.
    fn covers(&self, table: Table, token: &Session) -> bool {
        let snapshot = self.tables.handle(table).snapshot();
        let is_known = |version: &i64| *version <= snapshot.version;
        if !token.versions.get(&table).is_none_or(is_known) {
            return false;
        }
        let whole = self.live.whole();
        token.positions().all(|position| {
            let mut own = whole.iter().filter(|own| own.stream == position.stream);
            own.any(|own| own.sequence >= position.sequence) || snapshot.covers(position)
        })
    }
}

/// One table.
struct ReadSource {
    table: Table,
    own: Source,
    reads: Arc<Reads>,
}

impl TableSource for ReadSource {
    fn table(&self) -> Table {
        self.table
    }

    fn schema(&self) -> SchemaRef {
        schema::schema(self.table)
    }

    fn capture(&self, consistency: &Consistency) -> Result<Capture> {
        match consistency {
            Consistency::Eventual => self.own.capture(consistency),
            _ if self.reads.others()?.is_none() => self.own.capture(consistency),
            Consistency::Session(token) if self.reads.covers(self.table, token) => {
                let mut capture = self.own.capture(&Consistency::Strong)?;
                capture.seen.merge(token);
                Ok(capture)
            }
            // What else a token names this node cannot tell by itself.
            Consistency::Session(_) => self.own.capture(consistency),
            Consistency::Strong => {
                let message = "rows of other nodes have to be gathered first";
                Err(Error::new(Code::Internal, message))
            }
        }
    }

    fn moment(&self, consistency: &Consistency) -> Result<Option<Moment>> {
        // What other nodes acknowledge is not known here.
        if *consistency != Consistency::Eventual && self.reads.is_part() {
            return Ok(None);
        }
        self.own.moment(consistency)
    }

    fn gathers(&self, consistency: &Consistency) -> bool {
        match consistency {
            Consistency::Eventual => false,
            Consistency::Strong => self.reads.is_part(),
            Consistency::Session(token) => {
                let is_shared = || {
                    let handle = self.reads.tables.handle(self.table);
                    handle.sharing() == Sharing::Shared
                };
                (self.reads.is_part() || is_shared()) && !self.reads.covers(self.table, token)
            }
        }
    }

    fn gather<'a>(&'a self, consistency: &'a Consistency, wanted: &'a Wanted) -> Gathering<'a> {
        Box::pin(async move {
            if *consistency == Consistency::Eventual {
                return self.own.capture(consistency);
            }
            match (self.reads.others()?, consistency) {
                (Some(cluster), Consistency::Strong) => {
                    let gathering = self.reads.strong(&cluster, self.table, wanted);
                    self.reads.counted("strong", gathering).await
                }
                (Some(cluster), Consistency::Session(token)) => {
                    let gathering = self.reads.session(&cluster, self.table, token, wanted);
                    self.reads.counted("session", gathering).await
                }
                _ => {
                    // Nobody can be asked, but the files may have moved on.
                    self.reads.tables.handle(self.table).refresh().await?;
                    self.own.capture(consistency)
                }
            }
        })
    }
}
