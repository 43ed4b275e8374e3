//! Edges between services, and by which commit each is written.

use std::sync::Arc;

use otlake_base::{Position, StreamId};

/// What is at an edge's ends, as Tempo names it in `connection_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Connection {
    /// Two services; the label is absent.
    Direct,
    /// A producer, a queue or a consumer.
    Messaging,
    /// A service and a database.
    Database,
    /// A service and one that sends no spans.
    Virtual,
}

impl Connection {
    pub(crate) fn label(self) -> Option<&'static str> {
        match self {
            Connection::Direct => None,
            Connection::Messaging => Some("messaging_system"),
            Connection::Database => Some("database"),
            Connection::Virtual => Some("virtual_node"),
        }
    }

    /// The value of the label of a counter.
    pub(crate) fn name(self) -> &'static str {
        self.label().unwrap_or("direct")
    }
}

/// The batches that an edge is made of, which say by which commit of a table it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// By the one that covers its batch.
    Once(Position),
    /// By the one that first covers both: the client's, and the server's.
    Both(Position, Position),
    /// By the one that settles its batch: what waited there waits no longer.
    Alone(Position),
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) tenant: Arc<str>,
    pub(crate) client: Box<str>,
    pub(crate) server: Box<str>,
    pub(crate) connection: Connection,
    pub(crate) failed: bool,
    /// Nanoseconds that it took for the client, where that is known.
    pub(crate) client_ns: Option<u64>,
    /// Nanoseconds that it took for the server, where that is known.
    pub(crate) server_ns: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) written: Written,
}

impl Edge {
    /// Whether a table lacks it. `counted` and `settled` are the table's two watermarks of a stream.
    pub(crate) fn is_due(
        &self,
        counted: impl Fn(StreamId) -> u64,
        settled: impl Fn(StreamId) -> u64,
    ) -> bool {
        let is_counted = |of: &Position| of.sequence <= counted(of.stream);
        let is_settled = |of: &Position| of.sequence <= settled(of.stream);
        match &self.written {
            Written::Once(of) => !is_counted(of),
            // A client that is settled was told: with a server, or as the caller of a virtual node. A
            // server that is settled and whose client is not was not told.
            Written::Both(client, server) => {
                let is_told = is_counted(client) && is_counted(server);
                !(is_told || is_settled(client))
            }
            Written::Alone(of) => !is_settled(of),
        }
    }

    /// Whether it has a part in a stream.
    pub(crate) fn is_of(&self, stream: StreamId) -> bool {
        match &self.written {
            Written::Once(of) | Written::Alone(of) => of.stream == stream,
            Written::Both(one, other) => one.stream == stream || other.stream == stream,
        }
    }
}
