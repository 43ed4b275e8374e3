//! The gateway: a request goes, slice by slice, to the owners of its records.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use otlake_base::limits::ROUTE_MAX_BYTES;
use otlake_base::{Budget, Clock, Code, Error, Metrics, Reservation, Result, Signal};
use otlake_decode::slice::{self, MARK_BYTES, request_hash};
use otlake_peer::{MAX_MESSAGE_BYTES, Peers};
use otlake_receive::{Ack, Ingest};
use parking_lot::RwLock;

use crate::count::records;
use crate::lane::Lanes;
use crate::outcome::{Ended, join, was_not_judged};
use crate::owners::{LOCAL, OwnerIndex, Owners};
use crate::parcel::{head, read_answer};
use crate::shard::SHARDS;
use crate::split::{Plan, plan};

/// Requests below this many bytes are split on the worker that received them: it takes less than a
/// millisecond, and handing the work over would cost more than it frees.
const INLINE_BYTES: usize = 1024 * 1024;

/// Who owns what, and who is there.
pub struct View {
    /// Who owns what, by this node's account.
    pub owners: Owners,
    /// The nodes that can be sent to. What others own stays on this node.
    pub alive: HashSet<Arc<str>>,
}

/// Sends each record of a request to its owner, and answers when all are stored.
///
/// Success means that every slice is durable where it went, as the local port says it of its own
/// (I1). A passing fault of any of them is the whole request's: the client sends all of it again,
/// and what is stored already is told by its owner, because the same request gives the same slices
/// (I3). A slice that its owner refuses for good, while others are stored, is told as so many
/// rejected records.
pub struct Gateway {
    local: Arc<dyn Ingest>,
    name: Arc<str>,
    lanes: Lanes,
    view: RwLock<Arc<View>>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl Gateway {
    /// A gateway in front of the node's own storage, which owns everything until `place`.
    pub fn new(
        local: Arc<dyn Ingest>,
        peers: Arc<Peers>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Gateway>> {
        Self::with_budget(ROUTE_MAX_BYTES, local, peers, clock, metrics)
    }

    /// The same with `max` bytes in flight to other nodes.
    pub(crate) fn with_budget(
        max: usize,
        local: Arc<dyn Ingest>,
        peers: Arc<Peers>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Gateway>> {
        let own = peers.name().clone();
        let shards = SHARDS.map(|shards| vec![own.clone(); shards]);
        let alone = View {
            owners: Owners::new(own.clone(), shards, &[], std::slice::from_ref(&own))?,
            alive: HashSet::from([own.clone()]),
        };
        let gauge = metrics.peers.routing_bytes.clone();
        Ok(Arc::new(Gateway {
            local,
            name: own,
            lanes: Lanes::new(peers, clock.clone(), metrics.clone()),
            view: RwLock::new(Arc::new(alone)),
            budget: Budget::measured(max, clock, gauge, metrics.clone()),
            metrics,
        }))
    }

    /// Who owns what from now on. Requests that are under way end as they began.
    pub fn place(&self, view: View) {
        let view = Arc::new(view);
        *self.view.write() = view.clone();
        self.lanes.keep(|node| view.alive.contains(node));
    }

    async fn route(&self, view: Arc<View>, request: Request) -> Result<Ack> {
        let parts = if request.body.len() < INLINE_BYTES {
            self.parts(&view, &request)?
        } else {
            // A worker that walked and copied all this would hold up what else it serves.
            let (own, view, request) = (self.splitting(), view.clone(), request.clone());
            let work = move || own.parts(&view, &request);
            tokio::task::spawn_blocking(work).await.map_err(|error| {
                Error::new(Code::Internal, format!("splitting ended: {error}"))
            })??
        };
        if let [Part { to: None, .. }] = &parts.parts[..] {
            return self.store(&request, request.body.clone()).await;
        }
        let ended = parts
            .parts
            .into_iter()
            .map(|part| self.part(&request, part));
        let ended = join_all(ended).await;
        drop(parts.reserved);
        join(ended)
    }

    /// What is done with each part, and how it ended.
    async fn part(&self, request: &Request, part: Part) -> Ended {
        let Some(node) = part.to else {
            let result = self.store(request, part.body.clone()).await;
            let lost = match &result {
                Ok(_) => 0,
                Err(_) => records(request.signal, &part.body),
            };
            return Ended {
                node: self.name.clone(),
                result,
                records: lost,
            };
        };
        let sent = self.lanes.send(&node, part.body.clone());
        let result = sent.await.and_then(read_answer);
        let mut lost = 0;
        if let Err(error) = &result {
            if was_not_judged(error) {
                self.count(request, error);
            }
            lost = records(request.signal, &part.body[part.head..]);
        }
        Ended {
            node,
            result,
            records: lost,
        }
    }

    fn store(&self, request: &Request, body: Bytes) -> BoxFuture<'_, Result<Ack>> {
        let Request {
            signal,
            transport,
            connection,
            ..
        } = *request;
        self.local
            .ingest(signal, request.tenant.clone(), transport, connection, body)
    }

    /// Counts a slice that no owner has counted.
    fn count(&self, request: &Request, error: &Error) {
        self.metrics.refused(request.signal, error.code);
        let labels = vec![
            ("signal", request.signal.name()),
            ("transport", request.transport),
            ("outcome", "unavailable"),
        ];
        self.metrics.requests.get_or_create(&labels).inc();
    }

    fn parts(&self, view: &View, request: &Request) -> Result<Parts> {
        self.splitting().parts(view, request)
    }

    fn splitting(&self) -> Splitting {
        Splitting {
            budget: self.budget.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl Ingest for Gateway {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        let view = self.view.read().clone();
        let body = slice::whole(&tenant, body);
        if view.owners.is_alone() {
            return self
                .local
                .ingest(signal, tenant, transport, connection, body);
        }
        let request = Request {
            signal,
            tenant,
            transport,
            connection,
            body,
        };
        self.route(view, request).boxed()
    }
}

/// A request as it came.
#[derive(Clone)]
struct Request {
    signal: Signal,
    tenant: Arc<str>,
    transport: &'static str,
    connection: u64,
    body: Bytes,
}

/// What goes to one node.
struct Part {
    /// None for this node.
    to: Option<Arc<str>>,
    /// The slice, behind its head where it goes to another node.
    body: Bytes,
    /// The head's length.
    head: usize,
}

struct Parts {
    parts: Vec<Part>,
    /// The bytes that go to other nodes.
    reserved: Option<Reservation>,
}

/// What splitting needs of the gateway.
struct Splitting {
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl Splitting {
    /// # Errors
    /// `INGEST_OVERLOADED` where too much is in flight to other nodes; nothing was sent then.
    fn parts(&self, view: &View, request: &Request) -> Result<Parts> {
        let Request { signal, body, .. } = request;
        let planned = plan(*signal, body, &view.owners);
        let head = head(
            *signal,
            &request.tenant,
            request.transport,
            request.connection,
        );
        // What is too large for a message stays here: it could never be sent.
        let goes_to = |owner: OwnerIndex, length: usize| {
            let name = view.owners.name(owner);
            let fits = head.len() + length <= MAX_MESSAGE_BYTES;
            (owner != LOCAL && fits && view.alive.contains(name)).then(|| name.clone())
        };
        let own = |body| Part {
            to: None,
            body,
            head: 0,
        };
        let sent = |to, body| Part {
            to: Some(to),
            body,
            head: head.len(),
        };
        match planned {
            Plan::Whole(owner) => {
                let to = goes_to(owner, body.len());
                self.count(*signal, owner, to.is_some());
                let Some(to) = to else {
                    return Ok(Parts {
                        parts: vec![own(body.clone())],
                        reserved: None,
                    });
                };
                let reserved = self.reserve(request, head.len() + body.len())?;
                let body = Bytes::from([&head[..], &body[..]].concat());
                Ok(Parts {
                    parts: vec![sent(to, body)],
                    reserved: Some(reserved),
                })
            }
            Plan::Slices(slices, layouts) => {
                let to_others = layouts
                    .iter()
                    .filter(|layout| goes_to(layout.owner, layout.length).is_some());
                let around = head.len() + MARK_BYTES;
                let bytes = to_others.map(|layout| layout.length + around).sum();
                let reserved = self.reserve(request, bytes)?;
                let named = Some(request_hash(&request.tenant, body));
                let mut parts: Vec<Part> = layouts
                    .iter()
                    .map(|layout| {
                        let to = goes_to(layout.owner, layout.length);
                        self.count(*signal, layout.owner, to.is_some());
                        match to {
                            Some(to) => sent(to, slices.build(body, layout, &head, named)),
                            None => own(slices.build(body, layout, &[], named)),
                        }
                    })
                    .collect();
                // What others do takes its time while this node decodes its own.
                parts.sort_by_key(|part| part.to.is_none());
                Ok(Parts {
                    parts,
                    reserved: Some(reserved),
                })
            }
        }
    }

    fn reserve(&self, request: &Request, bytes: usize) -> Result<Reservation> {
        let claim = self.budget.claim(&request.tenant, Some(request.connection));
        self.budget.try_reserve_for(claim, bytes).ok_or_else(|| {
            let error = Error::new(
                Code::IngestOverloaded,
                "too much is in flight to the nodes that own it",
            );
            self.metrics.refused(request.signal, error.code);
            error
        })
    }

    fn count(&self, signal: Signal, owner: OwnerIndex, is_sent: bool) {
        let place = match (owner, is_sent) {
            (LOCAL, _) => "own",
            (_, true) => "sent",
            (_, false) => "kept",
        };
        let labels = vec![("signal", signal.name()), ("place", place)];
        self.metrics.peers.slices.get_or_create(&labels).inc();
    }
}
