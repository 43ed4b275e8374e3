//! The connection to one node: dialled on demand, with backoff; calls and streams.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use h2::client::{ResponseFuture, SendRequest};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Version};
use otlake_base::{Clock, Code, Error, Metrics, Result};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::config::{BACKOFF, MAX_BACKOFF, MAX_CALLS, MAX_STREAMS, Pace};
use crate::connection::{broken, client, late, prepare, until_silent};
use crate::dispatch::collect;
use crate::figures::{Direction, Figures};
use crate::handshake::{Failure, Identity, dial};
use crate::message::{Piece, TIMEOUT, check_length, read_error};
use crate::stream::{Incoming, Outgoing};

/// Is told the name of a node with which a connection broke.
pub type OnLost = Box<dyn Fn(&str) + Send + Sync>;

/// What every connection needs.
pub struct Context {
    /// Where connections live.
    pub runtime: Handle,
    pub identity: Identity,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub pace: Pace,
    pub on_lost: OnceLock<OnLost>,
}

impl Context {
    /// A connection with this node broke, and neither of the two ended it in good order.
    pub fn lost(&self, node: &str) {
        if let Some(on_lost) = self.on_lost.get() {
            on_lost(node);
        }
    }
}

type Connection = h2::client::Connection<TcpStream, Piece>;
type Dialling = Shared<BoxFuture<'static, Result<()>>>;

enum State {
    /// Not dialled yet, or the connection broke.
    Idle,
    /// Whoever wants the connection waits for the same attempt.
    Dialling(Dialling),
    Up(SendRequest<Piece>),
    /// Not dialled before `until`: why, and how long the next such time is.
    Down {
        until: Duration,
        next: Duration,
        why: Error,
    },
}

/// The way to one node.
pub struct Link {
    pub name: Arc<str>,
    pub address: SocketAddr,
    context: Arc<Context>,
    figures: Arc<Figures>,
    state: Mutex<State>,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// The node is no member any more, or this one stops.
    gone: CancellationToken,
}

impl Link {
    pub fn new(
        name: Arc<str>,
        address: SocketAddr,
        context: Arc<Context>,
        gone: CancellationToken,
    ) -> Arc<Link> {
        Arc::new(Link {
            figures: Figures::new(&context.metrics, &name),
            name,
            address,
            context,
            state: Mutex::new(State::Idle),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            gone,
        })
    }

    /// Ends the connection and all that goes over it.
    pub fn close(&self) {
        self.gone.cancel();
    }

    /// One call.
    pub async fn call(
        self: &Arc<Self>,
        service: &str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        let ended =
            match tokio::time::timeout(timeout, self.exchange(service, request, timeout)).await {
                Ok(ended) => ended,
                Err(_) => Err(late(&self.name, timeout)),
            };
        self.figures.called(&ended);
        ended
    }

    async fn exchange(
        self: &Arc<Self>,
        service: &str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        check_length(request.len())?;
        let begun = self.context.clock.monotonic();
        let _place = self.place(&self.calls, "calls")?;
        let sender = self.sender().await?;
        let waited = self.context.clock.monotonic().saturating_sub(begun);
        let left = timeout.saturating_sub(waited);
        let length = request.len();
        let head = head("call", service)
            .header(CONTENT_LENGTH, length)
            .header(TIMEOUT, micros(left));
        let (response, mut body) = self.request(sender, head, length == 0).await?;
        // HTTP/2 takes from it as the other side has room; it is here in memory in any case. Where it
        // takes nothing, the other side has answered without the body: that answer says why.
        if length > 0 && body.send_data(Piece::plain(request), true).is_ok() {
            self.figures.sent.inc_by(length as u64);
        }
        let response = response.await.map_err(|error| broken(&self.name, &error))?;
        let (head, body) = response.into_parts();
        if let Some(error) = read_error(&head.headers) {
            return Err(error);
        }
        let answer = collect(&self.name, &head.headers, body).await?;
        self.figures.received.inc_by(answer.len() as u64);
        Ok(answer)
    }

    /// One stream.
    pub async fn open(
        self: &Arc<Self>,
        service: &str,
        head: Bytes,
    ) -> Result<(Outgoing, Incoming)> {
        let timeout = self.context.pace.open;
        match tokio::time::timeout(timeout, self.begin(service, head)).await {
            Ok(ended) => ended,
            Err(_) => Err(late(&self.name, timeout)),
        }
    }

    async fn begin(self: &Arc<Self>, service: &str, first: Bytes) -> Result<(Outgoing, Incoming)> {
        let place = Arc::new(self.place(&self.streams, "streams")?);
        let sender = self.sender().await?;
        let (response, sender) = self.request(sender, head("stream", service), false).await?;
        let sender = Arc::new(Mutex::new(sender));
        let (name, figures) = (&self.name, &self.figures);
        let opened = Some(place.clone());
        let mut outgoing = Outgoing::new(sender.clone(), name.clone(), figures.clone(), opened);
        let sent = outgoing.send(first).await;
        if let Err(error) = &sent
            && error.code != Code::PeerUnreachable
        {
            return Err(error.clone());
        }
        // Where the other side has refused without the head, its answer says why.
        let response = response.await.map_err(|error| broken(name, &error))?;
        let (head, receiver) = response.into_parts();
        if let Some(error) = read_error(&head.headers) {
            return Err(error);
        }
        sent?;
        let opened = Some((sender, place));
        let incoming = Incoming::new(receiver, name.clone(), figures.clone(), opened);
        figures.streams.inc();
        Ok((outgoing, incoming))
    }

