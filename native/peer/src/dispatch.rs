//! One request of another node, from its head to its service's answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use otlake_base::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::{
    CALL_BYTES, MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, MAX_STREAMS, OPEN_TIMEOUT, SMALL_CALL_BYTES,
};
use crate::connection::{broken, late};
use crate::figures::Figures;
use crate::message::{Piece, TIMEOUT, check_length, write_error};
use crate::service::Services;
use crate::stream::{Incoming, Outgoing, end};

/// Large calls are weighed in these, because permits are counted in 32 bits.
const UNIT: usize = 1024;

/// What the requests of one connection have in common.
pub struct Dispatch {
    services: Arc<Services>,
    /// Room for large calls, of all connections together.
    room: Arc<Semaphore>,
    from: Arc<str>,
    figures: Arc<Figures>,
    streams: Arc<Semaphore>,
}

/// The room that all connections share.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CALL_BYTES / UNIT))
}

impl Dispatch {
    pub fn new(
        services: Arc<Services>,
        room: Arc<Semaphore>,
        from: Arc<str>,
        figures: Arc<Figures>,
    ) -> Dispatch {
        Dispatch {
            services,
            room,
            from,
            figures,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Answers one request. What cannot be sent any more is nobody's to hear.
    pub async fn answer(&self, request: Request<RecvStream>, mut respond: SendResponse<Piece>) {
        let (head, body) = request.into_parts();
        self.figures.served.inc();
        let path = head.uri.path();
        if let Some(service) = path.strip_prefix("/call/") {
            let answered = tokio::select! {
                answered = self.call(service, &head.headers, body) => answered,
                // The caller gave up: its work is dropped.
                _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
            };
            self.reply(&mut respond, answered);
        } else if let Some(service) = path.strip_prefix("/stream/") {
            if let Err(error) = self.stream(service, body, &mut respond).await {
                self.reply(&mut respond, Err(error));
            }
        } else {
            let message = format!("there is no {path} among nodes");
            self.reply(&mut respond, Err(Error::new(Code::PeerProtocol, message)));
        }
    }

    async fn call(&self, service: &str, headers: &HeaderMap, body: RecvStream) -> Result<Bytes> {
        let Some(service) = self.services.calls.get(service) else {
            return Err(unknown(service));
        };
        let timeout = number(headers, TIMEOUT).map_or(OPEN_TIMEOUT, Duration::from_micros);
        let work = async {
            let length = number(headers, CONTENT_LENGTH).unwrap_or(0) as usize;
            check_length(length)?;
            let _room = self.reserve(length)?;
            let request = collect(&self.from, headers, body).await?;
            self.figures.received.inc_by(request.len() as u64);
            service.call(self.from.clone(), request).await
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(answered) => answered,
            Err(_) => Err(late(&self.from, timeout)),
        }
    }

    /// Room for a call of this length. A caller that finds none is told so: if it waited, what it had
    /// sent would fill the connection's window, and calls that have room might never be whole.
    fn reserve(&self, length: usize) -> Result<Option<SemaphorePermit<'_>>> {
        if length <= SMALL_CALL_BYTES {
            return Ok(None);
        }
        // It fits: a message is bounded.
        let units = length.div_ceil(UNIT) as u32;
        let room = self.room.try_acquire_many(units);
        room.map(Some).map_err(|_| {
            let message = format!("the node serves {CALL_BYTES} bytes of large calls at once");
            Error::new(Code::PeerOverloaded, message)
        })
    }

    /// Serves a stream to its end. An error is of before its beginning.
    async fn stream(
        &self,
        service: &str,
        body: RecvStream,
        respond: &mut SendResponse<Piece>,
    ) -> Result<()> {
        let Some(service) = self.services.streams.get(service) else {
            return Err(unknown(service));
        };
        let Ok(_place) = self.streams.try_acquire() else {
            let message = format!("node `{}` has too many streams open", self.from);
            return Err(Error::new(Code::PeerOverloaded, message));
        };
        let (from, figures) = (self.from.clone(), self.figures.clone());
        let mut incoming = Incoming::new(body, from.clone(), figures.clone(), None);
        let first = tokio::time::timeout(OPEN_TIMEOUT, incoming.next_within(MAX_HEAD_BYTES)).await;
        let first = first.map_err(|_| late(&from, OPEN_TIMEOUT))??;
        let Some(first) = first else {
            let message = format!("a stream of node `{from}` has no head");
            return Err(Error::new(Code::PeerProtocol, message));
        };
        let sender = respond
            .send_response(Response::new(()), false)
            .map_err(|error| broken(&from, &error))?;
        let sender = Arc::new(Mutex::new(sender));
        let outgoing = Outgoing::new(sender.clone(), from.clone(), figures, None);
        let ended = service.serve(from, first, incoming, outgoing).await;
        // The other side may have gone before.
        let _ = end(&sender, &ended);
        Ok(())
    }

    fn reply(&self, respond: &mut SendResponse<Piece>, answered: Result<Bytes>) {
        let answered = answered.and_then(|answer| check_length(answer.len()).map(|()| answer));
        let mut response = Response::new(());
        let answer = match answered {
            Ok(answer) => {
                let length = answer.len().into();
                response.headers_mut().insert(CONTENT_LENGTH, length);
                answer
            }
            Err(error) => {
                write_error(&error, response.headers_mut());
                Bytes::new()
            }
        };
        let is_all = answer.is_empty();
        let length = answer.len() as u64;
        // A caller that has gone takes no answer.
        if let Ok(mut body) = respond.send_response(response, is_all)
            && !is_all
            && body.send_data(Piece::plain(answer), true).is_ok()
        {
            self.figures.sent.inc_by(length);
        }
    }
}

fn unknown(service: &str) -> Error {
    let message = format!("the node has no service `{service}`: it may be of another version");
    Error::new(Code::PeerUnreachable, message)
}

fn number(headers: &HeaderMap, name: http::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The whole body of a call or an answer, without a copy where it came in one frame.
///
/// # Errors
/// `PEER_TOO_LARGE`; `PEER_UNREACHABLE` where the connection broke.
pub async fn collect(name: &str, headers: &HeaderMap, mut body: RecvStream) -> Result<Bytes> {
    let length = number(headers, CONTENT_LENGTH).unwrap_or(0) as usize;
    check_length(length)?;
    let mut all: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| broken(name, &error))?;
        let _ = body.flow_control().release_capacity(piece.len());
        if first.is_empty() && all.is_none() {
            first = piece;
            continue;
        }
        let all = all.get_or_insert_with(|| {
            let mut all = BytesMut::with_capacity(length.min(MAX_MESSAGE_BYTES));
            all.extend_from_slice(&first);
            all
        });
        check_length(all.len() + piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(all.map_or(first, BytesMut::freeze))
}
