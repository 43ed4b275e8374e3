//! The state of a node between flushes: series that are known, and halves of edges that wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use otlake_base::metrics::by_table;
use otlake_base::{Clock, Metrics, Position, Result, StreamId, Table};
use parking_lot::Mutex;

use crate::half::{Half, find_all};
use crate::limiter::Limiter;
use crate::points;
use crate::prepared::{Watermarks, upto};
use crate::spans::Spans;
use crate::totals::{Adding, Totals};
use crate::waiting::{Most, Waiting};
use crate::{DeriveConfig, Prepared, SpanBatch};

/// Makes derived rows of what is flushed.
pub struct Deriver {
    config: DeriveConfig,
    wait: Duration,
    most: Most,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    limiter: Limiter,
    waiting: Waiting,
}

impl Deriver {
    /// With nothing known yet.
    pub fn new(config: DeriveConfig, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Deriver {
        Deriver {
            wait: Duration::from_millis(config.edge_wait_ms),
            most: Most {
                halves: config.max_waiting,
                bytes: config.max_kept_bytes,
            },
            state: Mutex::new(State {
                limiter: Limiter::new(config.max_series),
                waiting: Waiting::default(),
            }),
            config,
            clock,
            metrics,
        }
    }

    /// Whether halves of edges can wait, and log records for them.
    pub fn has_waiting(&self) -> bool {
        self.config.service_graph
    }

    /// Takes in what is flushed, in the order of the log. `tables` are the watermarks of every table
    /// with derived rows: what all of them have settled does not wait again. Where more of earlier
    /// starts `follows`, nothing has waited long enough: the other half may be in it.
    ///
    /// # Errors
    /// `INTERNAL` for rows that are no spans.
    pub fn prepare(
        &self,
        batches: Vec<SpanBatch>,
        tables: &[Watermarks],
        follows: bool,
    ) -> Result<Prepared> {
        let now = self.clock.monotonic();
        let mut prepared = Prepared {
            edges: Vec::new(),
            counted: HashMap::new(),
            settling: HashMap::new(),
            unpaired: 0,
            totals: None,
            batches,
        };
        for batch in &prepared.batches {
            let Position { stream, sequence } = batch.position;
            let last = prepared.counted.entry(stream).or_insert(0);
            *last = (*last).max(sequence);
        }
        let mut state = self.state.lock();
        state.limiter.sweep(now);
        if !self.config.service_graph {
            return Ok(prepared);
        }
        let peers = &self.config.peer_attributes;
        let spans = prepared.batches.iter().flat_map(|batch| {
            let spans = batch.spans.iter();
            spans.map(|(tenant, rows)| (rows, tenant, batch.position))
        });
        let found = find_all(spans, peers)?;
        prepared.edges = found.edges;
        let mut halves: HashMap<Position, Vec<Half>> = HashMap::new();
        for half in found.halves {
            halves.entry(half.position).or_default().push(half);
        }
        let (mut pairs, deadline) = (Vec::new(), now + self.wait);
        let settled = |stream: StreamId| {
            let of = tables.iter().map(|of| upto(of, stream.settled()));
            of.min().unwrap_or(0)
        };
        for batch in &prepared.batches {
            let position = batch.position;
            let mut halves = halves.remove(&position).unwrap_or_default();
            if state.waiting.has_seen(position) {
                continue;
            }
            state.waiting.keep(position, batch.bytes);
            if position.sequence <= settled(position.stream) {
                halves.clear();
            }
            state.waiting.feed(position, halves, deadline, &mut pairs);
        }
        let pairs = pairs.into_iter();
        prepared
            .edges
            .extend(pairs.filter_map(|(client, server)| Half::paired(client, server)));
        let overdue = if follows { Duration::ZERO } else { now };
        let (cut, alone) = state.waiting.settle(overdue, self.most);
        prepared.settling = cut;
        for half in alone {
            match half.alone() {
                Some(edge) => prepared.edges.push(edge),
                None => prepared.unpaired += 1,
            }
        }
        Ok(prepared)
    }

    /// The rows of one table that it does not hold, by its watermarks. Takes the processor for long.
    ///
    /// # Errors
    /// `INTERNAL` where rows are no spans, or points cannot be read back.
    pub fn rows(
        &self,
        prepared: &mut Prepared,
        table: Table,
        watermarks: &Watermarks,
    ) -> Result<Vec<RecordBatch>> {
        let started = self.clock.monotonic();
        let lacking = prepared.lacking(watermarks);
        let totals = match &prepared.totals {
            Some((of, totals)) if *of == lacking => Arc::clone(totals),
            _ => Arc::new(self.totals(prepared, &lacking.batches, &lacking.edges)?),
        };
        let rows = match totals.is_empty() {
            true => points::Rows::default(),
            false => points::rows(&totals, table, &self.config)?,
        };
        prepared.totals = Some((lacking, totals));
        let labels = by_table(table);
        let seconds = self.clock.monotonic().saturating_sub(started);
        self.metrics
            .derive
            .seconds
            .get_or_create(&labels)
            .observe(seconds.as_secs_f64());
        if rows.refused > 0 {
            let refused = vec![("reason", "refused"), ("of", "points")];
            let left_out = self.metrics.derive.left_out.get_or_create(&refused);
            left_out.inc_by(rows.refused);
        }
        Ok(rows.batches)
    }

    fn totals(&self, prepared: &Prepared, batches: &[bool], edges: &[bool]) -> Result<Totals> {
        let mut state = self.state.lock();
        let now = self.clock.monotonic();
        let mut adding = Adding::new(&self.config, &mut state.limiter, now);
        if self.config.span_metrics {
            let lacking = prepared.batches.iter().zip(batches);
            let lacking = lacking.filter(|(_, is_lacking)| **is_lacking);
            for (tenant, rows) in lacking.flat_map(|(batch, _)| &batch.spans) {
                adding.spans(&Spans::of(rows)?, tenant);
            }
        }
        for (edge, is_lacking) in prepared.edges.iter().zip(edges) {
            if *is_lacking {
                adding.edge(edge);
            }
        }
        Ok(adding.finish())
    }

    /// Every table holds what was prepared. Gives up to where the log may forget each stream, where
    /// halves of edges can wait.
    pub fn done(&self, prepared: &Prepared) -> Vec<Position> {
        let state = self.state.lock();
        let derive = &self.metrics.derive;
        if let Some((_, totals)) = &prepared.totals {
            let (spans, edges) = totals.left_out();
            for (of, count) in [("spans", spans), ("edges", edges)] {
                let labels = vec![("reason", "series"), ("of", of)];
                derive.left_out.get_or_create(&labels).inc_by(count);
            }
        }
        for (connection, count) in prepared.edges_by_name() {
            let labels = vec![("connection", connection)];
            derive.edges.get_or_create(&labels).inc_by(count);
        }
        derive.unpaired.inc_by(prepared.unpaired);
        derive.series.set(state.limiter.len() as i64);
        derive.waiting.set(state.waiting.len() as i64);
        let settled = prepared.settling.iter().map(|(stream, sequence)| Position {
            stream: *stream,
            sequence: *sequence,
        });
        settled.filter(|of| of.sequence > 0).collect()
    }

    /// How long until halves that wait are let go of, if nothing else is flushed; none where none wait.
    /// A little later than they could be, so that the flush which is due at that time has them, too.
    pub fn due_in(&self) -> Option<Duration> {
        let deadline = self.state.lock().waiting.deadline()? + self.wait / 2;
        Some(deadline.saturating_sub(self.clock.monotonic()))
    }

    /// Another node has taken a stream over.
    pub fn forget(&self, stream: StreamId) {
        self.state.lock().waiting.forget(stream);
    }
}
