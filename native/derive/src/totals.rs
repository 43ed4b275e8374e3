//! Spans and edges to sums, by series and interval.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::fast::{FixedState, RandomState};

use crate::DeriveConfig;
use crate::attribute;
use crate::edge::{Connection, Edge};
use crate::limiter::Limiter;
use crate::spans::Spans;

/// The trace that an exemplar shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Example {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
}

/// A histogram of durations, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Durations {
    pub(crate) count: u64,
    pub(crate) sum: u128,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// One more than there are bounds.
    pub(crate) buckets: Vec<u64>,
    /// Of the longest.
    pub(crate) example: Example,
}

impl Durations {
    fn new(bounds: usize) -> Durations {
        Durations {
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
            buckets: vec![0; bounds + 1],
            example: Example::default(),
        }
    }

    #[inline]
    fn add(&mut self, duration: u64, bounds: &[u64], example: impl FnOnce() -> Example) {
        let bucket = bounds.partition_point(|bound| *bound < duration);
        self.buckets[bucket] += 1;
        if duration > self.max || self.count == 0 {
            self.example = example();
        }
        self.count += 1;
        self.sum += u128::from(duration);
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }
}

/// A series of calls, in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calls<'a> {
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) service: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) kind: i32,
    pub(crate) status: i32,
    /// The values of `DeriveConfig::dimensions`.
    pub(crate) dimensions: Vec<Option<Cow<'a, str>>>,
    /// The end of the interval, in nanoseconds since 1970.
    pub(crate) time: i64,
}

/// A series of edges, in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Between<'a> {
    pub(crate) tenant: Cow<'a, str>,
    pub(crate) client: Cow<'a, str>,
    pub(crate) server: Cow<'a, str>,
    pub(crate) connection: Connection,
    /// As that of calls.
    pub(crate) time: i64,
}

/// What edges of one series come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EdgeTotal {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) client: Durations,
    pub(crate) server: Durations,
}

