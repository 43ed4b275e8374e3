//! The Flight SQL server: any ADBC or JDBC Flight SQL driver queries the lake through it.
//!
//! - `service`: the commands.
//! - `access`: who asks, and how fresh the answer must be.
//! - `prepared`: open prepared statements.
//! - `incoming`: connections, how many and how patient.
//! - `kept`: an answer until its deadline.
//! - `facts`: what the server tells of itself and of its types.
//!
//! A statement's ticket carries its SQL text and consistency, so that any server of the lake
//! can answer it; the tenant never travels in it, but comes from the caller's token each time.

mod access;
mod facts;
mod incoming;
mod kept;
mod prepared;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use otlake_base::{Clock, Code, Error, Result};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::engine::QueryEngine;
pub(crate) use incoming::Bounds;
use service::Service;

/// Calls at once on one connection.
const MAX_STREAMS: u32 = 256;
/// Bytes of one call's headers.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// A connection that has said nothing for so long is asked whether it is still there…
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// … and closed where no answer comes in this time.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// A token and the tenant whose rows its bearer sees.
#[derive(Clone, Debug)]
pub struct Token {
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// The tenant.
    pub tenant: String,
}

/// How the server listens.
#[derive(Clone, Debug)]
pub struct FlightConfig {
    /// Where; port 0 takes any free one.
    pub address: SocketAddr,
    /// Who may ask; anyone where empty.
    pub tokens: Vec<Token>,
}

/// A running Flight SQL server.
pub struct FlightServer {
    address: SocketAddr,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl FlightServer {
    /// Listens and serves until stopped or dropped.
    ///
    /// # Errors
    /// `NODE_PORT_TAKEN`.
    pub async fn start(
        config: FlightConfig,
        engine: Arc<QueryEngine>,
        clock: Arc<dyn Clock>,
    ) -> Result<FlightServer> {
        Self::start_with(config, engine, clock, Bounds::default()).await
    }

    /// Starts with bounds that a test can reach.
    pub(crate) async fn start_with(
        config: FlightConfig,
        engine: Arc<QueryEngine>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Result<FlightServer> {
        let taken = |error| Error::new(Code::NodePortTaken, format!("{}: {error}", config.address));
        let listener = TcpListener::bind(config.address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let service = Service::new(engine, config.tokens, clock)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_PATIENCE))
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .add_service(FlightServiceServer::new(service))
            .serve_with_incoming_shutdown(incoming::incoming(listener, bounds), async {
                // A dropped server stops too.
                let _ = stopped.await;
            });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the Flight SQL server ended");
            }
        });
        Ok(FlightServer {
            address,
            running: Mutex::new(Some((stop, task))),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, lets those in flight finish for `grace`, then ends them.
    pub async fn stop(&self, grace: Duration) {
        let Some((stop, mut task)) = self.running.lock().take() else {
            return;
        };
        let _ = stop.send(());
        if tokio::time::timeout(grace, &mut task).await.is_err() {
            task.abort();
        }
    }
}
