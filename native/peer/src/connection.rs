//! What both ends of a connection have in common: socket, HTTP/2, keepalive.

use std::time::Duration;

use h2::{Ping, PingPong};
use otlake_base::{Code, Error};
use tokio::net::TcpStream;

use crate::config::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, HEADER_BYTES, MAX_CALLS, MAX_STREAMS, Pace,
    SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES,
};

/// Requests at once on one connection.
pub const MAX_REQUESTS: usize = MAX_CALLS + MAX_STREAMS;
/// Requests that were given up, of which late frames are still known.
const MAX_RESETS: usize = 2 * MAX_REQUESTS;
/// Frames of requests that are not known any more, before the connection is taken for an attack. A
/// node that refuses large calls causes them without end, and only members are connected.
const MAX_STRAY_FRAMES: Option<usize> = None;

/// Small messages must not wait for more to send.
pub fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

/// HTTP/2 on the side that dialled.
pub fn client() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .initial_max_send_streams(MAX_REQUESTS)
        .max_concurrent_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_STRAY_FRAMES)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .enable_push(false);
    builder
}

/// HTTP/2 on the side that was dialled.
pub fn server() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(MAX_REQUESTS as u32)
        .max_concurrent_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_STRAY_FRAMES)
        .max_pending_accept_reset_streams(MAX_RESETS);
    builder
}

/// Resolves when the other side does not answer any more, though the socket may look open.
pub async fn until_silent(ping: Option<PingPong>, pace: Pace) {
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(pace.keepalive_interval).await;
        let answer = tokio::time::timeout(pace.keepalive_timeout, ping.ping(Ping::opaque()));
        if !matches!(answer.await, Ok(Ok(_))) {
            return;
        }
    }
}

/// An error of HTTP/2 in the words of a caller.
pub fn broken(name: &str, error: &h2::Error) -> Error {
    let message = format!("the connection with node `{name}` broke: {error}");
    Error::new(Code::PeerUnreachable, message)
}

/// The error of a caller whose time is over.
pub fn late(name: &str, after: Duration) -> Error {
    let message = format!("node `{name}` did not answer within {after:?}");
    Error::new(Code::PeerTimeout, message)
}
