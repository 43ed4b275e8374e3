//! What the connections are started with, and every limit of them (I5).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::limits::MAX_REQUEST_BYTES;

/// The protocol's number; nodes of different ones do not speak with each other.
pub const PROTOCOL_VERSION: u16 = 1;
/// A node's and a cluster's name, in bytes; gossip allows no more.
pub const MAX_NAME_BYTES: usize = 64;
/// One call between nodes, answer, or message of a stream, in bytes: a request of the greatest size, and what it
/// is sent with.
pub const MAX_MESSAGE_BYTES: usize = MAX_REQUEST_BYTES + 1024 * 1024;
/// The first message of a stream, in bytes.
pub const MAX_HEAD_BYTES: usize = 1024 * 1024;
/// Calls in flight to one other node; a further one is refused at once.
pub const MAX_CALLS: usize = 512;
/// Streams open to one other node; a further one is refused at once.
pub const MAX_STREAMS: usize = 64;
/// What one frame carries at most, in bytes: a message up to this size comes in one piece, and
/// another stream's waits for no more than this.
pub const FRAME_BYTES: u32 = 1024 * 1024;
/// What one stream between nodes may have sent and its reader not yet taken, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// What one connection may have sent and its readers not yet taken, in bytes: enough that readers
/// of all streams can stand still and a call still comes through.
pub const CONNECTION_WINDOW_BYTES: u32 =
    STREAM_WINDOW_BYTES * MAX_STREAMS as u32 + 64 * 1024 * 1024;
/// What one stream may have handed over and the socket not yet taken, in bytes, beyond one message.
pub const SEND_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of large calls of other nodes that are being received or served, for all nodes together; a further one
/// is refused at once.
pub const CALL_BYTES: usize = 256 * 1024 * 1024;
/// A call of this many bytes is served without a share of those bytes.
pub const SMALL_CALL_BYTES: usize = 64 * 1024;
/// A message below this many bytes is copied, so that it does not keep its neighbours in memory.
pub const SMALL_MESSAGE_BYTES: usize = 4 * 1024;
/// Bytes of one request's headers.
pub const HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of an error's message; what goes beyond is cut off.
pub const ERROR_BYTES: usize = 4 * 1024;
/// Connections from other nodes; a further one is refused.
pub const MAX_CONNECTIONS: usize = 1024;
/// Connections from one node: it has one, and those that it has not noticed to be broken.
pub const MAX_CONNECTIONS_OF_ONE: usize = 4;
/// Connections whose handshake is not done; a further one is closed.
pub const MAX_HANDSHAKES: usize = 128;
/// How long a node may take from being dialled to the end of the handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a handshake may take on the side that was dialled.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the head of a stream, and the answer to it, may take.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node that could not be reached is not dialled again, the first time; twice as long
/// each further time.
pub const BACKOFF: Duration = Duration::from_millis(50);
/// The longest time that a node that could not be reached is not dialled again.
pub const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How often a connection between nodes is tried for whether the other side is still there.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long that may take before the connection between nodes is closed.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the process is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections are given to say goodbye when the node stops.
pub const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// Who this node is, and where it listens.
#[derive(Clone)]
pub struct PeerConfig {
    /// The node's name, stable over restarts; at most `MAX_NAME_BYTES`.
    pub name: Arc<str>,
    /// The cluster's name; at most `MAX_NAME_BYTES`.
    pub cluster: Arc<str>,
    /// Where to listen. Port 0 is any free one.
    pub listen: SocketAddr,
    /// What every node of the cluster has and nobody else; None on loopback and closed networks.
    pub secret: Option<[u8; 32]>,
}

/// The times that a test cannot wait for.
#[derive(Clone, Copy)]
pub struct Pace {
    pub dial: Duration,
    pub handshake: Duration,
    pub open: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            dial: DIAL_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            open: OPEN_TIMEOUT,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}
