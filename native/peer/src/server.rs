//! Listening, and what other nodes' connections are.

use std::sync::Arc;

use otlake_base::{Code, Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{ACCEPT_PAUSE, CLOSE_GRACE, MAX_CONNECTIONS, MAX_HANDSHAKES, PeerConfig};
use crate::connection::{prepare, server, until_silent};
use crate::dispatch::{Dispatch, room};
use crate::figures::{Direction, Figures};
use crate::handshake::{Failure, Refusal, listen, refuse, welcome};
use crate::link::Context;
use crate::message::Piece;
use crate::peers::Members;
use crate::service::Services;

/// The listening side.
pub struct Server {
    pub context: Arc<Context>,
    pub members: Arc<Members>,
    pub services: Arc<Services>,
    /// Room for large calls.
    room: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

/// # Errors
/// `NODE_PORT_TAKEN`.
pub async fn bind(config: &PeerConfig) -> Result<TcpListener> {
    TcpListener::bind(config.listen).await.map_err(|error| {
        let message = format!("listening on {}: {error}", config.listen);
        Error::new(Code::NodePortTaken, message)
    })
}

impl Server {
    pub fn new(
        context: Arc<Context>,
        members: Arc<Members>,
        services: Services,
        stop: CancellationToken,
    ) -> Arc<Server> {
        Arc::new(Server {
            context,
            members,
            services: Arc::new(services),
            room: room(),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            stop,
        })
    }

    /// Takes connections until the node stops, and sees them end.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS + MAX_HANDSHAKES => {
                    connections.spawn(self.clone().connection(stream));
                }
                // Closing it is the answer: the other node dials again later.
                Ok(_) => self.context.metrics.peers.refused(Refusal::Full.reason()),
                Err(error) => {
                    tracing::warn!(%error, "a connection of another node could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_GRACE, all).await.is_err() {
            connections.shutdown().await;
        }
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        prepare(&stream);
        let Some((from, place)) = self.meet(&mut stream).await else {
            return;
        };
        self.serve(stream, from.clone(), &place.gone).await;
        if !place.gone.is_cancelled() {
            self.context.lost(&from);
        }
    }

    /// The handshake; None where no connection comes of it.
    async fn meet(&self, stream: &mut TcpStream) -> Option<(Arc<str>, crate::peers::Place)> {
        let metrics = &self.context.metrics.peers;
        let Ok(_turn) = self.handshakes.try_acquire() else {
            metrics.refused(Refusal::Full.reason());
            return None;
        };
        let greeting = async {
            let from = listen(stream, &self.context.identity).await?;
            match self.members.admit(&from) {
                Ok(place) => {
                    welcome(stream).await?;
                    Ok((from, place))
                }
                Err(refusal) => {
                    refuse(stream, refusal).await;
                    Err(Failure::Refused(refusal))
                }
            }
        };
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.context.pace.handshake, greeting) => greeted,
            () = self.stop.cancelled() => return None,
        };
        let refusal = match greeted {
            Ok(Ok(met)) => return Some(met),
            Ok(Err(Failure::Refused(refusal) | Failure::RefusedThere(refusal))) => refusal,
            Ok(Err(Failure::Broken(_))) => return None,
            Err(_) => Refusal::Timeout,
        };
        metrics.refused(refusal.reason());
        tracing::debug!("a connection was refused: {}", refusal.reason());
        None
    }

    async fn serve(&self, stream: TcpStream, from: Arc<str>, gone: &CancellationToken) {
        let figures = Figures::new(&self.context.metrics, &from);
        let _open = figures.connected(Direction::In);
        let handshake = server().handshake::<_, Piece>(stream);
        let mut connection = tokio::select! {
            made = tokio::time::timeout(self.context.pace.handshake, handshake) => match made {
                Ok(Ok(connection)) => connection,
                _ => return,
            },
            () = gone.cancelled() => return,
        };
        let silent = until_silent(connection.ping_pong(), self.context.pace);
        tokio::pin!(silent);
        let services = self.services.clone();
        let dispatch = Arc::new(Dispatch::new(services, self.room.clone(), from, figures));
        // Dropped with the connection: what works for it ends where it stands.
        let mut requests = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                Some(_) = requests.join_next(), if !requests.is_empty() => continue,
                () = &mut silent => return,
                () = gone.cancelled() => return,
            };
            let Some(Ok((request, respond))) = accepted else {
                return;
            };
            let dispatch = dispatch.clone();
            requests.spawn(async move { dispatch.answer(request, respond).await });
        }
    }
}
