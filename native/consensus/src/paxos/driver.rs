//! The thread that drives omnipaxos.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use otlake_base::{Code, Error, Result};

use super::configuration::{Beginning, Configuration, Event, Shared, Told, Waiting};
use super::engine::{Decided, Engine, Entry};
use super::links::{Links, Sent};
use super::storage::PaxosStorage;
use crate::agreement::{
    AGREEMENT_VERSION, Agreement, AgreementAnswer, AgreementBatch, AgreementCommand,
    AgreementProposal, AgreementRefusal,
};
use crate::core::Core;
use crate::limits::{MAX_BATCH, MAX_PAXOS_LOG};
use crate::raft::lead::GroupTime;
use crate::raft::types::{Member, unavailable};
use crate::session::NAMELESS;
use crate::state::Before;

/// Events that one round takes.
const MAX_ROUND: usize = 256;
/// How often the leader looks whether members should change or something expires.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Driver {
    core: Arc<Core>,
    shared: Arc<Shared>,
    links: Links,
    storage: PaxosStorage,
    engine: Engine,
    configuration: Option<Configuration>,
    own: Option<u64>,
    state: Agreement,
    /// Entries of this configuration in the state.
    applied: usize,
    time: GroupTime,
    leader: Option<(u64, u64)>,
    /// Who waits for what, by session and number.
    waiting: HashMap<(u64, u64), Vec<Waiting>>,
    /// What goes into the next entry.
    gathered: Vec<AgreementProposal>,
}

impl Driver {
    /// What the store holds, as it was left.
    pub(crate) fn open(core: Arc<Core>, shared: Arc<Shared>, links: Links) -> Result<Driver> {
        let mut driver = Driver {
            core,
            shared,
            links,
            storage: PaxosStorage::default(),
            engine: Engine::Outside,
            configuration: None,
            own: None,
            state: Agreement::default(),
            applied: 0,
            time: GroupTime::default(),
            leader: None,
            waiting: HashMap::new(),
            gathered: Vec::new(),
        };
        if let Some(beginning) = Beginning::stored(driver.core.writer.store())? {
            let storage = PaxosStorage::open(driver.core.writer.store())?;
            driver.begin(beginning, storage)?;
        }
        Ok(driver)
    }

