//! Nodes among each other: calls, and duplex streams of messages, over one authenticated HTTP/2
//! connection from each node to each other node.
//!
//! ```text
//!  connection = handshake (handshake.rs), then HTTP/2 without TLS
//!  call       = POST /call/{service}    body: the request        answer's body: the answer
//!  stream     = POST /stream/{service}  both bodies: messages, the first one there is the head
//!  message    = length, u32 little-endian | that many bytes
//!  headers    = otlake-timeout-us: what is left of the caller's deadline, in microseconds
//!               otlake-error: CODE kind, otlake-message: text   a service's error, in the answer's
//!               head, or behind the last message of a stream
//!               otlake-end: ok                                  a stream's end that was meant
//! ```
//!
//! Who may connect is settled before HTTP/2 begins: both sides prove that they have the cluster's
//! secret, by HMAC-SHA256 over fresh random bytes of both, both names and the cluster's. What
//! follows is neither encrypted nor signed: whoever can change packets on the way needs to be kept
//! off it by the network.
//!
//! Everything has a bound (I5): messages, calls and streams in flight, what a stream may hold for a
//! slow reader, connections, and time. At a bound a caller is told at once, with a code it can
//! retry; nothing waits in a queue without end. A message of up to `FRAME_BYTES` is not copied on
//! its way between socket and service.
//!
//! - `config.rs`: what the connections are started with, and every limit.
//! - `service.rs`: the ports that other crates implement, by name.
//! - `peers.rs`: the members, and the way to each.
//! - `link.rs`: the connection to one node: dialled on demand, with backoff; calls and streams.
//! - `server.rs`: listening, and what other nodes' connections are.
//! - `dispatch.rs`: one request of another node, from its head to its service's answer.
//! - `handshake.rs`: who is there.
//! - `stream.rs`: the two halves of a stream.
//! - `message.rs`: messages and errors on the wire.
//! - `connection.rs`: what both ends of a connection have in common: socket, HTTP/2, keepalive.
//! - `figures.rs`: what is counted of one node.

mod config;
mod connection;
mod dispatch;
mod figures;
mod handshake;
mod link;
mod message;
mod peers;
mod server;
mod service;
mod stream;

#[cfg(test)]
mod bench_test;
#[cfg(test)]
mod handshake_test;
#[cfg(test)]
mod message_test;
#[cfg(test)]
mod peers_test;
#[cfg(test)]
mod stream_test;
#[cfg(test)]
mod testing;

pub use config::{
    FRAME_BYTES, MAX_CALLS, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_STREAMS, PeerConfig,
    STREAM_WINDOW_BYTES,
};
pub use link::OnLost;
pub use message::{error_bytes, error_of};
pub use peers::Peers;
pub use service::{Service, Services, StreamService};
pub use stream::{Incoming, Outgoing};
