//! What decides on entries: omnipaxos, or, in a group of one, the disk alone.

use omnipaxos::messages::Message;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use otlake_base::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::storage::PaxosStorage;
use crate::agreement::AgreementBatch;
use crate::config::Timing;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Entry(pub AgreementBatch);

impl omnipaxos::storage::Entry for Entry {
    type Snapshot = NoSnapshot;
}

/// What was decided.
pub(crate) enum Decided {
    /// An entry.
    Entry(Entry),
    /// That another configuration follows.
    Next(Configuration),
}

/// The milliseconds of one tick of omnipaxos's clock.
pub(crate) const TICK_MS: u64 = 10;
/// Messages that omnipaxos sets room aside for.
const BUFFER: usize = 256;

/// What decides.
pub(crate) enum Engine {
    /// Several members.
    Paxos(Box<OmniPaxos<Entry, PaxosStorage>>),
    /// This node alone.
    Alone(PaxosStorage),
    /// Others, this node being no member.
    Outside,
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("Paxos: {error}"))
}

impl Engine {
    /// What decides in a configuration, where this node has a number in it.
    pub(crate) fn new(
        configuration: &Configuration,
        own: Option<u64>,
        storage: PaxosStorage,
        timing: &Timing,
    ) -> Result<Engine> {
        let Some(pid) = own else {
            return Ok(Engine::Outside);
        };
        let count = configuration.members.len() as u64;
        if count == 1 {
            return Ok(Engine::Alone(storage));
        }
        let config = OmniPaxosConfig {
            cluster_config: ClusterConfig {
                configuration_id: configuration.id,
                nodes: (1..=count).collect(),
                flexible_quorum: None,
            },
            server_config: ServerConfig {
                pid,
                election_tick_timeout: timing.paxos_timeout_ms.div_ceil(TICK_MS),
                resend_message_tick_timeout: timing.paxos_retry_ms.div_ceil(TICK_MS),
                buffer_size: BUFFER,
                ..ServerConfig::default()
            },
        };
        let paxos = config.build(storage).map_err(|error| broken(&error))?;
        Ok(Engine::Paxos(Box::new(paxos)))
    }

    /// Lets a tick pass.
    pub(crate) fn tick(&mut self) {
        if let Engine::Paxos(paxos) = self {
            paxos.tick();
        }
    }

    /// Takes a message of another member.
    pub(crate) fn handle(&mut self, message: Message<Entry>) {
        if let Engine::Paxos(paxos) = self {
            paxos.handle_incoming(message);
        }
    }

    /// Messages of this member were lost.
    pub(crate) fn reconnected(&mut self, member: u64) {
        if let Engine::Paxos(paxos) = self {
            paxos.reconnected(member);
        }
    }

    /// Takes what is to be sent.
    pub(crate) fn outgoing(&mut self) -> Vec<Message<Entry>> {
        let mut messages = Vec::new();
        if let Engine::Paxos(paxos) = self {
            paxos.take_outgoing_messages(&mut messages);
        }
        messages
    }

    /// The number of the member that leads, and which time it does (a number that grows).
    pub(crate) fn leader(&self) -> Option<(u64, u64)> {
        match self {
            Engine::Paxos(paxos) => {
                let promise = paxos.get_promise();
                (promise.pid != 0).then_some((promise.pid, u64::from(promise.n)))
            }
            Engine::Alone(_) => Some((1, 1)),
            Engine::Outside => None,
        }
    }

    /// Has an entry decided, unless the configuration ends before.
    pub(crate) fn append(&mut self, entry: Entry) -> Result<()> {
        match self {
            Engine::Paxos(paxos) => paxos
                .append(entry)
                .map_err(|_| broken(&"the configuration ends")),
            Engine::Alone(storage) => {
                storage
                    .append_entry(entry)
                    .map_err(|error| broken(&error))?;
                let decided = storage.length();
                storage
                    .set_decided_idx(decided)
                    .map_err(|error| broken(&error))
            }
            Engine::Outside => Err(broken(&"this node is no member")),
        }
    }

    /// Has the configuration end, and another follow.
    pub(crate) fn reconfigure(&mut self, next: &Configuration) -> Result<()> {
        let metadata = serde_json::to_vec(next).map_err(|error| broken(&error))?;
        // Who is in the next configuration is told by the metadata; omnipaxos takes none of one node.
        let count = next.members.len().max(2) as u64;
        let config = ClusterConfig {
            configuration_id: next.id,
            nodes: (1..=count).collect(),
            flexible_quorum: None,
        };
        match self {
            Engine::Paxos(paxos) => paxos
                .reconfigure(config, Some(metadata))
                .map_err(|_| broken(&"the configuration ends already")),
            Engine::Alone(storage) => {
                let stopsign = StopSign::with(config, Some(metadata));
                let decided = storage.length() + 1;
                storage
                    .set_stopsign(Some(stopsign))
                    .and_then(|()| storage.set_decided_idx(decided))
                    .map_err(|error| broken(&error))
            }
            Engine::Outside => Err(broken(&"this node is no member")),
        }
    }

    /// Whether the configuration ends, decided or not.
    pub(crate) fn ends(&self, storage: &PaxosStorage) -> Result<bool> {
        let stopsign = storage.get_stopsign().map_err(|error| broken(&error))?;
        Ok(stopsign.is_some())
    }

    /// What was decided, from an index on.
    pub(crate) fn decided(&self, from: usize) -> Result<Vec<Decided>> {
        match self {
            Engine::Outside => Ok(Vec::new()),
            Engine::Alone(storage) => {
                let length = storage.length();
                let entries = storage
                    .get_entries(from.min(length), length)
                    .map_err(|error| broken(&error))?;
                let mut decided: Vec<Decided> = entries.into_iter().map(Decided::Entry).collect();
                if let Some(stopsign) = storage.get_stopsign().map_err(|error| broken(&error))? {
                    decided.push(Decided::Next(next(&stopsign)?));
                }
                Ok(decided)
            }
            Engine::Paxos(paxos) => {
                let entries = paxos.read_decided_suffix(from).unwrap_or_default();
                let mut decided = Vec::with_capacity(entries.len());
                for entry in entries {
                    match entry {
                        LogEntry::Decided(entry) => decided.push(Decided::Entry(entry)),
                        LogEntry::StopSign(stopsign, true) => {
                            decided.push(Decided::Next(next(&stopsign)?));
                        }
                        LogEntry::StopSign(_, false) | LogEntry::Undecided(_) => break,
                        LogEntry::Trimmed(_) | LogEntry::Snapshotted(_) => {
                            return Err(broken(&"the log of a configuration was cut"));
                        }
                    }
                }
                Ok(decided)
            }
        }
    }
}

/// The configuration that a stop sign names.
fn next(stopsign: &StopSign) -> Result<Configuration> {
    let metadata = stopsign.metadata.as_deref().unwrap_or_default();
    serde_json::from_slice(metadata).map_err(|error| {
        Error::new(
            Code::MetadataCorrupt,
            format!("the end of a configuration of the Paxos group cannot be read: {error}"),
        )
    })
}
