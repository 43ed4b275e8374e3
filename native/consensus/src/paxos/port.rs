//! The port's implementation: finds the leader, and asks again until there is an answer.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use otlake_base::{Code, Error, Result};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::configuration::{Beginning, Configuration, Event, Shared, Told};
use super::driver::Driver;
use super::links::{self, Links};
use super::service::{PROPOSE, PaxosService, STATE, propose};
use crate::agreement::{
    Agreement, AgreementAnswer, AgreementCommand, AgreementPort, AgreementProposal,
};
use crate::core::Core;
use crate::group::MetadataGroup;
use crate::limits::{MAX_EVENTS, MAX_PENDING};
use crate::raft::types::{Member, unavailable};
use crate::session::Proposer;

/// How often a node that has no configuration yet asks for one.
const SEEK: Duration = Duration::from_millis(250);

/// This node's part of the Paxos group.
pub(crate) struct Paxos {
    core: Arc<Core>,
    shared: Arc<Shared>,
    proposer: Proposer,
    pending: Semaphore,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Paxos {
    /// Starts the thread.
    ///
    /// # Errors
    /// `METADATA_CORRUPT`, `METADATA_VERSION`, `METADATA_IO`.
    pub(crate) fn start(
        core: Arc<Core>,
        handle: Handle,
        states: watch::Sender<Arc<Agreement>>,
        session: u64,
    ) -> Result<Arc<Paxos>> {
        let (events, received) = std::sync::mpsc::sync_channel(MAX_EVENTS);
        let shared = Arc::new(Shared {
            configuration: RwLock::default(),
            state: states,
            leader: Mutex::default(),
            events,
            failure: Mutex::default(),
        });
        let links = Links::new(Arc::clone(&core), Arc::clone(&shared), handle.clone());
        let driver = Driver::open(Arc::clone(&core), Arc::clone(&shared), links)?;
        let thread = std::thread::Builder::new()
            .name("otlake-paxos".to_owned())
            .spawn(move || driver.run(&received))
            .map_err(|error| {
                Error::new(Code::MetadataIo, format!("no thread was started: {error}"))
            })?;
        let seeking = seek(Arc::clone(&core), Arc::clone(&shared));
        let guard = handle.enter();
        core.spawn(seeking);
        drop(guard);
        Ok(Arc::new(Paxos {
            core,
            shared,
            proposer: Proposer::new(session),
            pending: Semaphore::new(MAX_PENDING),
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// What answers others' requests.
    pub(crate) fn service(&self) -> PaxosService {
        PaxosService {
            core: Arc::clone(&self.core),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Begins the group with this node alone, where it has not begun.
    pub(crate) async fn found(&self) -> Result<()> {
        if self.shared.configuration_id() > 0 {
            return Ok(());
        }
        let first = Beginning {
            configuration: Configuration::first(self.core.identity.member()),
            state: Agreement::default(),
        };
        self.shared
            .events
            .send(Event::Begin(first))
            .map_err(|_| self.failure())?;
        let mut states = self.shared.state.subscribe();
        while self.shared.configuration_id() == 0 {
            states.changed().await.map_err(|_| self.failure())?;
        }
        Ok(())
    }

    /// The present configuration's number, its members' names and its leader's, for people.
    pub(crate) fn told(&self) -> (u32, Vec<Arc<str>>, Option<Arc<str>>) {
        let configuration = self.shared.configuration.read();
        let members = configuration.iter().flat_map(|one| &one.members);
        (
            configuration.as_ref().map_or(0, |one| one.id),
            members.map(|member| Arc::clone(&member.name)).collect(),
            self.shared.leader.lock().clone(),
        )
    }

    /// Why the thread stopped, where it did.
    pub(crate) fn stopped(&self) -> Option<Error> {
        self.shared.failure.lock().clone()
    }

    /// Waits for the end of the thread, which the group's end has told to go.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(target: "otlake::metadata", "the thread of Paxos panicked");
        }
    }

    fn failure(&self) -> Error {
        let failure = self.shared.failure.lock().clone();
        failure.unwrap_or_else(|| unavailable("this node's Paxos has ended"))
    }

    /// Proposes to the leader until it answers or the time is over.
    async fn decided(&self, command: AgreementCommand) -> Result<AgreementAnswer> {
        command.check()?;
        let _permit = self.pending.acquire().await;
        let open = self.proposer.open();
        let pause = Duration::from_millis(self.core.timing.paxos_retry_ms);
        let mut last = unavailable("no leader of the Paxos group is known");
        let tried = async {
            let mut hint = None;
            let mut hinted = false;
            let mut round = 0;
            loop {
                let proposal = AgreementProposal {
                    number: open.number(),
                    command: command.clone(),
                };
                let to = hint.take().or_else(|| self.candidate(round));
                round += 1;
                match self.attempt(to, proposal).await {
                    Ok(Told::Answer(answer)) => return Ok(answer),
                    // Whom one that does not lead names is asked at once, and only once in a row.
                    Ok(Told::Elsewhere(Some(name))) if !hinted => {
                        hinted = true;
                        hint = self.member(&name);
                        continue;
                    }
                    Ok(Told::Elsewhere(_)) => hinted = false,
                    Err(error) if error.code == Code::MetadataInvalid => return Err(error),
                    Err(error) => last = error,
                }
                if let Some(failure) = self.stopped() {
                    return Err(failure);
                }
                tokio::time::sleep(pause).await;
            }
        };
        let limit = Duration::from_millis(self.core.timing.request_ms);
        match tokio::time::timeout(limit, tried).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(last)),
        }
    }

    async fn attempt(&self, to: Option<Member>, proposal: AgreementProposal) -> Result<Told> {
        let timeout = Duration::from_millis(self.core.timing.paxos_timeout_ms);
        let Some(member) = to.filter(|member| member.name != self.core.identity.name) else {
            let own = tokio::time::timeout(timeout, propose(&self.shared, proposal));
            return own
                .await
                .unwrap_or_else(|_| Err(unavailable("nothing was decided in time")));
        };
        links::call(&self.core, &member, PROPOSE, &proposal, timeout).await
    }

    /// Whom to ask: who leads as far as this node knows, and, every other time, one voter after the
    /// other: what this node knows may be old.
    fn candidate(&self, round: usize) -> Option<Member> {
        let leader = self.shared.leader.lock().clone();
        if let Some(leader) = leader.filter(|_| round.is_multiple_of(2)) {
            return self.member(&leader);
        }
        let round = round / 2;
        let metrics = self.core.raft_metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let voter = voters.get(round % voters.len().max(1))?;
        membership.get_node(voter).cloned()
    }

    fn member(&self, name: &str) -> Option<Member> {
        let metrics = self.core.raft_metrics.borrow();
        let mut nodes = metrics.membership_config.nodes();
        nodes
            .find(|(_, member)| &*member.name == name)
            .map(|(_, member)| member.clone())
    }

    fn is_member(&self) -> bool {
        let configuration = self.shared.configuration.read();
        let own = |one: &Configuration| one.own(&self.core.identity);
        configuration.as_ref().and_then(own).is_some()
    }

    async fn seen(&self) -> Result<Arc<Agreement>> {
        let index = match self.decided(AgreementCommand::Look).await? {
            AgreementAnswer::Entry(index) => index,
            answer => return Err(answer.refusal()),
        };
        let limit = Duration::from_millis(self.core.timing.request_ms);
        let waited = async {
            loop {
                if self.is_member() {
                    let mut states = self.shared.state.subscribe();
                    let there = states.wait_for(|state| state.applied >= index);
                    // A member that is removed meanwhile waits in vain.
                    if let Ok(Ok(state)) = tokio::time::timeout(SEEK, there).await {
                        return Arc::clone(&state);
                    }
                } else if let Some(state) = self.fetched(index).await {
                    return state;
                }
            }
        };
        tokio::time::timeout(limit, waited)
            .await
            .map_err(|_| unavailable("the Paxos group's state did not come in time"))
    }

    /// The state of a member, where this node is none.
    async fn fetched(&self, index: u64) -> Option<Arc<Agreement>> {
        let candidates: Vec<_> = (0..8).filter_map(|round| self.candidate(round)).collect();
        for member in candidates {
            let state = links::call::<Agreement>(&self.core, &member, STATE, &(), SEEK * 4).await;
            if let Ok(state) = state
                && state.applied >= index
            {
                let state = Arc::new(state);
                self.shared.state.send_if_modified(|last| {
                    let newer = last.applied < state.applied && !self.is_member();
                    if newer {
                        *last = Arc::clone(&state);
                    }
                    newer
                });
                return Some(state);
            }
        }
        tokio::time::sleep(SEEK).await;
        None
    }
}

/// A node that has no configuration asks Raft's voters for theirs.
async fn seek(core: Arc<Core>, shared: Arc<Shared>) {
    let mut round = 0;
    while core.pause(SEEK).await {
        if shared.configuration_id() > 0 || core.identity.group.get().is_none() {
            continue;
        }
        let voter = {
            let metrics = core.raft_metrics.borrow();
            let membership = metrics.membership_config.membership();
            let voters: Vec<_> = membership.voter_ids().collect();
            let voter = voters.get(round % voters.len().max(1));
            voter.and_then(|id| membership.get_node(id).cloned())
        };
        round += 1;
        if let Some(voter) = voter.filter(|voter| voter.name != core.identity.name) {
            links::fetch(&core, &shared, &voter).await;
        }
    }
}

/// The port, as others hold it.
pub(crate) struct Port {
    pub group: Arc<MetadataGroup>,
    pub states: watch::Sender<Arc<Agreement>>,
}

#[async_trait]
impl AgreementPort for Port {
    async fn propose(&self, command: AgreementCommand) -> Result<AgreementAnswer> {
        let part = self.group.part()?;
        let paxos = Arc::clone(&part.paxos);
        part.inside(async move { paxos.decided(command).await })
            .await
    }

    async fn read(&self) -> Result<Arc<Agreement>> {
        let part = self.group.part()?;
        let paxos = Arc::clone(&part.paxos);
        part.inside(async move { paxos.seen().await }).await
    }

    fn local(&self) -> Arc<Agreement> {
        Arc::clone(&self.states.borrow())
    }

    fn watch(&self) -> watch::Receiver<Arc<Agreement>> {
        self.states.subscribe()
    }
}
