//! What the metadata group counts (docs/metadata.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Labels;

/// How a proposal ends: applied, applied and refused by what the group holds, or not known to be
/// applied.
pub const PROPOSAL_OUTCOMES: [&str; 3] = ["ok", "refused", "unavailable"];
/// How a round of questions before an election ends: with an election, or without, because a leader
/// was there, or a majority was not.
pub const ROUND_OUTCOMES: [&str; 3] = ["elected", "led", "alone"];
/// Seconds of one fsync, from 0.5 ms to 8 s, each bound twice the one before.
const SECONDS: [f64; 15] = [
    0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];

/// Every figure of the metadata group. Each field is a handle.
pub struct MetadataMetrics {
    /// Changes of the group's leader that this node saw.
    pub leader_changes: Counter,
    /// Whether this node leads the group: 0 or 1.
    pub leading: Gauge,
    /// The group's term.
    pub term: Gauge,
    /// Voters of the group.
    pub voters: Gauge,
    /// Learners of the group.
    pub learners: Gauge,
    /// Rounds of questions before an election, by `outcome`.
    pub rounds: Family<Labels, Counter>,
    /// Proposals of this node, by `outcome`.
    pub proposals: Family<Labels, Counter>,
    /// Linearizable reads of this node.
    pub reads: Counter,
    /// The last log entry in this node's state.
    pub applied: Gauge,
    /// Entries that the member furthest behind lacks; 0 where this node does not lead.
    pub lag: Gauge,
    /// Entries of the log on disk.
    pub log_entries: Gauge,
    /// Snapshots that were made or received.
    pub snapshots: Counter,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: Gauge,
    /// Seconds of one commit to the group's store.
    pub sync_seconds: Histogram,
    /// Messages of another group or to a lost store that were refused.
    pub foreign: Counter,
    /// Changes of the Paxos group's leader that this node saw.
    pub paxos_leader_changes: Counter,
    /// Entries that the Paxos group has decided.
    pub paxos_decided: Gauge,
    /// The Paxos group's configuration.
    pub paxos_configuration: Gauge,
}

impl MetadataMetrics {
    /// Registers all, at zero.
    pub(crate) fn new(registry: &mut Registry) -> MetadataMetrics {
        macro_rules! add {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let metrics = MetadataMetrics {
            leader_changes: add!(
                "metadata_leader_changes",
                "Changes of the metadata group's leader that this node saw",
                Counter::default()
            ),
            leading: add!(
                "metadata_leading",
                "Whether this node leads the metadata group",
                Gauge::default()
            ),
            term: add!(
                "metadata_term",
                "The metadata group's term",
                Gauge::default()
            ),
            voters: add!(
                "metadata_voters",
                "Voters of the metadata group",
                Gauge::default()
            ),
            learners: add!(
                "metadata_learners",
                "Learners of the metadata group",
                Gauge::default()
            ),
            rounds: add!(
                "metadata_election_rounds",
                "Rounds of questions before an election, by outcome",
                Family::<Labels, Counter>::default()
            ),
            proposals: add!(
                "metadata_proposals",
                "Proposals of this node to the metadata group, by outcome",
                Family::<Labels, Counter>::default()
            ),
            reads: add!(
                "metadata_reads",
                "Linearizable reads of the metadata group by this node",
                Counter::default()
            ),
            applied: add!(
                "metadata_applied_index",
                "The last log entry in this node's state of the metadata group",
                Gauge::default()
            ),
            lag: add!(
                "metadata_lag_entries",
                "Entries that the member furthest behind lacks",
                Gauge::default()
            ),
            log_entries: add!(
                "metadata_log_entries",
                "Entries of the metadata group's log on disk",
                Gauge::default()
            ),
            snapshots: add!(
                "metadata_snapshots",
                "Snapshots of the metadata group that were made or received",
                Counter::default()
            ),
            snapshot_bytes: add!(
                "metadata_snapshot_size",
                "Bytes of the metadata group's newest snapshot",
                Unit::Bytes,
                Gauge::default()
            ),
            sync_seconds: add!(
                "metadata_sync_duration",
                "One commit to the metadata group's store",
                Unit::Seconds,
                Histogram::new(SECONDS)
            ),
            foreign: add!(
                "metadata_foreign_messages",
                "Messages of another group or to a lost store that were refused",
                Counter::default()
            ),
            paxos_leader_changes: add!(
                "metadata_paxos_leader_changes",
                "Changes of the Paxos group's leader that this node saw",
                Counter::default()
            ),
            paxos_decided: add!(
                "metadata_paxos_decided_index",
                "Entries that the Paxos group has decided",
                Gauge::default()
            ),
            paxos_configuration: add!(
                "metadata_paxos_configuration",
                "The Paxos group's configuration",
                Gauge::default()
            ),
        };
        for outcome in PROPOSAL_OUTCOMES {
            drop(metrics.proposals.get_or_create(&by_outcome(outcome)));
        }
        for outcome in ROUND_OUTCOMES {
            drop(metrics.rounds.get_or_create(&by_outcome(outcome)));
        }
        metrics
    }

    /// Counts a proposal.
    pub fn proposed(&self, outcome: &'static str) {
        self.proposals.get_or_create(&by_outcome(outcome)).inc();
    }

    /// Counts a round of questions before an election.
    pub fn asked(&self, outcome: &'static str) {
        self.rounds.get_or_create(&by_outcome(outcome)).inc();
    }
}

fn by_outcome(outcome: &'static str) -> Labels {
    vec![("outcome", outcome)]
}
