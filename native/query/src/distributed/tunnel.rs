//! Bytes in both directions over messages. What breaks one direction ends both: whoever is at the
//! end of the bytes is told by their end.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use otlake_base::metrics::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::limits::TUNNEL_MESSAGE_BYTES;
use super::port::{Incoming, Outgoing, Wire};

/// The end of bytes, and what carries them: it has to be driven, and returns when the exchange is over.
pub(crate) fn tunnel(
    wire: Wire,
    received: Option<Counter>,
) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (near, far) = tokio::io::duplex(TUNNEL_MESSAGE_BYTES);
    let carrying = async move {
        let (reading, writing) = tokio::io::split(far);
        tokio::select! {
            () = carry_out(reading, wire.outgoing) => {}
            () = carry_in(wire.incoming, writing, received) => {}
        }
    };
    (near, carrying)
}

async fn carry_out(mut from: ReadHalf<DuplexStream>, mut to: Box<dyn Outgoing>) {
    loop {
        let mut message = BytesMut::with_capacity(TUNNEL_MESSAGE_BYTES);
        match from.read_buf(&mut message).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Err(error) = to.send(Bytes::from(message)).await {
            tracing::debug!(target: "otlake::query", "a tunnel has ended: {error}");
            return;
        }
    }
}

async fn carry_in(
    mut from: Box<dyn Incoming>,
    mut to: WriteHalf<DuplexStream>,
    received: Option<Counter>,
) {
    loop {
        let message = match from.next().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(target: "otlake::query", "a tunnel has ended: {error}");
                return;
            }
        };
        if let Some(received) = &received {
            received.inc_by(message.len() as u64);
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}
