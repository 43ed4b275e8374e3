//! The servers as handles that JavaScript starts and stops.

use std::time::Duration;

use napi_derive::napi;
use otlake_base::{Code, Error};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::failure::Failure;

/// The OTLP servers, listening.
#[napi]
pub struct Receiver {
    runtime: Handle,
    server: Mutex<Option<otlake_receive::Receiver>>,
    grpc: Option<String>,
    http: Option<String>,
}

impl Receiver {
    /// A handle for a started receiver.
    pub fn new(runtime: Handle, server: otlake_receive::Receiver) -> Self {
        let grpc = server.grpc_addr().map(|address| address.to_string());
        let http = server.http_addr().map(|address| address.to_string());
        Self {
            runtime,
            server: Mutex::new(Some(server)),
            grpc,
            http,
        }
    }
}

#[napi]
impl Receiver {
    /// Where OTLP/gRPC is taken, or null.
    #[napi(getter)]
    pub fn grpc(&self) -> Option<String> {
        self.grpc.clone()
    }

    /// Where OTLP/HTTP is taken, or null.
    #[napi(getter)]
    pub fn http(&self) -> Option<String> {
        self.http.clone()
    }

    /// Takes nothing new, and resolves when what is in flight is done, at most `grace_ms` later.
    #[napi]
    pub async fn stop(&self, grace_ms: f64) -> napi::Result<()> {
        let server = self
            .server
            .lock()
            .take()
            .ok_or_else(already_stopped)
            .map_err(Failure::from)?;
        let stopping = self.runtime.spawn(server.stop(grace(grace_ms)));
        stopping.await.map_err(Failure::from)?;
        Ok(())
    }
}

/// The Flight SQL server, listening.
#[napi]
pub struct FlightServer {
    runtime: Handle,
    server: Mutex<Option<otlake_query::FlightServer>>,
    address: String,
}

impl FlightServer {
    /// A handle for a started server.
    pub fn new(runtime: Handle, server: otlake_query::FlightServer) -> Self {
        let address = server.addr().to_string();
        Self {
            runtime,
            server: Mutex::new(Some(server)),
            address,
        }
    }
}

#[napi]
impl FlightServer {
    /// Where Flight SQL is answered.
    #[napi(getter)]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Takes nothing new, and resolves when what is in flight is done, at most `grace_ms` later.
    #[napi]
    pub async fn stop(&self, grace_ms: f64) -> napi::Result<()> {
        let server = self
            .server
            .lock()
            .take()
            .ok_or_else(already_stopped)
            .map_err(Failure::from)?;
        let stopping = self
            .runtime
            .spawn(async move { server.stop(grace(grace_ms)).await });
        stopping.await.map_err(Failure::from)?;
        Ok(())
    }
}

fn grace(milliseconds: f64) -> Duration {
    Duration::from_millis(milliseconds.max(0.0) as u64)
}

fn already_stopped() -> Error {
    Error::new(Code::HandleClosed, "the server was stopped already")
}
