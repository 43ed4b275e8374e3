//! What the connections between nodes count, and what goes over them. Nearly all appear with the
//! first connection, so a node without a cluster does not tell them.

use std::collections::HashSet;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Labels;

/// Nodes that are told apart (I5); the figures of any further ones are told together, as `other`.
pub const MAX_PEERS_TOLD: usize = 64;

/// Label names with values that are known at run time only.
pub type PeerLabels = Vec<(&'static str, String)>;

/// Every figure of the connections between nodes. Each field is a handle.
pub struct PeerMetrics {
    /// Bytes of calls, answers and messages sent, by `peer`.
    pub sent: Family<PeerLabels, Counter>,
    /// Bytes of calls, answers and messages received, by `peer`.
    pub received: Family<PeerLabels, Counter>,
    /// Calls to other nodes that ended, by `peer` and `outcome` (ok or the error's kind).
    pub calls: Family<PeerLabels, Counter>,
    /// Calls and streams that other nodes began here, by `peer`.
    pub served: Family<PeerLabels, Counter>,
    /// Streams to other nodes that were opened, by `peer`.
    pub streams: Family<PeerLabels, Counter>,
    /// Open connections, by `peer` and `direction` (out, in).
    pub connections: Family<PeerLabels, Gauge>,
    /// Connections that could not be made or broke, by `peer`.
    pub connection_failures: Family<PeerLabels, Counter>,
    /// Connections that one of both sides refused, by `reason` (protocol, version, cluster, name,
    /// secret, stranger, full, timeout).
    pub refused: Family<Labels, Counter>,
    /// Slices of requests, by `signal` and `place` (own, sent, kept): this node's, sent to their
    /// owner, or of an owner that is not there.
    pub slices: Family<Labels, Counter>,
    /// Messages with slices, one or several, that were sent to their owner, by `peer`.
    pub slice_messages: Family<PeerLabels, Counter>,
    /// Bytes of slices in flight to their owners (I5).
    pub routing_bytes: Gauge,
    known: Mutex<HashSet<String>>,
}

impl PeerMetrics {
    /// Registers all.
    pub(crate) fn new(registry: &mut Registry) -> PeerMetrics {
        let sent = Family::<PeerLabels, Counter>::default();
        registry.register_with_unit(
            "peer_sent",
            "Bytes of calls, answers and messages sent to another node",
            Unit::Bytes,
            sent.clone(),
        );
        let received = Family::<PeerLabels, Counter>::default();
        registry.register_with_unit(
            "peer_received",
            "Bytes of calls, answers and messages received from another node",
            Unit::Bytes,
            received.clone(),
        );
        let calls = Family::<PeerLabels, Counter>::default();
        registry.register(
            "peer_calls",
            "Calls to another node that ended",
            calls.clone(),
        );
        let served = Family::<PeerLabels, Counter>::default();
        registry.register(
            "peer_served",
            "Calls and streams that another node began here",
            served.clone(),
        );
        let streams = Family::<PeerLabels, Counter>::default();
        registry.register(
            "peer_streams",
            "Streams to another node that were opened",
            streams.clone(),
        );
        let connections = Family::<PeerLabels, Gauge>::default();
        registry.register(
            "peer_connections",
            "Open connections between this node and another",
            connections.clone(),
        );
        let connection_failures = Family::<PeerLabels, Counter>::default();
        registry.register(
            "peer_connection_failures",
            "Connections to another node that could not be made or broke",
            connection_failures.clone(),
        );
        let refused = Family::<Labels, Counter>::default();
        registry.register(
            "peer_refused",
            "Connections between nodes that one of both refused",
            refused.clone(),
        );
        let slices = Family::<Labels, Counter>::default();
        registry.register(
            "slices",
            "Slices of OTLP requests by where they are stored",
            slices.clone(),
        );
        let slice_messages = Family::<PeerLabels, Counter>::default();
        registry.register(
            "slice_messages",
            "Messages with slices of OTLP requests sent to their owner",
            slice_messages.clone(),
        );
        let routing_bytes = Gauge::default();
        registry.register_with_unit(
            "routing",
            "Bytes of slices in flight to their owners (I5)",
            Unit::Bytes,
            routing_bytes.clone(),
        );
        PeerMetrics {
            sent,
            received,
            calls,
            served,
            streams,
            connections,
            connection_failures,
            refused,
            slices,
            slice_messages,
            routing_bytes,
            known: Mutex::default(),
        }
    }

    /// The label's value for the node with this name.
    pub fn told(&self, name: &str) -> String {
        let mut known = self.known.lock();
        if !known.contains(name) {
            if known.len() >= MAX_PEERS_TOLD {
                return "other".to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }

    /// Counts a connection that was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&vec![("reason", reason)]).inc();
    }
}
