//! A node over sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use otlake_base::{Metrics, SystemClock};
use otlake_consensus::{Doors, MetadataConfig, MetadataGroup, PeerWire};
use otlake_peer::{PeerConfig, Peers, Services};

pub struct Node {
    pub name: Arc<str>,
    pub peers: Arc<Peers>,
    pub group: Arc<MetadataGroup>,
}

impl Node {
    pub async fn start(name: &str, folder: &Path) -> Node {
        let name: Arc<str> = Arc::from(name);
        let metrics = Arc::new(Metrics::strict());
        let doors = Doors::default();
        let mut services = Services::new();
        doors.register(&mut services);
        let config = PeerConfig {
            name: Arc::clone(&name),
            cluster: "test".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            secret: Some([7; 32]),
        };
        let clock = Arc::new(SystemClock);
        let peers = Peers::start(config, services, clock, Arc::clone(&metrics))
            .await
            .expect("the node listens");
        let mut config = MetadataConfig::new(Arc::clone(&name), folder.join(&*name));
        config.timing.request_ms = 4_000;
        let wire = Arc::new(PeerWire::new(Arc::clone(&peers)));
        let group = MetadataGroup::start(config, wire, &doors, clock_of(), metrics)
            .await
            .expect("the store opens");
        Node { name, peers, group }
    }

    pub fn member(&self) -> (Arc<str>, SocketAddr) {
        (Arc::clone(&self.name), self.peers.address())
    }

    pub async fn close(&self) {
        self.group.close().await;
        self.peers.close().await;
    }
}

fn clock_of() -> Arc<SystemClock> {
    Arc::new(SystemClock)
}