    /// Drives until the group is closed or something fails.
    pub(crate) fn run(mut self, events: &Receiver<Event>) {
        let shared = Arc::clone(&self.shared);
        // omnipaxos panics where its storage fails.
        let ended = catch_unwind(AssertUnwindSafe(|| self.drive(events)));
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => Error::new(Code::Internal, "this node's Paxos panicked"),
        };
        tracing::error!(target: "otlake::metadata", %error, "this node's Paxos stopped");
        shared.failure.lock().get_or_insert(error);
    }

    fn drive(&mut self, events: &Receiver<Event>) -> Result<()> {
        self.settle()?;
        let tick = Duration::from_millis(self.core.timing.tick_ms());
        let now = |core: &Core| core.clock.monotonic();
        let mut next = now(&self.core) + tick;
        let mut look_at = next;
        while !*self.core.closing.borrow() {
            match events.recv_timeout(next.saturating_sub(now(&self.core))) {
                Ok(event) => {
                    self.take(event)?;
                    for event in events.try_iter().take(MAX_ROUND) {
                        self.take(event)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if now(&self.core) >= next {
                // Time in which this thread did not run, or waited for the disk, is nobody's silence:
                // it counts as one tick.
                next = now(&self.core) + tick;
                self.engine.tick();
                if next > look_at {
                    look_at = next - tick + LOOK_EVERY;
                    self.look()?;
                }
            }
            self.propose()?;
            self.settle()?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Messages {
                from,
                configuration,
                gap,
                messages,
            } => {
                let present = self.configuration.as_ref().map(|present| present.id);
                if present == Some(configuration) {
                    if gap {
                        self.engine.reconnected(from);
                    }
                    for message in messages {
                        self.engine.handle(message);
                    }
                }
                Ok(())
            }
            Event::Propose(proposal, done) => {
                self.proposed(proposal, done);
                Ok(())
            }
            Event::Begin(beginning) => {
                let known = self.configuration.as_ref().map_or(0, |present| present.id);
                if beginning.configuration.id <= known {
                    return Ok(());
                }
                self.install(beginning)
            }
        }
    }

    /// Answers a proposal that was answered before, or keeps it for the next entry.
    fn proposed(&mut self, proposal: AgreementProposal, done: Waiting) {
        let told = match self.state.sessions.before(&proposal.number) {
            Before::Answer(answer) => Some(Told::Answer(answer)),
            Before::Gone => Some(Told::Answer(AgreementAnswer::Refused(
                AgreementRefusal::Answered,
            ))),
            Before::New | Before::Full if !self.leads() => {
                Some(Told::Elsewhere(self.leader_name()))
            }
            Before::New | Before::Full => None,
        };
        if let Some(told) = told {
            // Whoever asked may be gone.
            let _ = done.send(Ok(told));
            return;
        }
        // One that comes again while it is on its way is on its way already.
        let name = (proposal.number.session, proposal.number.sequence);
        match self.waiting.entry(name) {
            std::collections::hash_map::Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(done);
            }
            std::collections::hash_map::Entry::Vacant(first) => {
                first.insert(vec![done]);
                self.gathered.push(proposal);
            }
        }
    }

    /// Whether this node leads.
    fn leads(&self) -> bool {
        self.own.is_some() && self.engine.leader().map(|(leader, _)| leader) == self.own
    }

    fn leader_name(&self) -> Option<Arc<str>> {
        let (leader, _) = self.engine.leader()?;
        let member = self.configuration.as_ref()?.member(leader)?;
        Some(Arc::clone(&member.name))
    }

    /// Puts what was gathered into one entry.
    fn propose(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let count = self.gathered.len().min(MAX_BATCH);
        let proposals = self.gathered.drain(..count).collect();
        self.append(proposals)
    }

    fn append(&mut self, proposals: Vec<AgreementProposal>) -> Result<()> {
        if !self.leads() || self.engine.ends(&self.storage)? {
            for proposal in &proposals {
                self.answer(proposal, || Err(unavailable("the Paxos group changes")));
            }
            return Ok(());
        }
        let (_, term) = self.engine.leader().unwrap_or_default();
        let clock = &*self.core.clock;
        let batch = AgreementBatch {
            version: AGREEMENT_VERSION,
            time_ms: self.time.now_ms(self.state.time_ms, self.term(term), clock),
            proposals,
        };
        self.engine.append(Entry(batch))
    }

    /// A number that no other time of leading has.
    fn term(&self, round: u64) -> u64 {
        let id = self.configuration.as_ref().map_or(0, |present| present.id);
        u64::from(id) << 32 | round
    }

    fn answer(&mut self, proposal: &AgreementProposal, told: impl Fn() -> Result<Told>) {
        let name = (proposal.number.session, proposal.number.sequence);
        for done in self.waiting.remove(&name).into_iter().flatten() {
            let _ = done.send(told());
        }
    }

    /// Makes durable what was written, then sends and applies what depends on it.
    fn settle(&mut self) -> Result<()> {
        let changes = self.storage.take();
        if !changes.is_empty() {
            self.core.writer.commit_waiting(changes, true)?;
        }
        let messages = self.engine.outgoing();
        if let Some(configuration) = &self.configuration {
            let mut by_member: HashMap<u64, Vec<_>> = HashMap::new();
            for message in messages {
                by_member
                    .entry(message.get_receiver())
                    .or_default()
                    .push(message);
            }
            for (number, messages) in by_member {
                if let Some(member) = configuration.member(number) {
                    let sent = Sent {
                        configuration: configuration.id,
                        messages,
                    };
                    self.links.send(member, sent);
                }
            }
        }
        self.apply()?;
        let leader = self.engine.leader();
        if leader != self.leader {
            self.leader = leader;
            *self.shared.leader.lock() = self.leader_name();
            self.core.metrics.metadata.paxos_leader_changes.inc();
            // Who waits for what the last leader may have lost asks again, under the same number.
            self.waiting.clear();
            self.gathered.clear();
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        let decided = self.engine.decided(self.applied)?;
        if decided.is_empty() {
            return Ok(());
        }
        let mut next = None;
        for one in decided {
            match one {
                Decided::Entry(Entry(batch)) => {
                    self.applied += 1;
                    let answers = self.state.apply(&batch)?;
                    for (proposal, answer) in batch.proposals.iter().zip(answers) {
                        self.answer(proposal, || Ok(Told::Answer(answer.clone())));
                    }
                }
                Decided::Next(configuration) => next = Some(configuration),
            }
        }
        self.publish();
        match next {
            Some(configuration) => self.install(Beginning {
                configuration,
                state: self.state.clone(),
            }),
            None => Ok(()),
        }
    }

    fn publish(&self) {
        let decided = i64::try_from(self.state.applied).unwrap_or(i64::MAX);
        self.core.metrics.metadata.paxos_decided.set(decided);
        self.shared.state.send_replace(Arc::new(self.state.clone()));
    }

    /// Puts a configuration in the place of the present one, on disk first.
    fn install(&mut self, beginning: Beginning) -> Result<()> {
        self.core
            .writer
            .commit_waiting(beginning.changes()?, true)?;
        self.begin(beginning, PaxosStorage::default())
    }

    fn begin(&mut self, beginning: Beginning, storage: PaxosStorage) -> Result<()> {
        let Beginning {
            configuration,
            state,
        } = beginning;
        let id = configuration.id;
        tracing::info!(target: "otlake::metadata", id, "a configuration of the Paxos group begins");
        self.core
            .metrics
            .metadata
            .paxos_configuration
            .set(i64::from(id));
        self.own = configuration.own(&self.core.identity);
        self.storage = storage.clone();
        self.engine = Engine::new(&configuration, self.own, storage, &self.core.timing)?;
        self.state = state;
        self.applied = 0;
        self.leader = None;
        self.waiting.clear();
        self.gathered.clear();
        self.links.keep(&configuration.members);
        *self.shared.configuration.write() = Some(configuration.clone());
        *self.shared.leader.lock() = None;
        self.configuration = Some(configuration);
        self.publish();
        Ok(())
    }

    /// Does what the leader does now and then: members as Raft's voters are, a log that is not too
    /// long, and time for what expires.
    fn look(&mut self) -> Result<()> {
        if !self.leads() || self.engine.ends(&self.storage)? {
            return Ok(());
        }
        let Some(present) = &self.configuration else {
            return Ok(());
        };
        let mut members = self.voters();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let changed = !members.is_empty() && members != present.members;
        if changed || self.storage.length() >= MAX_PAXOS_LOG {
            if members.is_empty() {
                members.clone_from(&present.members);
            }
            let next = Configuration {
                id: present.id + 1,
                members,
            };
            return self.engine.reconfigure(&next);
        }
        let (_, term) = self.engine.leader().unwrap_or_default();
        let term = self.term(term);
        let now = self
            .time
            .now_ms(self.state.time_ms, term, &*self.core.clock);
        if self.state.due().is_some_and(|due| due <= now) {
            let tick = AgreementProposal {
                number: NAMELESS,
                command: AgreementCommand::Tick,
            };
            self.append(vec![tick])?;
        }
        Ok(())
    }

    /// Raft's voters; none while they change.
    fn voters(&self) -> Vec<Member> {
        let metrics = self.core.raft_metrics.borrow();
        let membership = metrics.membership_config.membership();
        if membership.get_joint_config().len() != 1 {
            return Vec::new();
        }
        membership
            .voter_ids()
            .filter_map(|id| membership.get_node(&id).cloned())
            .collect()
    }
}
