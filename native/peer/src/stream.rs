//! The two halves of a stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue};
use otlake_base::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::MAX_MESSAGE_BYTES;
use crate::connection::broken;
use crate::figures::Figures;
use crate::message::{Assembler, END, Piece, read_error, write_error};

/// The sending side of HTTP/2, which a half, and whoever ends the stream, hold together.
pub type Sender = Arc<Mutex<SendStream<Piece>>>;
/// Gives a stream's place back when both halves are gone.
pub type Place = Arc<OwnedSemaphorePermit>;

/// The half that sends.
///
/// Dropped without `finish`, it tells the other side that what was sent is not all there was to
/// be: its `next` fails. The other half goes on.
pub struct Outgoing {
    sender: Sender,
    name: Arc<str>,
    figures: Arc<Figures>,
    /// Of the side that opened the stream. On the other the service's return is the end.
    place: Option<Place>,
    is_finished: bool,
}

impl Outgoing {
    pub(crate) fn new(
        sender: Sender,
        name: Arc<str>,
        figures: Arc<Figures>,
        place: Option<Place>,
    ) -> Outgoing {
        Outgoing {
            sender,
            name,
            figures,
            place,
            is_finished: false,
        }
    }

    /// Hands a message over, once the other side's reader has taken enough of those before it.
    /// That it returns says nothing about its arrival. Dropped before it returns, it has sent
    /// nothing.
    ///
    /// # Errors
    /// `PEER_TOO_LARGE` above `MAX_MESSAGE_BYTES`; `PEER_UNREACHABLE` where the stream has ended
    /// or the connection broke: the other half may know why.
    pub async fn send(&mut self, message: Bytes) -> Result<()> {
        self.send_parts(vec![message]).await
    }

    /// The same for a message that is these parts one behind the other; they are not copied.
    ///
    /// # Errors
    /// The same.
    pub async fn send_parts(&mut self, parts: Vec<Bytes>) -> Result<()> {
        let length = parts.iter().map(Bytes::len).sum::<usize>() as u64;
        let piece = Piece::message(parts)?;
        poll_fn(|context| self.poll_room(context)).await?;
        let sent = self.sender.lock().send_data(piece, false);
        sent.map_err(|error| broken(&self.name, &error))?;
        self.figures.sent.inc_by(length);
        Ok(())
    }

    /// Says that this is all: the other side's `next` gives None after what was sent. A service
    /// need not: its return says the same, or its error, which is not told any more after this.
    ///
    /// # Errors
    /// `PEER_UNREACHABLE` where the stream has ended or the connection broke.
    pub async fn finish(mut self) -> Result<()> {
        self.is_finished = true;
        end(&self.sender, &Ok(())).map_err(|error| broken(&self.name, &error))
    }

    /// One message may always be waiting, so that each goes out in as few frames as can be.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut sender = self.sender.lock();
        sender.reserve_capacity(1);
        if sender.capacity() > 0 {
            return match sender.poll_reset(context) {
                Poll::Pending => Poll::Ready(Ok(())),
                Poll::Ready(Ok(reason)) => Poll::Ready(Err(self.ended(reason))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(broken(&self.name, &error))),
            };
        }
        loop {
            return match ready!(sender.poll_capacity(context)) {
                Some(Ok(0)) => continue,
                Some(Ok(_)) => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(broken(&self.name, &error))),
                None => Poll::Ready(Err(match sender.poll_reset(context) {
                    Poll::Ready(Ok(reason)) => self.ended(reason),
                    Poll::Ready(Err(error)) => broken(&self.name, &error),
                    // It ended on this side: the service has returned.
                    Poll::Pending => self.ended(Reason::STREAM_CLOSED),
                })),
            };
        }
    }

    fn ended(&self, reason: Reason) -> Error {
        let message = format!("node `{}` ended the stream: {reason}", self.name);
        Error::new(Code::PeerUnreachable, message)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.is_finished && self.place.is_some() {
            let message = "the sender gave the stream up";
            let _ = end(
                &self.sender,
                &Err(Error::new(Code::PeerUnreachable, message)),
            );
        }
    }
}

/// Ends the sending side, with what its end is.
pub fn end(sender: &Sender, ended: &Result<()>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    match ended {
        Ok(()) => drop(trailers.insert(END, HeaderValue::from_static("ok"))),
        Err(error) => write_error(error, &mut trailers),
    }
    sender.lock().send_trailers(trailers)
}

/// The half that receives.
///
/// Dropped before its end on the side that opened the stream, it cancels the stream: the other
/// side's halves fail. On the side that serves, what still comes is not read, and a caller that goes on
/// sending waits in the end: a service that wants nothing more returns, or reads to the end.
pub struct Incoming {
    receiver: RecvStream,
    assembler: Assembler,
    name: Arc<str>,
    figures: Arc<Figures>,
    /// Of the side that opened the stream: what cancels it, and its place.
    opened: Option<(Sender, Place)>,
    end: Option<Result<()>>,
}

impl Incoming {
    pub(crate) fn new(
        receiver: RecvStream,
        name: Arc<str>,
        figures: Arc<Figures>,
        opened: Option<(Sender, Place)>,
    ) -> Incoming {
        Incoming {
            receiver,
            assembler: Assembler::default(),
            name,
            figures,
            opened,
            end: None,
        }
    }

    /// The next message; None after the last, where the other side finished. Asking again gives
    /// the same end again. Dropped before it returns, it loses nothing.
    ///
    /// # Errors
    /// The error that the other side's service ended with; `PEER_UNREACHABLE` where the connection
    /// broke or the other side gave up; `PEER_PROTOCOL` where a message is incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.next_within(MAX_MESSAGE_BYTES).await
    }

    /// The same, for a message of at most `limit` bytes.
    pub(crate) async fn next_within(&mut self, limit: usize) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            match self.assembler.next(limit) {
                Ok(Some(message)) => {
                    self.figures.received.inc_by(message.len() as u64);
                    return Ok(Some(message));
                }
                Ok(None) => {}
                Err(error) => {
                    self.end = Some(Err(error));
                    continue;
                }
            }
            match self.receiver.data().await {
                Some(Ok(piece)) => {
                    let _ = self.receiver.flow_control().release_capacity(piece.len());
                    self.assembler.push(piece);
                }
                Some(Err(error)) => self.end = Some(Err(broken(&self.name, &error))),
                None => self.end = Some(self.read_end().await),
            }
        }
    }

    async fn read_end(&mut self) -> Result<()> {
        let trailers = self.receiver.trailers().await;
        let trailers = trailers.map_err(|error| broken(&self.name, &error))?;
        let trailers = trailers.unwrap_or_default();
        if let Some(error) = read_error(&trailers) {
            return Err(error);
        }
        if !trailers.contains_key(END) || self.assembler.is_within() {
            let message = format!("the stream of node `{}` ended within a message", self.name);
            return Err(Error::new(Code::PeerProtocol, message));
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some((sender, _)), None) = (&self.opened, &self.end) {
            sender.lock().send_reset(Reason::CANCEL);
        }
    }
}
