//! The members, and the way to each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use otlake_base::{Clock, Code, Error, Metrics, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ONE, Pace, PeerConfig};
use crate::handshake::{Identity, Refusal};
use crate::link::{Context, Link, OnLost};
use crate::server::{Server, bind};
use crate::service::Services;
use crate::{Incoming, Outgoing};

/// The other nodes, as this one reaches them and they reach it.
pub struct Peers {
    address: SocketAddr,
    context: Arc<Context>,
    members: Arc<Members>,
    stop: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Peers {
    /// Listens, and offers `services` to the other nodes. Nobody is dialled before `set_members`;
    /// until then whoever proves to be of the cluster may connect, afterwards only members.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for names that do not fit; `NODE_PORT_TAKEN`.
    pub async fn start(
        config: PeerConfig,
        services: Services,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Peers>> {
        Self::start_at(config, services, clock, metrics, Pace::default()).await
    }

    /// The same, with times that a test can wait for.
    pub(crate) async fn start_at(
        config: PeerConfig,
        services: Services,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        pace: Pace,
    ) -> Result<Arc<Peers>> {
        let identity = Identity::new(config.name.clone(), config.cluster.clone(), config.secret)?;
        let listener = bind(&config).await?;
        let address = listener.local_addr().map_err(|error| {
            Error::new(Code::NodePortTaken, format!("{}: {error}", config.listen))
        })?;
        let context = Arc::new(Context {
            runtime: Handle::current(),
            identity,
            clock,
            metrics,
            pace,
            on_lost: OnceLock::new(),
        });
        let stop = CancellationToken::new();
        let members = Arc::new(Members {
            stop: stop.clone(),
            state: Mutex::default(),
        });
        let server = Server::new(context.clone(), members.clone(), services, stop.clone());
        let server = tokio::spawn(server.run(listener));
        Ok(Arc::new(Peers {
            address,
            context,
            members,
            stop,
            server: Mutex::new(Some(server)),
        }))
    }

    /// Where this node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.context.identity.name
    }

    /// The runtime that the connections live on: whoever serves a stream beside its callers does so
    /// there.
    pub fn runtime(&self) -> &Handle {
        &self.context.runtime
    }

    /// Who belongs to the cluster, and where each listens. Connections with others are closed, and
    /// those to nodes that are elsewhere now.
    pub fn set_members(&self, members: Vec<(Arc<str>, SocketAddr)>) {
        let mut state = self.members.state.lock();
        let mut links = HashMap::with_capacity(members.len());
        for (name, address) in members {
            let kept = state.links.get(&name);
            let kept = kept.filter(|link| link.address == address).cloned();
            if kept.is_some() {
                state.links.remove(&name);
            }
            let link = kept.unwrap_or_else(|| {
                let gone = self.stop.child_token();
                Link::new(name.clone(), address, self.context.clone(), gone)
            });
            links.insert(name, link);
        }
        let before = std::mem::replace(&mut state.links, links);
        state.is_known = true;
        for place in state.connections.values() {
            if !state.links.contains_key(&place.from) {
                place.gone.cancel();
            }
        }
        drop(state);
        for link in before.values() {
            link.close();
        }
    }

    /// Has `on_lost` told the name of each node with which a connection, made by either of the two,
    /// breaks from here on: at once, on a thread of the connections, which must not be held up. Only
    /// the first call of this counts.
    pub fn on_lost(&self, on_lost: OnLost) {
        let _ = self.context.on_lost.set(on_lost);
    }

    /// Calls a service of another node; the deadline `timeout` from now goes with it.
    ///
    /// # Errors
    /// Those of the service, as it gave them; `PEER_UNREACHABLE` where the node is no member,
    /// cannot be reached or went away, `PEER_TIMEOUT`, `PEER_OVERLOADED` beyond `MAX_CALLS`: all
    /// these can be retried, and after the first two the work may be done all the same.
    /// `PEER_REFUSED` where secrets, clusters or versions differ; `PEER_TOO_LARGE`.
    pub async fn call(
        &self,
        to: &str,
        service: &str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        self.link(to)?.call(service, request, timeout).await
    }

    /// Opens a stream to a service of another node, which is given `head` first. Returns when the
    /// service has begun.
    ///
    /// # Errors
    /// As for `call`; `PEER_OVERLOADED` beyond `MAX_STREAMS`.
    pub async fn open(&self, to: &str, service: &str, head: Bytes) -> Result<(Outgoing, Incoming)> {
        self.link(to)?.open(service, head).await
    }

    /// Ends every connection and stops listening. What is in flight fails. A second time does
    /// nothing.
    pub async fn close(&self) {
        self.stop.cancel();
        let server = self.server.lock().take();
        if let Some(server) = server {
            let _ = server.await;
        }
    }

    fn link(&self, to: &str) -> Result<Arc<Link>> {
        if self.stop.is_cancelled() {
            return Err(Error::new(Code::PeerUnreachable, "the node is stopping"));
        }
        let state = self.members.state.lock();
        state
            .links
            .get(to)
            .cloned()
            .ok_or_else(|| Error::new(Code::PeerUnreachable, format!("node `{to}` is no member")))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who may connect, and who is connected.
pub struct Members {
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the members were told at all.
    is_known: bool,
    links: HashMap<Arc<str>, Arc<Link>>,
    /// Connections that other nodes made.
    connections: HashMap<u64, Connected>,
    next: u64,
}

struct Connected {
    from: Arc<str>,
    gone: CancellationToken,
}

impl Members {
    /// A place for one more connection of a node that has proved who it is.
    pub fn admit(self: &Arc<Self>, from: &Arc<str>) -> Result<Place, Refusal> {
        let mut state = self.state.lock();
        if state.is_known && !state.links.contains_key(from) {
            return Err(Refusal::Stranger);
        }
        let mut of_it: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, connected)| connected.from == *from)
            .map(|(number, _)| *number)
            .collect();
        of_it.sort_unstable();
        // The node's older connections are those that it does not know any more.
        if of_it.len() >= MAX_CONNECTIONS_OF_ONE {
            let oldest = of_it[0];
            if let Some(oldest) = state.connections.remove(&oldest) {
                oldest.gone.cancel();
            }
        }
        if state.connections.len() >= MAX_CONNECTIONS {
            return Err(Refusal::Full);
        }
        let number = state.next;
        state.next += 1;
        let gone = self.stop.child_token();
        let connected = Connected {
            from: from.clone(),
            gone: gone.clone(),
        };
        state.connections.insert(number, connected);
        Ok(Place {
            members: self.clone(),
            number,
            gone,
        })
    }
}

/// A connection's place, until it is dropped.
pub struct Place {
    members: Arc<Members>,
    number: u64,
    /// The connection has to end.
    pub gone: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.members.state.lock().connections.remove(&self.number);
    }
}
