//! What decides on entries: omnipaxos, or, in a group of one, the disk alone.

use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
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

/// For how many election time-outs a member that neither leads nor follows waits for others to mend that.
const ASTRAY_ROUNDS: u64 = 8;
/// Messages that omnipaxos sets room aside for.
const BUFFER: usize = 256;

/// One of several members.
pub(crate) struct Member {
    pub(super) paxos: OmniPaxos<Entry, PaxosStorage>,
    storage: PaxosStorage,
    members: usize,
    own: u64,
    /// Ticks for which this member has neither led nor followed.
    astray: u64,
    /// Of these, how many are too many.
    patience: u64,
    /// The leader that must not be asked to prepare this member again: it is doing so.
    muted: Option<u64>,
}

/// What decides.
pub(crate) enum Engine {
    /// Several members.
    Paxos(Box<Member>),
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
        let tick_ms = timing.tick_ms();
        let config = OmniPaxosConfig {
            cluster_config: ClusterConfig {
                configuration_id: configuration.id,
                nodes: (1..=count).collect(),
                flexible_quorum: None,
            },
            server_config: ServerConfig {
                pid,
                election_tick_timeout: timing.paxos_timeout_ms.div_ceil(tick_ms),
                resend_message_tick_timeout: timing.paxos_retry_ms.div_ceil(tick_ms),
                buffer_size: BUFFER,
                ..ServerConfig::default()
            },
        };
        let paxos = config
            .build(storage.clone())
            .map_err(|error| broken(&error))?;
        Ok(Engine::Paxos(Box::new(Member {
            paxos,
            storage,
            members: configuration.members.len(),
            own: pid,
            astray: 0,
            muted: None,
            // Each waits for another time, so that not all try at once.
            patience: timing.paxos_timeout_ms.div_ceil(tick_ms) * (ASTRAY_ROUNDS + 2 * pid),
        })))
    }

    /// Lets a tick pass.
    pub(crate) fn tick(&mut self) {
        if let Engine::Paxos(member) = self {
            member.tick();
        }
    }

    /// Takes a message of another member.
    pub(crate) fn handle(&mut self, message: Message<Entry>) {
        if let Engine::Paxos(member) = self {
            member.handle(message);
        }
    }

    /// Messages of this member were lost.
    pub(crate) fn reconnected(&mut self, member: u64) {
        if let Engine::Paxos(own) = self {
            own.paxos.reconnected(member);
        }
    }

    /// Takes what is to be sent.
    pub(crate) fn outgoing(&mut self) -> Vec<Message<Entry>> {
        let mut messages = Vec::new();
        if let Engine::Paxos(member) = self {
            member.paxos.take_outgoing_messages(&mut messages);
            member.mute(&mut messages);
            let length = member.storage.length();
            for message in &mut messages {
                uncounted(message, length);
            }
        }
        messages
    }

    /// The number of the member that leads, as far as this one knows, and which time it does (a number
    /// that grows). This one leads only once a majority has followed it.
    pub(crate) fn leader(&self) -> Option<(u64, u64)> {
        match self {
            Engine::Paxos(member) => {
                let (leader, accepting) = member.paxos.get_current_leader()?;
                let round = u64::from(member.paxos.get_promise().n);
                (accepting || leader != member.own).then_some((leader, round))
            }
            Engine::Alone(_) => Some((1, 1)),
            Engine::Outside => None,
        }
    }

    /// Has an entry decided, unless the configuration ends before.
    pub(crate) fn append(&mut self, entry: Entry) -> Result<()> {
        match self {
            Engine::Paxos(member) => member
                .paxos
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
            Engine::Paxos(member) => member
                .paxos
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
            Engine::Paxos(member) => {
                let entries = member.paxos.read_decided_suffix(from).unwrap_or_default();
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

impl Member {
    /// Takes a message. omnipaxos 0.2.4 ignores a leader that prepares it anew while it follows that
    /// leader already. But where a late request to be prepared has made the leader forget that it
    /// follows, and its answer is lost, the leader goes on preparing it and sends it nothing else.
    fn handle(&mut self, message: Message<Entry>) {
        if let Message::SequencePaxos(message) = &message
            && let PaxosMsg::Prepare(prepare) = &message.msg
            && prepare.n == self.paxos.get_promise()
            && self.paxos.get_current_leader() == Some((message.from, true))
        {
            self.paxos.reconnected(message.from);
            self.muted = Some(message.from);
        }
        self.paxos.handle_incoming(message);
    }

    /// Takes out the requests that `handle` gave rise to.
    fn mute(&mut self, messages: &mut Vec<Message<Entry>>) {
        let Some(muted) = self.muted.take() else {
            return;
        };
        messages.retain(|message| {
            let Message::SequencePaxos(message) = message else {
                return true;
            };
            message.to != muted || !matches!(message.msg, PaxosMsg::PrepareReq(_))
        });
    }

    /// Lets a tick pass. omnipaxos 0.2.4 leaves a member aside that has promised more than the leader
    /// leads with (it began to lead itself, and crashed or was cut off): nobody answers it, and as long
    /// as the others are content nobody takes over. Such a member, where it hears a majority, has the
    /// leader elected anew.
    fn tick(&mut self) {
        self.paxos.tick();
        let accepting = self.paxos.get_current_leader().is_some_and(|(_, is)| is);
        self.astray = if accepting { 0 } else { self.astray + 1 };
        if self.astray >= self.patience {
            self.astray = 0;
            let heard = self.paxos.get_ui_states().heartbeats.len() + 1;
            if heard * 2 > self.members {
                self.paxos.try_become_leader();
            }
        }
    }
}

/// omnipaxos 0.2.4 counts a stop sign that both sides have as one of the entries that need not be sent,
/// and counts it once more where it arrives: the receiver then says that it has more than there is, and
/// the stop sign is never decided. What is sent begins where the log of entries ends at the latest.
fn uncounted(message: &mut Message<Entry>, length: usize) {
    let Message::SequencePaxos(message) = message else {
        return;
    };
    let sync = match &mut message.msg {
        PaxosMsg::AcceptSync(accept) => Some(&mut accept.log_sync),
        PaxosMsg::Promise(promise) => promise.log_sync.as_mut(),
        _ => None,
    };
    if let Some(sync) = sync
        && sync.stopsign.is_some()
        && sync.suffix.is_empty()
    {
        sync.sync_idx = sync.sync_idx.min(length);
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
