//! What a node of a cluster is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::Disk;
use otlake_files::Files;
use otlake_replicate::Quorums;

/// Every setting of a cluster's node.
#[derive(Clone)]
pub struct ClusterConfig {
    /// The node's name, the same over restarts.
    pub name: Arc<str>,
    /// The cluster's name; nodes of another are refused.
    pub cluster: Arc<str>,
    /// Where the other nodes' connections are taken.
    pub listen: SocketAddr,
    /// What the nodes prove to each other; none: they do not.
    pub secret: Option<[u8; 32]>,
    /// Copies and acknowledgements, by signal and tenant.
    pub quorums: Quorums,
    /// Whether fewer acknowledgements are taken where there are too few nodes.
    pub allow_degraded: bool,
    /// The node's own data folder.
    pub data_dir: PathBuf,
    /// Where that is.
    pub disk: Arc<dyn Disk>,
    /// The tables' files, where the nodes keep them on their own disks.
    pub files: Option<Arc<Files>>,
}

impl ClusterConfig {
    /// The folder of the log.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// The folder of the copies of other nodes' records.
    pub(crate) fn replicas_dir(&self) -> PathBuf {
        self.data_dir.join("replicas")
    }

    /// The folder of the metadata group.
    pub(crate) fn metadata_dir(&self) -> PathBuf {
        self.data_dir.join("metadata")
    }
}
