//! Traces of a shop: trees of calls between twenty services with three hundred operations, each request
//! drawn anew, so that attributes have as many values as production's and durations their long tail.
//!
//! ```text
//!  gateway --> storefront ... --> cart, checkout ... --> payment, pricing ... --> ledger
//!     a call is a client's span with a server's span below, and services ask their databases
//! ```
//!
//! What a request holds follows from the seed and its number alone. The times of all requests together
//! are spread evenly over a stretch that ends when the program starts.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status};
use prost::Message;

use crate::plan::{self, Plan, SERVICES};
use crate::random::{Random, mix};
use crate::template::{int, scope, text};

/// What `Operation::asks` names.
const DATABASES: [&str; plan::DATABASES as usize] = ["postgresql", "redis", "mongodb"];
const REGIONS: [&str; 3] = ["eu-central-1", "eu-west-1", "us-east-1"];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    "shop-android/7.4.1",
    "okhttp/4.12.0",
    "curl/8.9.1",
];
/// Instances of each service.
const PODS: usize = 3;
const HOSTS: u64 = 24;
const USERS: u64 = 1_000_000;
const ORDERS: u64 = 100_000_000;
/// Of a thousand, how often a call that an operation may make is made.
const CALLED: u64 = 600;
/// Of a thousand, how often what calls something that failed fails, too.
const PASSED_ON: u64 = 600;
/// One in so many works takes so many times as long.
const SLOW: u64 = 400;
const SLOWER: f64 = 40.0;
/// The spread of durations (the standard deviation of their logarithm).
const SPREAD: f64 = 0.8;
const NETWORK_NS: u64 = 150_000;
const MILLION: u64 = 1_000_000;

/// What a request holds.
#[derive(Clone, Default)]
pub struct Made {
    /// Spans of each service.
    pub spans: [u64; SERVICES],
    /// Those of them with an error.
    pub errors: [u64; SERVICES],
    pub traces: u64,
    /// Spans of its first trace.
    pub first_trace: u64,
}

impl Made {
    /// Adds what another request holds.
    pub fn add(&mut self, other: &Made) {
        for (sum, more) in self.spans.iter_mut().zip(other.spans) {
            *sum += more;
        }
        for (sum, more) in self.errors.iter_mut().zip(other.errors) {
            *sum += more;
        }
        self.traces += other.traces;
    }
}

/// Makes requests.
#[derive(Clone)]
pub struct Shop {
    plan: Arc<Plan>,
    seed: u64,
    records: usize,
    requests: u64,
    /// When the first span starts, and until when the last trace does; ns since 1970.
    pub from: u64,
    pub until: u64,
    body: Vec<u8>,
    /// What the last request that was filled holds.
    pub made: Made,
}

impl Shop {
    /// `requests` requests of `records` spans, over `over_ns` until `until`.
    pub fn new(seed: u64, records: usize, requests: u64, (over_ns, until): (u64, u64)) -> Shop {
        Shop {
            plan: Arc::new(Plan::new(seed)),
            seed: mix(seed),
            records,
            requests,
            from: until - over_ns,
            until,
            body: Vec::new(),
            made: Made::default(),
        }
    }

    /// The names of the services, in the order of `Made`.
    pub fn services(&self) -> &[&'static str] {
        &self.plan.services
    }