    async fn request(
        &self,
        sender: SendRequest<Piece>,
        head: http::request::Builder,
        is_all: bool,
    ) -> Result<(ResponseFuture, h2::SendStream<Piece>)> {
        let failed = |error| broken(&self.name, &error);
        let mut sender = sender.ready().await.map_err(failed)?;
        let request = head.body(()).map_err(|error| {
            let message = format!("a call with no fitting name or deadline: {error}");
            Error::new(Code::PeerProtocol, message)
        })?;
        sender.send_request(request, is_all).map_err(failed)
    }

    fn place(&self, places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit> {
        places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("too many {what} to node `{}` are in flight", self.name);
            Error::new(Code::PeerOverloaded, message)
        })
    }

    /// A sender over the connection, which is made where there is none.
    async fn sender(self: &Arc<Self>) -> Result<SendRequest<Piece>> {
        loop {
            let dialling = {
                let mut state = self.state.lock();
                match &*state {
                    State::Up(sender) => return Ok(sender.clone()),
                    State::Dialling(dialling) => dialling.clone(),
                    State::Down { until, why, .. } if self.context.clock.monotonic() < *until => {
                        return Err(why.clone());
                    }
                    State::Down { next, .. } => {
                        let next = *next;
                        self.begin_dialling(&mut state, next)
                    }
                    State::Idle => self.begin_dialling(&mut state, BACKOFF),
                }
            };
            dialling.await?;
        }
    }

    /// The attempt goes on when those who wait for it have gone, so that short deadlines do not
    /// keep a connection from being made.
    fn begin_dialling(self: &Arc<Self>, state: &mut State, backoff: Duration) -> Dialling {
        let link = self.clone();
        // Whoever calls can be on a runtime that has no sockets, or ends before this one.
        let runtime = &self.context.runtime;
        let attempt = runtime.spawn(async move { link.attempt(backoff).await });
        let dialling = async move {
            attempt.await.unwrap_or_else(|_| {
                let message = "the node is stopping";
                Err(Error::new(Code::PeerUnreachable, message))
            })
        };
        let dialling = dialling.boxed().shared();
        *state = State::Dialling(dialling.clone());
        dialling
    }

    /// Makes the connection and leaves its end in the state; also where it could not be made.
    async fn attempt(self: Arc<Self>, backoff: Duration) -> Result<()> {
        let made = tokio::select! {
            made = tokio::time::timeout(self.context.pace.dial, self.connect()) => made,
            () = self.gone.cancelled() => Ok(Err(self.is_gone())),
        };
        let made = made.unwrap_or_else(|_| {
            let message = format!(
                "node `{}` did not answer at {} within {:?}",
                self.name, self.address, self.context.pace.dial
            );
            Err(Error::new(Code::PeerUnreachable, message))
        });
        match made {
            Ok((sender, connection)) => {
                *self.state.lock() = State::Up(sender);
                // Its end sets the state, and so has to come after this.
                tokio::spawn(self.drive(connection));
                Ok(())
            }
            Err(why) => {
                self.figures.failures.inc();
                tracing::debug!(node = &*self.name, "no connection: {why}");
                *self.state.lock() = State::Down {
                    until: self.context.clock.monotonic() + backoff,
                    next: (backoff * 2).min(MAX_BACKOFF),
                    why: why.clone(),
                };
                Err(why)
            }
        }
    }

    fn is_gone(&self) -> Error {
        let message = format!("node `{}` is no member any more", self.name);
        Error::new(Code::PeerUnreachable, message)
    }

    async fn connect(&self) -> Result<(SendRequest<Piece>, Connection)> {
        let unreachable = |error: &dyn std::fmt::Display| {
            let message = format!("node `{}` at {}: {error}", self.name, self.address);
            Error::new(Code::PeerUnreachable, message)
        };
        let mut stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| unreachable(&error))?;
        prepare(&stream);
        match dial(&mut stream, &self.context.identity, &self.name).await {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => {
                self.context.metrics.peers.refused(refusal.reason());
                return Err(refusal.error(&self.name));
            }
            Err(Failure::RefusedThere(refusal)) => return Err(refusal.error(&self.name)),
            Err(Failure::Broken(error)) => return Err(unreachable(&error)),
        }
        let handshake = client().handshake::<_, Piece>(stream);
        handshake.await.map_err(|error| unreachable(&error))
    }

    /// Keeps the connection going until its end.
    async fn drive(self: Arc<Self>, mut connection: Connection) {
        let _open = self.figures.connected(Direction::Out);
        let ping = connection.ping_pong();
        let silent = until_silent(ping, self.context.pace);
        let why = tokio::select! {
            ended = &mut connection => match ended {
                Ok(()) => "it was closed".to_owned(),
                Err(error) => error.to_string(),
            },
            () = silent => "the other side is silent".to_owned(),
            () = self.gone.cancelled() => "no member any more, or stopping".to_owned(),
        };
        tracing::debug!(node = &*self.name, "the connection ended: {why}");
        // What is in flight fails as the connection is dropped; what comes then dials anew.
        {
            let mut state = self.state.lock();
            if matches!(*state, State::Up(_)) {
                *state = State::Idle;
            }
        }
        if !self.gone.is_cancelled() {
            self.figures.failures.inc();
            self.context.lost(&self.name);
        }
    }
}

fn head(kind: &str, service: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://peer/{kind}/{service}"))
}

fn micros(left: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(left.as_micros()).unwrap_or(u64::MAX))
}
