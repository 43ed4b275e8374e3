//! Every bound of distributed queries (I5).

use std::time::Duration;

/// Tasks of one stage of a distributed query, and so nodes that take part in it.
pub(crate) const MAX_TASKS: usize = 64;
/// Tasks of distributed queries that one node does at once, for itself and others; a further one is
/// refused.
pub(crate) const MAX_WORKER_TASKS: usize = 1024;
/// Attempts at a distributed query, each without the nodes that were lost in those before; then it
/// runs on one node.
pub(crate) const MAX_ATTEMPTS: usize = 3;
/// How long a node that was lost in a distributed query is not asked again.
pub(crate) const SHUNNED: Duration = Duration::from_secs(5);
/// What of a distributed query's answer is held back until it is whole, in bytes: up to this size a
/// lost node shows in nothing but time.
pub(crate) const WHOLE_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// What one task may have sent to another and that has not taken yet, in bytes.
pub(crate) const TASK_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// What may be on the way between two tasks, in bytes.
pub(crate) const TASK_WINDOW_BYTES: u32 = 512 * 1024;
/// Exchanges of tasks between two nodes at once, in one direction.
pub(crate) const MAX_EXCHANGES: u32 = 1024;
/// What may be on the way between two nodes, in bytes: enough that readers of all exchanges can
/// stand still and none of them holds up another.
pub(crate) const NODE_WINDOW_BYTES: u32 = TASK_WINDOW_BYTES * MAX_EXCHANGES;
/// One message of a tunnel, in bytes, at most.
pub(crate) const TUNNEL_MESSAGE_BYTES: usize = 256 * 1024;
/// How often what tasks held is looked after once they are over.
pub(crate) const TIDY_EVERY: Duration = Duration::from_millis(500);
/// A file is not cut into pieces smaller than this, in bytes.
pub(crate) const MIN_PIECE_BYTES: u64 = 256 * 1024;
/// An error's message on its way between nodes, in bytes; what goes beyond is cut off.
pub(crate) const ERROR_BYTES: usize = 2 * 1024;
