//! A result that the consumer pulls, chunk by chunk: the producer runs only when asked, so a
//! slow reader slows the query, not the memory (I5).

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use otlake_base::{Code, Error, Missing, Result, Session};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// What makes the chunks.
pub type Chunks = BoxStream<'static, Result<Vec<u8>>>;

/// Chunks of bytes.
#[napi]
pub struct ByteStream {
    runtime: Handle,
    /// None once it has ended; the lock makes overlapping pulls wait for each other.
    chunks: Arc<Mutex<Option<Chunks>>>,
    closed: CancellationToken,
    session: Option<String>,
    partial: Option<String>,
}

impl ByteStream {
    /// A stream whose chunks are made on `runtime`.
    pub fn new(runtime: Handle, chunks: Chunks) -> Self {
        Self {
            runtime,
            chunks: Arc::new(Mutex::new(Some(chunks))),
            closed: CancellationToken::new(),
            session: None,
            partial: None,
        }
    }

    /// The same, with what an answer shows, and what it may lack.
    pub fn showing(mut self, session: Option<&Session>, missing: &[Missing]) -> Self {
        self.session = session.map(Session::to_string);
        self.partial = (!missing.is_empty()).then(|| otlake_query::named(missing));
        self
    }
}

#[napi]
impl ByteStream {
    /// The session token that covers what the answer shows; null where the node's own does.
    #[napi(getter)]
    pub fn session(&self) -> Option<String> {
        self.session.clone()
    }

    /// The streams whose rows a partial answer may lack, and their nodes; null where it lacks none.
    #[napi(getter)]
    pub fn partial(&self) -> Option<String> {
        self.partial.clone()
    }

    /// The next chunk; null at the end. After an error or `close` there is nothing more.
    #[napi]
    pub async fn next(&self) -> napi::Result<Option<Buffer>> {
        let (chunks, closed) = (self.chunks.clone(), self.closed.clone());
        let pulled = self.runtime.spawn(async move {
            let mut slot = tokio::select! {
                biased;
                () = closed.cancelled() => return Err(handle_closed()),
                slot = chunks.lock() => slot,
            };
            let Some(stream) = slot.as_mut() else {
                return Ok(None);
            };
            let next = tokio::select! {
                biased;
                () = closed.cancelled() => Some(Err(handle_closed())),
                next = stream.next() => next,
            };
            // Dropping the stream ends the query and gives back what it holds.
            if !matches!(next, Some(Ok(_))) {
                *slot = None;
            }
            next.transpose()
        });
        let chunk = pulled
            .await
            .map_err(Failure::from)?
            .map_err(Failure::from)?;
        Ok(chunk.map(Buffer::from))
    }

    /// Ends the stream and the work behind it; harmless when it has ended.
    #[napi]
    pub fn close(&self) {
        self.closed.cancel();
        let chunks = self.chunks.clone();
        self.runtime
            .spawn(async move { *chunks.lock().await = None });
    }
}

impl Drop for ByteStream {
    fn drop(&mut self) {
        self.close();
    }
}

fn handle_closed() -> Error {
    Error::new(Code::HandleClosed, "the stream was closed")
}
