//! What queries see: a table's live batches and files at one moment.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use otlake_base::invariant::Invariant;
use otlake_base::{
    Capture, Code, Consistency, Error, LiveRows, Moment, Position, Result, Session, Table,
    TableSource,
};
use otlake_catalog::{Catalog, DeltaTableHandle};
use otlake_decode::schema;

use crate::LiveSet;
use crate::seal::covers;

/// The handles of all tables, by table.
#[derive(Clone)]
pub struct Tables(Arc<[Arc<DeltaTableHandle>; 7]>);

impl Tables {
    /// The catalog's tables.
    pub fn of(catalog: &Catalog) -> Tables {
        Tables(Arc::new(Table::ALL.map(|table| catalog.table(table))))
    }

    /// One of them.
    pub fn handle(&self, table: Table) -> &Arc<DeltaTableHandle> {
        &self.0[table as usize]
    }
}

/// One table, captured from the live set and the newest snapshot.
pub struct Source {
    table: Table,
    live: Arc<LiveSet>,
    tables: Tables,
}

impl Source {
    /// The source of `table`.
    pub fn new(table: Table, live: Arc<LiveSet>, tables: Tables) -> Source {
        Source {
            table,
            live,
            tables,
        }
    }

    /// Whether everything up to the position was seen here: inserted since the start, or in
    /// the files of any table. Each batch reaches at least one table, so the highest watermark
    /// of a stream that has ended is its last batch in files.
    fn reached(&self, position: Position) -> bool {
        let live = self.live.last(position.stream);
        let in_files = || {
            let of = |table| {
                let snapshot = self.tables.handle(table).snapshot();
                snapshot.watermarks.get(&position.stream).copied()
            };
            Table::ALL.into_iter().filter_map(of).max()
        };
        position.sequence == 0
            || live.is_some_and(|last| position.sequence <= last)
            || in_files().is_some_and(|last| position.sequence <= last)
    }

    /// # Errors
    /// `QUERY_SESSION` for a token beyond what was seen here.
    fn check(&self, token: &Session) -> Result<()> {
        let refused = |what: &dyn std::fmt::Display| {
            let message = format!("this node has not reached `{what}`");
            Err(Error::new(Code::QuerySession, message))
        };
        if let Some(position) = token.positions().find(|position| !self.reached(*position)) {
            return refused(&position);
        }
        match token.versions.get(&self.table) {
            Some(version) if self.tables.handle(self.table).snapshot().version < *version => {
                refused(&format!("{}@{version}", self.table.name()))
            }
            _ => Ok(()),
        }
    }
}

impl TableSource for Source {
    fn table(&self) -> Table {
        self.table
    }

    fn schema(&self) -> SchemaRef {
        schema::schema(self.table)
    }

    fn capture(&self, consistency: &Consistency) -> Result<Capture> {
        // What was acknowledged before this moment must be in what is captured after it (I7).
        let newest = match consistency {
            Consistency::Eventual => None,
            Consistency::Strong | Consistency::Session(_) => self.live.newest(self.table),
        };
        let live = match consistency {
            Consistency::Eventual => Vec::new(),
            Consistency::Strong => self.live.capture(self.table),
            Consistency::Session(token) => {
                self.check(token)?;
                self.live.capture(self.table)
            }
        };
        // The snapshot comes second. A commit between the two is seen in the snapshot, and its
        // watermark drops the captured batches; the other way round its rows would be missed.
        let snapshot = self.tables.handle(self.table).snapshot();
        let is_captured = |position: Position| {
            let mut positions = live.iter().rev().map(|batch| batch.position);
            covers(&snapshot.watermarks, position) || positions.any(|of| of == position)
        };
        if newest.is_some_and(|position| !is_captured(position)) {
            self.live.metrics.violated(
                Invariant::I7StrongRead,
                "an acknowledged batch is neither live nor in files",
            );
        }
        let live = live
            .iter()
            .filter(|batch| !covers(&snapshot.watermarks, batch.position))
            .flat_map(|batch| batch.of(self.table))
            .map(|part| LiveRows {
                tenant: Arc::clone(&part.tenant),
                batch: part.rows.clone(),
            })
            .collect();
        let mut capture = Capture::new(live, Arc::clone(&snapshot.files), snapshot.root.clone());
        capture.seen.add_version(self.table, snapshot.version);
        if *consistency != Consistency::Eventual {
            for position in self.live.whole() {
                capture.seen.add(position);
            }
        }
        Ok(capture)
    }

    fn moment(&self, consistency: &Consistency) -> Result<Option<Moment>> {
        if let Consistency::Session(token) = consistency {
            self.check(token)?;
        }
        let newest = match consistency {
            Consistency::Eventual => None,
            Consistency::Strong | Consistency::Session(_) => self.live.newest(self.table),
        };
        let version = self.tables.handle(self.table).snapshot().version;
        Ok(Some(Moment { newest, version }))
    }
}
