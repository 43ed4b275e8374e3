//! The OTLP servers: gRPC with framing of its own, and HTTP, both on hyper. Bytes go from the
//! socket to the port [`Ingest`] and never through JavaScript.
//!
//! Every request has bounds: connections, streams, headers, bytes of one request after
//! decompression, bytes of all requests being received, and time (I5). At a bound the client is
//! told to come again later, never left to guess.
//!
//! - `config.rs`: what the servers are started with, and the port they hand requests to.
//! - `server.rs`: listening, connections, stopping.
//! - `grpc.rs`, `http.rs`: the two transports, to the letter of OTLP 1.x.
//! - `body.rs`: receiving and decompressing within limits.
//! - `auth.rs`: who may send, and for which tenant.
//! - `session.rs`: what a client's session has covered so far.
//! - `status.rs`: an error in the words of each transport.

mod auth;
mod body;
mod config;
mod grpc;
mod http;
mod server;
mod session;
mod status;

#[cfg(test)]
mod bounds_test;
#[cfg(test)]
mod grpc_test;
#[cfg(test)]
mod http_test;
#[cfg(test)]
mod rules_test;
#[cfg(test)]
mod testing;

pub use config::{Ack, Ingest, ReceiverConfig, Token};
pub use server::Receiver;
