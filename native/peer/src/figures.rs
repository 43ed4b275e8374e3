//! What is counted of one node.

use std::sync::Arc;

use otlake_base::metrics::{Counter, Gauge};
use otlake_base::{Metrics, Result};

/// The handles of one node's figures.
pub struct Figures {
    metrics: Arc<Metrics>,
    told: String,
    pub sent: Counter,
    pub received: Counter,
    pub served: Counter,
    pub streams: Counter,
    pub failures: Counter,
    calls_ok: Counter,
}

/// Which side dialled.
#[derive(Clone, Copy)]
pub enum Direction {
    Out,
    In,
}

impl Figures {
    pub fn new(metrics: &Arc<Metrics>, name: &str) -> Arc<Figures> {
        let peers = &metrics.peers;
        let told = peers.told(name);
        let labels = vec![("peer", told.clone())];
        let ok = vec![("peer", told.clone()), ("outcome", "ok".to_owned())];
        Arc::new(Figures {
            metrics: metrics.clone(),
            sent: peers.sent.get_or_create(&labels).clone(),
            received: peers.received.get_or_create(&labels).clone(),
            served: peers.served.get_or_create(&labels).clone(),
            streams: peers.streams.get_or_create(&labels).clone(),
            failures: peers.connection_failures.get_or_create(&labels).clone(),
            calls_ok: peers.calls.get_or_create(&ok).clone(),
            told,
        })
    }

    /// Counts a call that ended.
    pub fn called<T>(&self, ended: &Result<T>) {
        match ended {
            Ok(_) => drop(self.calls_ok.inc()),
            Err(error) => {
                let outcome = error.kind().name().to_owned();
                let labels = vec![("peer", self.told.clone()), ("outcome", outcome)];
                self.metrics.peers.calls.get_or_create(&labels).inc();
            }
        }
    }

    /// Counts a connection until what is returned is dropped.
    pub fn connected(&self, direction: Direction) -> Open {
        let direction = match direction {
            Direction::Out => "out",
            Direction::In => "in",
        };
        let labels = vec![
            ("peer", self.told.clone()),
            ("direction", direction.to_owned()),
        ];
        let gauge = self
            .metrics
            .peers
            .connections
            .get_or_create(&labels)
            .clone();
        gauge.inc();
        Open(gauge)
    }
}

/// Counts a connection while it is open.
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