/// A tenant's overflow series in one interval: what its limit has left out of all others.
pub(crate) type Overflow = (String, i64);

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) calls: Vec<(Calls<'static>, Durations)>,
    pub(crate) edges: Vec<(Between<'static>, EdgeTotal)>,
    pub(crate) other_calls: Vec<(Overflow, Durations)>,
    pub(crate) other_edges: Vec<(Overflow, EdgeTotal)>,
}

impl Totals {
    /// Spans and edges that have no series of their own.
    pub(crate) fn left_out(&self) -> (u64, u64) {
        (
            self.other_calls.iter().map(|(_, total)| total.count).sum(),
            self.other_edges
                .iter()
                .map(|(_, total)| total.requests)
                .sum(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.edges.is_empty()
            && self.other_calls.is_empty()
            && self.other_edges.is_empty()
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Totals by key, each in the place where it was first seen.
struct By<K, T> {
    places: HashMap<K, Place, RandomState>,
    own: Vec<T>,
    others: HashMap<Overflow, T>,
}

/// Where a key counts.
enum Place {
    Own(usize),
    Overflow(Overflow),
}

impl<K: Eq + Hash, T: Clone> By<K, T> {
    fn new() -> By<K, T> {
        By {
            places: HashMap::default(),
            own: Vec::new(),
            others: HashMap::new(),
        }
    }

    #[inline]
    fn of(&mut self, key: K, zero: &T, place: impl FnOnce(&K) -> Option<Overflow>) -> &mut T {
        let own = &mut self.own;
        let place = self.places.entry(key).or_insert_with_key(|key| {
            place(key).map_or_else(
                || {
                    own.push(zero.clone());
                    Place::Own(own.len() - 1)
                },
                Place::Overflow,
            )
        });
        match place {
            Place::Own(at) => &mut self.own[*at],
            Place::Overflow(of) => match self.others.contains_key(of) {
                true => self.others.get_mut(of).expect("it is there"),
                false => self.others.entry(of.clone()).or_insert(zero.clone()),
            },
        }
    }
}

/// Adds up one flush.
pub(crate) struct Adding<'a> {
    config: &'a DeriveConfig,
    bounds: Vec<u64>,
    interval: i64,
    limiter: &'a mut Limiter,
    now: Duration,
    calls: By<Calls<'a>, Durations>,
    edges: By<Between<'a>, EdgeTotal>,
    zero: Durations,
    zero_edge: EdgeTotal,
}

/// What tells series apart, whatever the interval.
fn series_of(key: impl Hash) -> u64 {
    FixedState::with_seed(0).hash_one(key)
}

impl<'a> Adding<'a> {
    pub(crate) fn new(
        config: &'a DeriveConfig,
        limiter: &'a mut Limiter,
        now: Duration,
    ) -> Adding<'a> {
        let nanos = |seconds: &f64| (seconds * 1e9).round() as u64;
        let zero = Durations::new(config.bounds.len());
        Adding {
            config,
            bounds: config.bounds.iter().map(nanos).collect(),
            interval: i64::try_from(config.interval_ms.saturating_mul(1_000_000))
                .unwrap_or(i64::MAX)
                .max(1),
            limiter,
            now,
            calls: By::new(),
            edges: By::new(),
            zero_edge: EdgeTotal {
                requests: 0,
                failed: 0,
                client: zero.clone(),
                server: zero.clone(),
            },
            zero,
        }
    }

    /// The end of the interval that a time is in.
    fn end(&self, time: i64) -> i64 {
        let start = time.div_euclid(self.interval) * self.interval;
        start.saturating_add(self.interval)
    }

    /// Adds the spans of one batch.
    pub(crate) fn spans(&mut self, spans: &Spans<'a>, tenant: &'a str) {
        let mut inherited = Vec::new();
        for row in 0..spans.len() {
            let mut dimensions = Vec::new();
            if !self.config.dimensions.is_empty() {
                let keys = &self.config.dimensions;
                attribute::find(spans.attributes(row), keys, &mut dimensions);
                if dimensions.contains(&None) {
                    attribute::find(spans.resource(row), keys, &mut inherited);
                    for (own, inherited) in dimensions.iter_mut().zip(inherited.drain(..)) {
                        *own = own.take().or(inherited);
                    }
                }
            }
            let time = self.end(spans.time(row));
            let key = Calls {
                tenant: Cow::Borrowed(tenant),
                service: Cow::Borrowed(spans.service(row)),
                name: Cow::Borrowed(spans.name(row)),
                kind: spans.kind(row),
                status: spans.status(row),
                dimensions,
                time,
            };
            let (limiter, now) = (&mut *self.limiter, self.now);
            let total = self.calls.of(key, &self.zero, |key| {
                let labels = (
                    &key.service,
                    &key.name,
                    key.kind,
                    key.status,
                    &key.dimensions,
                );
                let is_admitted = limiter.admits(tenant, series_of((0, labels)), now);
                (!is_admitted).then(|| (tenant.to_owned(), time))
            });
            total.add(spans.duration(row), &self.bounds, || Example {
                trace: spans.trace_id(row),
                span: spans.span_id(row),
                time: spans.time(row),
            });
        }
    }

    /// Adds an edge.
    pub(crate) fn edge(&mut self, edge: &'a Edge) {
        let time = self.end(edge.time);
        let key = Between {
            tenant: Cow::Borrowed(&edge.tenant),
            client: Cow::Borrowed(&edge.client),
            server: Cow::Borrowed(&edge.server),
            connection: edge.connection,
            time,
        };
        let (limiter, now) = (&mut *self.limiter, self.now);
        let total = self.edges.of(key, &self.zero_edge, |key| {
            let labels = (&key.client, &key.server, key.connection);
            let is_admitted = limiter.admits(&edge.tenant, series_of((1, labels)), now);
            (!is_admitted).then(|| (edge.tenant.to_string(), time))
        });
        total.requests += 1;
        total.failed += u64::from(edge.failed);
        let example = || Example {
            trace: edge.trace,
            span: edge.span,
            time: edge.time,
        };
        for (durations, duration) in [
            (&mut total.client, edge.client_ns),
            (&mut total.server, edge.server_ns),
        ] {
            if let Some(duration) = duration {
                durations.add(duration, &self.bounds, example);
            }
        }
    }

    /// The sums, in the order in which their series were first seen.
    pub(crate) fn finish(self) -> Totals {
        let mut calls: Vec<Option<Durations>> = self.calls.own.into_iter().map(Some).collect();
        let mut edges: Vec<Option<EdgeTotal>> = self.edges.own.into_iter().map(Some).collect();
        let mut totals = Totals {
            other_calls: self.calls.others.into_iter().collect(),
            other_edges: self.edges.others.into_iter().collect(),
            ..Totals::default()
        };
        for (key, place) in self.calls.places {
            let Place::Own(at) = place else { continue };
            let key = Calls {
                tenant: owned(key.tenant),
                service: owned(key.service),
                name: owned(key.name),
                kind: key.kind,
                status: key.status,
                dimensions: key.dimensions.into_iter().map(|of| of.map(owned)).collect(),
                time: key.time,
            };
            totals
                .calls
                .extend(calls[at].take().map(|total| (key, total)));
        }
        for (key, place) in self.edges.places {
            let Place::Own(at) = place else { continue };
            let key = Between {
                tenant: owned(key.tenant),
                client: owned(key.client),
                server: owned(key.server),
                connection: key.connection,
                time: key.time,
            };
            totals
                .edges
                .extend(edges[at].take().map(|total| (key, total)));
        }
        totals
    }
}
