//! Connections: how many there are at once, and how soon each must speak (I5).

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// What a client sends first: HTTP/2's preface, and a frame of settings.
const HANDSHAKE_BYTES: usize = 24 + 9;
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once; a further one is closed.
    pub(crate) connections: usize,
    /// How long a connection may take to its handshake.
    pub(crate) handshake: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
        }
    }
}

/// Connections as they are accepted, within the bounds.
pub(super) fn incoming(
    listener: TcpListener,
    bounds: Bounds,
) -> impl Stream<Item = Result<Connection>> {
    let places = Arc::new(Semaphore::new(bounds.connections));
    stream::unfold((listener, places), move |(listener, places)| async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Closing it is the answer: the client connects again later.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            // Small answers must not wait for more to send.
            let _ = stream.set_nodelay(true);
            let connection = Connection {
                stream,
                heard: 0,
                patience: Some(Box::pin(sleep(bounds.handshake))),
                _place: place,
            };
            return Some((Ok(connection), (listener, places)));
        }
    })
}

/// A connection in its place.
pub(super) struct Connection {
    stream: TcpStream,
    heard: usize,
    /// Ended by the handshake; what comes after it is for HTTP/2's pings to watch.
    patience: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(patience) = self.patience.as_mut() {
            let overdue = patience.as_mut().poll(context).is_ready();
            self.heard += buffer.filled().len() - before;
            if self.heard >= HANDSHAKE_BYTES {
                self.patience = None;
            } else if overdue {
                let silent = "the client did not greet in time";
                return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, silent)));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