    /// Makes it request `number`.
    pub fn fill(&mut self, number: u64) {
        let mut writing = Writing {
            plan: &self.plan,
            random: self.random(number),
            trace_id: Vec::new(),
            user: 0,
            pods: (0..self.plan.services.len() * PODS)
                .map(|_| Vec::new())
                .collect(),
            left: self.records,
            made: Made::default(),
        };
        let share = (self.until - self.from) / self.requests.max(1);
        let start = self.from + share * number;
        while writing.left > 0 {
            writing.trace(start, share);
        }
        let Writing { pods, made, .. } = writing;
        let resource_spans = pods.into_iter().enumerate();
        let resource_spans = resource_spans.filter(|(_, spans)| !spans.is_empty());
        let resource_spans = resource_spans.map(|(pod, spans)| ResourceSpans {
            resource: Some(resource(self.plan.services[pod / PODS], pod)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope("io.opentelemetry.http", "2.1.0")),
                spans,
                schema_url: String::new(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.27.0".into(),
        });
        let request = ExportTraceServiceRequest {
            resource_spans: resource_spans.collect(),
        };
        self.made = made;
        self.body.clear();
        self.body.reserve(request.encoded_len());
        request.encode_raw(&mut self.body);
    }

    /// The encoded request.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The id of the first trace of request `number`, in hexadecimal.
    pub fn trace_id(&self, number: u64) -> String {
        let mut random = self.random(number);
        format!("{:016x}{:016x}", random.next(), random.next())
    }

    fn random(&self, number: u64) -> Random {
        Random::new(mix(self.seed ^ mix(number)))
    }
}

fn resource(service: &str, pod: usize) -> Resource {
    let id = mix(pod as u64);
    Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", format!("2.{}.1", id % 7)),
            text("service.namespace", "shop"),
            text("deployment.environment.name", "production"),
            text("k8s.pod.name", format!("{service}-{:05x}", id & 0xf_ffff)),
            text("host.name", format!("node-{}", id % HOSTS)),
            text("cloud.region", REGIONS[pod % PODS]),
            text("telemetry.sdk.language", "go"),
        ],
        ..Default::default()
    }
}

/// A request that is being made.
struct Writing<'a> {
    plan: &'a Plan,
    random: Random,
    trace_id: Vec<u8>,
    /// Whose trace it is.
    user: u64,
    /// Spans by the instance that made them.
    pods: Vec<Vec<Span>>,
    /// Spans that there is room for.
    left: usize,
    made: Made,
}

