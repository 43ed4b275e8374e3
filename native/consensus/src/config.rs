//! What a node's part of the group is started with.

use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::{Code, Error, Result};

use crate::command::check_name;

/// The shortest tick of Paxos's clock; times that are no multiples of it are rounded up.
const MIN_TICK_MS: u64 = 10;

/// When what happens. The defaults are those of `otlake.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// By how much followers differ in how long they wait for a leader, and half of how long they
    /// do at least, in milliseconds.
    pub election_ms: u64,
    /// How often a leader says that it is there, in milliseconds.
    pub heartbeat_ms: u64,
    /// How often a snapshot is made, in milliseconds.
    pub snapshot_every_ms: u64,
    /// How long log entries are kept, about, in milliseconds.
    pub log_kept_ms: u64,
    /// How long a proposal or a linearizable read is tried, in milliseconds.
    pub request_ms: u64,
    /// How long Paxos waits for a leader's sign of life, and for an answer to a proposal, in
    /// milliseconds.
    pub paxos_timeout_ms: u64,
    /// How long until Paxos sends what got no answer again, in milliseconds.
    pub paxos_retry_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            election_ms: 150,
            heartbeat_ms: 50,
            snapshot_every_ms: 600_000,
            log_kept_ms: 3_600_000,
            request_ms: 10_000,
            paxos_timeout_ms: 100,
            paxos_retry_ms: 50,
        }
    }
}

impl Timing {
    /// How long a follower holds to a leader that it hears nothing of: it neither votes for another
    /// nor asks to lead. Twice the election time-out, which is as long as a request to another node
    /// may take: a disk or a machine that stands still for less than that costs no election.
    pub(crate) fn hold_ms(&self) -> u64 {
        2 * self.election_ms
    }

    /// By how much followers differ in it.
    pub(crate) fn spread_ms(&self) -> u64 {
        self.election_ms
    }

    /// The ticks of Paxos's clock, in milliseconds: as long as all its times can be told in. Each tick
    /// wakes a thread, on nodes that have nothing to do, too.
    pub(crate) fn tick_ms(&self) -> u64 {
        let (mut tick, mut rest) = (self.paxos_timeout_ms, self.paxos_retry_ms);
        while rest > 0 {
            (tick, rest) = (rest, tick % rest);
        }
        tick.max(MIN_TICK_MS)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(Code::ConfigInvalid, what));
        if !(20..=60_000).contains(&self.election_ms) {
            return invalid("the election time-out is 20 to 60,000 ms");
        }
        if self.heartbeat_ms < 5 || self.heartbeat_ms * 2 > self.election_ms {
            return invalid(
                "heartbeats come every 5 ms or less often, and twice in an election time-out at least",
            );
        }
        if self.snapshot_every_ms == 0 || self.log_kept_ms == 0 || self.request_ms == 0 {
            return invalid(
                "times between snapshots, of the log and of requests are more than 0 ms",
            );
        }
        if self.paxos_timeout_ms < 20 || self.paxos_retry_ms < 10 {
            return invalid("Paxos waits 20 ms or longer, and sends again after 10 ms or later");
        }
        Ok(())
    }
}

/// What a node's part of the group is started with.
#[derive(Clone, Debug)]
pub struct MetadataConfig {
    /// The node's name, the same over restarts.
    pub name: Arc<str>,
    /// The folder of the stores.
    pub folder: PathBuf,
    /// The group that the node must be in, where that is known; a store of another is refused.
    pub group: Option<u128>,
    /// When what happens.
    pub timing: Timing,
}

impl MetadataConfig {
    /// The configuration of a node, with the defaults.
    pub fn new(name: impl Into<Arc<str>>, folder: impl Into<PathBuf>) -> MetadataConfig {
        MetadataConfig {
            name: name.into(),
            folder: folder.into(),
            group: None,
            timing: Timing::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("node's name", &self.name)?;
        self.timing.check()
    }
}
