//! What of a span can be an edge, or a half of one.

use std::borrow::Cow;
use std::sync::Arc;

use otlake_base::{Position, Result};

use crate::attribute;
use crate::edge::{Connection, Edge, Written};
use crate::spans::{CLIENT, CONSUMER, PRODUCER, SERVER, Spans};

/// The client of a request that came from outside.
const OUTSIDE: &str = "user";
/// Attributes whose presence makes a client span a call of a database, which sends no spans.
const DATABASE: &str = "db.";
const DATABASE_NAMES: [&str; 4] = ["system.name", "system", "namespace", "name"];
/// What names a database, the first that a span has, as in Tempo; and the port of the address.
const DATABASE_PEERS: [&str; 8] = [
    "peer.service",
    "server.address",
    "network.peer.address",
    "db.namespace",
    "db.name",
    "db.system.name",
    "db.system",
    PORT,
];
const ADDRESS: usize = 2;
const PORT: &str = "network.peer.port";

/// What the two halves of an edge have in common: the client's span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) tenant: Arc<str>,
    pub(crate) trace: [u8; 16],
    /// The id of the client's span, which is the parent of the server's.
    pub(crate) client: [u8; 8],
}

/// Who calls, or who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A span that is half of an edge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Half {
    pub(crate) call: Call,
    pub(crate) side: Side,
    /// The batch that it is in.
    pub(crate) position: Position,
    pub(crate) service: Box<str>,
    pub(crate) span: [u8; 8],
    pub(crate) connection: Connection,
    pub(crate) failed: bool,
    /// Nanoseconds.
    pub(crate) duration: u64,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// Of a client: whom it says that it calls.
    pub(crate) peer: Option<Box<str>>,
}

impl Half {
    /// The edge of a client and its server; none where both are one service.
    pub(crate) fn paired(client: Half, server: Half) -> Option<Edge> {
        if client.service == server.service {
            return None;
        }
        let messaging = [client.connection, server.connection].contains(&Connection::Messaging);
        Some(Edge {
            connection: match messaging {
                true => Connection::Messaging,
                false => Connection::Direct,
            },
            failed: client.failed || server.failed,
            client_ns: Some(client.duration),
            server_ns: Some(server.duration),
            time: server.time,
            trace: server.call.trace,
            span: server.span,
            written: Written::Both(client.position, server.position),
            tenant: client.call.tenant,
            client: client.service,
            server: server.service,
        })
    }

    /// The edge of a client whose server sends no spans, if it says whom it called.
    pub(crate) fn alone(self) -> Option<Edge> {
        let server = self.peer?;
        Some(Edge {
            connection: match self.connection {
                Connection::Messaging => Connection::Messaging,
                _ => Connection::Virtual,
            },
            failed: self.failed,
            client_ns: Some(self.duration),
            server_ns: None,
            time: self.time,
            trace: self.call.trace,
            span: self.span,
            written: Written::Alone(self.position),
            tenant: self.call.tenant,
            client: self.service,
            server,
        })
    }
}

/// What a batch has.
#[derive(Default)]
pub(crate) struct Found {
    /// Edges that one span tells by itself.
    pub(crate) edges: Vec<Edge>,
    /// In the order of the rows.
    pub(crate) halves: Vec<Half>,
}

/// Looks for edges in the spans of one batch.
pub(crate) fn find(
    spans: &Spans<'_>,
    tenant: &Arc<str>,
    position: Position,
    peers: &[String],
    found: &mut Found,
) {
    let mut values = Vec::new();
    for row in 0..spans.len() {
        let kind = spans.kind(row);
        if !matches!(kind, SERVER | CLIENT | PRODUCER | CONSUMER) {
            continue;
        }
        let half = |side, client: [u8; 8], peer| Half {
            call: Call {
                tenant: Arc::clone(tenant),
                trace: spans.trace_id(row),
                client,
            },
            side,
            position,
            service: spans.service(row).into(),
            span: spans.span_id(row),
            connection: match kind {
                PRODUCER | CONSUMER => Connection::Messaging,
                _ => Connection::Direct,
            },
            failed: spans.failed(row),
            duration: spans.duration(row),
            time: spans.time(row),
            peer,
        };
        let json = spans.attributes(row);
        let mut peer = || peer_of(json, peers, &mut values);
        match (kind, spans.parent(row)) {
            (CLIENT, _) if is_database(json) => {
                let peer = database_of(json);
                let half = half(Side::Client, spans.span_id(row), peer);
                found.edges.extend(database(half));
            }
            (CLIENT | PRODUCER, _) => {
                let peer = peer();
                found
                    .halves
                    .push(half(Side::Client, spans.span_id(row), peer));
            }
            (_, Some(parent)) => found.halves.push(half(Side::Server, parent, None)),
            (SERVER, None) => {
                let half = half(Side::Server, [0; 8], None);
                found
                    .edges
                    .push(from(OUTSIDE.into(), half, Connection::Virtual));
            }
            (_, None) => {
                if let Some(queue) = peer() {
                    let half = half(Side::Server, [0; 8], None);
                    found.edges.push(from(queue, half, Connection::Messaging));
                }
            }
        }
    }
}

/// The edge of a server whose client sends no spans.
fn from(client: Box<str>, server: Half, connection: Connection) -> Edge {
    Edge {
        connection,
        failed: server.failed,
        client_ns: None,
        server_ns: Some(server.duration),
        time: server.time,
        trace: server.call.trace,
        span: server.span,
        written: Written::Once(server.position),
        tenant: server.call.tenant,
        client,
        server: server.service,
    }
}

/// A database's side of a call is told by the client's span, as Tempo does.
fn database(client: Half) -> Option<Edge> {
    let (position, duration) = (client.position, client.duration);
    let edge = client.alone()?;
    Some(Edge {
        connection: Connection::Database,
        server_ns: Some(duration),
        written: Written::Once(position),
        ..edge
    })
}

fn is_database(json: &str) -> bool {
    // Most spans have nothing of a database, and this is told without a walk.
    json.contains("\"db.")
        && attribute::entries(json).any(|(key, value)| {
            let name = key.strip_prefix(DATABASE);
            name.is_some_and(|name| DATABASE_NAMES.contains(&name))
                && attribute::label(value).is_some()
        })
}

/// The name of a database, as [`DATABASE_PEERS`] has it.
fn database_of(json: &str) -> Option<Box<str>> {
    let mut values = Vec::new();
    attribute::find(json, &DATABASE_PEERS, &mut values);
    let port = values.pop().flatten();
    let at = values.iter().position(Option::is_some)?;
    let name = values.swap_remove(at)?.into_owned();
    Some(match port.filter(|_| at == ADDRESS) {
        Some(port) => format!("{name}:{port}").into(),
        None => name.into(),
    })
}

fn peer_of<'a>(
    json: &'a str,
    peers: &[String],
    values: &mut Vec<Option<Cow<'a, str>>>,
) -> Option<Box<str>> {
    attribute::find(json, peers, values);
    let first = values.drain(..).flatten().next();
    first.map(|value| value.into_owned().into_boxed_str())
}

/// Every batch's edges and halves, in their order.
pub(crate) fn find_all<'a>(
    batches: impl Iterator<Item = (&'a arrow::array::RecordBatch, &'a Arc<str>, Position)>,
    peers: &[String],
) -> Result<Found> {
    let mut found = Found::default();
    for (rows, tenant, position) in batches {
        find(&Spans::of(rows)?, tenant, position, peers, &mut found);
    }
    Ok(found)
}