impl Writing<'_> {
    /// A trace that begins at some time within `share` from `start`.
    fn trace(&mut self, start: u64, share: u64) {
        let before = self.left;
        // The id comes first: `Shop::trace_id` draws the same.
        let id = [self.random.next(), self.random.next()];
        self.trace_id = id.map(u64::to_be_bytes).concat();
        self.user = self.random.below(USERS);
        let start = start + self.random.below(share.max(1));
        // A few operations have most of the traffic.
        let root = self.random.unit().powi(2) * self.plan.roots as f64;
        self.serve(root as usize, None, start);
        self.made.traces += 1;
        if self.made.traces == 1 {
            self.made.first_trace = (before - self.left) as u64;
        }
    }

    /// The span of a server; when it ends, and whether it failed.
    fn serve(&mut self, operation: usize, parent: Option<u64>, start: u64) -> (u64, bool) {
        let plan = self.plan;
        let served = &plan.operations[operation];
        self.left -= 1;
        let id = self.random.next();
        let work = self.duration(served.median_ns);
        let mut at = start + work / 2;
        let mut failed = self.random.below(MILLION) < served.fails;
        for call in &served.calls {
            // A call is two spans.
            if self.left < 2 || self.random.below(1000) >= CALLED {
                continue;
            }
            let (end, has_failed) = self.call(served.service, *call, id, at);
            at = end;
            failed |= has_failed && self.random.below(1000) < PASSED_ON;
        }
        for (database, noun) in &served.asks {
            if self.left > 0 {
                at = self.ask(served.service, (*database, noun), id, at);
            }
        }
        let end = at + work / 2;
        let mut attributes = vec![
            text("http.request.method", served.method),
            text("http.route", served.route.as_str()),
            int("http.response.status_code", if failed { 500 } else { 200 }),
            text(
                "url.path",
                served
                    .route
                    .replace("{id}", &self.random.below(MILLION).to_string()),
            ),
            text("network.protocol.version", "1.1"),
            int("thread.id", self.random.below(64)),
            int("http.response.body.size", self.random.below(20_000)),
        ];
        if parent.is_none() {
            let [a, b, c] = [256, 256, 256].map(|bound| self.random.below(bound));
            attributes.extend([
                text("enduser.id", format!("user-{:06}", self.user)),
                text("client.address", format!("10.{a}.{b}.{c}")),
                text("user_agent.original", AGENTS[(a % 6) as usize]),
                text("session.id", format!("{:016x}", self.random.next())),
            ]);
        }
        if plan.services[served.service] == "orders" {
            attributes.push(text("order.id", format!("o-{}", self.random.below(ORDERS))));
        }
        let mut events = Vec::new();
        if failed {
            events.push(Event {
                time_unix_nano: end,
                name: "exception".into(),
                attributes: vec![
                    text("exception.type", "shop.UpstreamError"),
                    text(
                        "exception.message",
                        format!("{} gave no answer", served.name),
                    ),
                ],
                ..Default::default()
            });
        }
        let span = Span {
            name: served.name.clone(),
            kind: SpanKind::Server as i32,
            attributes,
            events,
            ..self.span((id, parent), (start, end), failed)
        };
        self.push(served.service, span, failed);
        (end, failed)
    }

    /// The span of a client, and the server's that it calls.
    fn call(&mut self, caller: usize, operation: usize, parent: u64, start: u64) -> (u64, bool) {
        let plan = self.plan;
        let called = &plan.operations[operation];
        self.left -= 1;
        let id = self.random.next();
        let (end, failed) = self.serve(operation, Some(id), start + NETWORK_NS);
        let end = end + NETWORK_NS;
        let service = plan.services[called.service];
        let span = Span {
            name: called.method.into(),
            kind: SpanKind::Client as i32,
            attributes: vec![
                text("http.request.method", called.method),
                text("server.address", format!("{service}.shop.svc")),
                int("server.port", 8080),
                text("url.template", called.route.as_str()),
                int("http.response.status_code", if failed { 500 } else { 200 }),
                text("peer.service", service),
            ],
            ..self.span((id, Some(parent)), (start, end), failed)
        };
        self.push(caller, span, failed);
        (end, failed)
    }

    /// A question to a database; when it is answered.
    fn ask(&mut self, service: usize, what: (usize, &str), parent: u64, start: u64) -> u64 {
        let (database, noun) = what;
        self.left -= 1;
        let id = self.random.next();
        let end = start + self.duration(400_000.0);
        let span = Span {
            name: format!("SELECT {noun}"),
            kind: SpanKind::Client as i32,
            attributes: vec![
                text("db.system.name", DATABASES[database]),
                text("db.collection.name", noun),
                text(
                    "db.query.text",
                    format!("SELECT * FROM {noun} WHERE id = $1"),
                ),
                int("db.response.returned_rows", self.random.below(100)),
            ],
            ..self.span((id, Some(parent)), (start, end), false)
        };
        self.push(service, span, false);
        end
    }

    fn span(
        &self,
        (id, parent): (u64, Option<u64>),
        (start, end): (u64, u64),
        failed: bool,
    ) -> Span {
        let parent = parent.map(|id| id.to_be_bytes().to_vec());
        Span {
            trace_id: self.trace_id.clone(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: parent.unwrap_or_default(),
            flags: 1,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            status: failed.then(|| Status {
                message: "upstream failed".into(),
                code: status::StatusCode::Error as i32,
            }),
            ..Default::default()
        }
    }

    fn push(&mut self, service: usize, span: Span, failed: bool) {
        self.made.spans[service] += 1;
        self.made.errors[service] += u64::from(failed);
        // All of a trace's spans of a service are of one instance.
        let pod = self.user as usize % PODS;
        self.pods[service * PODS + pod].push(span);
    }

    /// A duration in ns, log-normal around its median, now and then much longer.
    fn duration(&mut self, median_ns: f64) -> u64 {
        let normal = self.random.normal();
        let slow = if self.random.below(SLOW) == 0 {
            SLOWER
        } else {
            1.0
        };
        (median_ns * slow * (SPREAD * normal).exp()) as u64 + 1000
    }
}
