//! What the servers are started with, and the port they hand requests to.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use otlake_base::{Result, Signal};

/// How the servers listen, and what they take.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Where to take OTLP/gRPC; None for nowhere. Port 0 is any free one.
    pub grpc: Option<SocketAddr>,
    /// Where to take OTLP/HTTP; None for nowhere.
    pub http: Option<SocketAddr>,
    /// Bytes of one request after decompression.
    pub max_request_bytes: usize,
    /// Bytes of all requests being received.
    pub max_in_flight_bytes: usize,
    /// Origins a browser may send from; `*` for any.
    pub cors_origins: Vec<String>,
    /// Who may send; empty for anyone.
    pub tokens: Vec<Token>,
    /// What a refused client is told to wait, in milliseconds.
    pub retry_after_ms: u64,
}

/// A bearer token, as its SHA-256, and the tenant it stands for.
#[derive(Clone, Debug)]
pub struct Token {
    /// SHA-256 of the token's bytes.
    pub sha256: [u8; 32],
    /// Whose data it sends.
    pub tenant: String,
}

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub struct Ack {
    /// Records that are durable (I1).
    pub accepted: u64,
    /// Records that were refused for good.
    pub rejected: u64,
    /// The first refusal.
    pub message: Option<String>,
    /// The session token that covers what was stored.
    pub session: Option<String>,
}

/// The port to storage.
pub trait Ingest: Send + Sync + 'static {
    /// Stores one protobuf request of `signal` that came over one of the receiver's
    /// connections; resolves when it is durable. It counts the request in the metrics, whatever
    /// becomes of it.
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>>;
}
