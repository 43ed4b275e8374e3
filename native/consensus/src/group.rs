//! This node's part of the metadata group: the handle that everything else uses.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use otlake_base::{Clock, Code, Disk, Error, Metrics, RealDisk, Result};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::agreement::AgreementPort;
use crate::command::{Answer, Command, Proposal, check_name};
use crate::config::MetadataConfig;
use crate::core::Core;
use crate::door::Doors;
use crate::limits::{
    ATTEMPT, MAX_MEMBERS, MAX_PENDING, REOPEN_FIRST, REOPEN_LAST, RETRY_FIRST, RETRY_LAST,
};
use crate::part::{Opener, Part, Start};
use crate::paxos::Port;
use crate::raft::members::Wishes;
use crate::raft::network::{PROPOSE, READ, RELAY};
use crate::raft::types::{Member, unavailable};
use crate::session::Proposer;
use crate::state::State;
use crate::status::Status;
use crate::store::Store;
use crate::wire::Wire;

/// How often it is looked whether this node's part still runs.
const WATCH: Duration = Duration::from_millis(250);

/// This node's part of the metadata group.
pub struct MetadataGroup {
    start: Arc<Start>,
    /// The run; none once the group is closed.
    part: RwLock<Option<Arc<Part>>>,
    /// Why the last attempt to begin another run failed.
    failure: Mutex<Option<Error>>,
    proposer: Proposer,
    pending: Semaphore,
    closing: watch::Sender<bool>,
}

impl MetadataGroup {
    /// Opens the store and takes part in the group that it is of, or waits to be added to one.
    /// `doors` are where others' requests arrive: they can be registered with what listens beforehand,
    /// and are opened here. Where the disk fails later, this node's part ends, and begins again by
    /// itself.
    ///
    /// # Errors
    /// `METADATA_FOREIGN` where the store is of another node or group than the configuration says;
    /// `METADATA_CORRUPT`, `METADATA_VERSION`, `METADATA_IO`, `NODE_DIRECTORY_LOCKED`,
    /// `CONFIG_INVALID`.
    pub async fn start(
        config: MetadataConfig,
        wire: Arc<dyn Wire>,
        doors: &Doors,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<MetadataGroup>> {
        let path = config.folder.join("metadata.redb");
        let name = Arc::clone(&config.name);
        let store: Opener = Arc::new(move || Store::open(&path, &name));
        Self::start_over(config, store, wire, doors, clock, metrics).await
    }

    /// The same, over any store.
    pub(crate) async fn start_over(
        config: MetadataConfig,
        store: Opener,
        wire: Arc<dyn Wire>,
        doors: &Doors,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<MetadataGroup>> {
        config.check()?;
        let session = RealDisk.unique(&config.folder) as u64;
        let start = Arc::new(Start {
            config,
            wire,
            doors: doors.clone(),
            clock,
            metrics,
            store,
            states: watch::channel(Arc::default()).0,
            agreements: watch::channel(Arc::default()).0,
            wishes: watch::channel(None).0,
        });
        let part = Part::open(&start).await?;
        let group = Arc::new(MetadataGroup {
            start,
            part: RwLock::new(Some(part)),
            failure: Mutex::default(),
            proposer: Proposer::new(session),
            pending: Semaphore::new(MAX_PENDING),
            closing: watch::channel(false).0,
        });
        let closing = group.closing.subscribe();
        tokio::spawn(keep_running(Arc::downgrade(&group), closing));
        Ok(group)
    }

    /// Makes a group of this node alone. Changes nothing where the node is in one.
    ///
    /// # Errors
    /// `METADATA_IO`, `METADATA_UNAVAILABLE`.
    pub async fn bootstrap(&self) -> Result<()> {
        let part = self.part()?;
        part.bootstrap().await?;
        if self.local().group == 0 {
            // Where a crash came between, the next start's bootstrap does the rest.
            let group = part.core.identity.group();
            self.propose(Command::Found { group }).await?.granted()?;
        }
        Ok(())
    }

    /// Has a command applied, once, whoever leads and however often that changes meanwhile. When this
    /// returns, a majority has it on stable storage.
    ///
    /// # Errors
    /// `METADATA_INVALID` where the command can never be; `METADATA_UNAVAILABLE` where no leader
    /// answered in time: then it may be applied, or not. What the state machine refuses is an answer.
    pub async fn propose(&self, command: Command) -> Result<Answer> {
        command.check()?;
        let permit = self.pending.acquire().await;
        let counters = &self.start.metrics.metadata;
        let open = self.proposer.open();
        let result = self
            .retried(Relays::Allowed, |part, way| {
                let proposal = Proposal {
                    number: open.number(),
                    command: command.clone(),
                };
                let core = Arc::clone(&part.core);
                inside(part, async move {
                    let link = &core.link;
                    let answers: Result<Vec<Answer>> = match way {
                        Way::Here => core.lead.propose(vec![proposal]).await,
                        Way::Leader(to) => link.call(&to, PROPOSE, &[proposal], &[], ATTEMPT).await,
                        Way::Through(to) => link.call(&to, RELAY, &[proposal], &[], ATTEMPT).await,
                    };
                    answers?
                        .pop()
                        .ok_or_else(|| unavailable("the leader gave no answer"))
                })
            })
            .await;
        drop((open, permit));
        counters.proposed(match &result {
            Ok(Answer::Refused(_)) => "refused",
            Ok(_) => "ok",
            Err(_) => "unavailable",
        });
        result
    }

    /// The state, with all in it that was proposed and answered anywhere before this was called.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where no leader answered in time.
    pub async fn read(&self) -> Result<Arc<State>> {
        self.start.metrics.metadata.reads.inc();
        // Who does not reach the leader does not get the entry that it would have to wait for.
        self.retried(Relays::None, |part, way| {
            let core = Arc::clone(&part.core);
            inside(part, async move {
                let index: u64 = match way {
                    Way::Here => core.lead.read_index().await?,
                    Way::Leader(to) | Way::Through(to) => {
                        core.link.call(&to, READ, &(), &[], ATTEMPT).await?
                    }
                };
                let mut states = core.machine.watch();
                let state = states.wait_for(|state| state.applied >= index).await;
                state
                    .map(|state| Arc::clone(&state))
                    .map_err(|_| unavailable("this node's part of the metadata group is closed"))
            })
        })
        .await
    }

    /// The state as this node has it, which may lack what others know already.
    pub fn local(&self) -> Arc<State> {
        Arc::clone(&self.start.states.borrow())
    }

    /// The state as this node has it, whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.start.states.subscribe()
    }

    /// Says who should vote, and who else should be a member; `None` keeps the members that there are.
    /// Every node may say so at any time: whoever leads changes the group step by step until it is so.
    ///
    /// # Errors
    /// `METADATA_INVALID` where not 1, 3 or 5 voters, or too many members, are named.
    pub fn set_voters(&self, voters: &[Arc<str>], learners: Option<&[Arc<str>]>) -> Result<()> {
        let invalid = |what: String| Err(Error::new(Code::MetadataInvalid, what));
        let voters: BTreeSet<Arc<str>> = voters.iter().cloned().collect();
        let learners: Option<BTreeSet<Arc<str>>> =
            learners.map(|names| names.iter().cloned().collect());
        if !matches!(voters.len(), 1 | 3 | 5) {
            return invalid(format!("1, 3 or 5 nodes vote, not {}", voters.len()));
        }
        let members = voters.len() + learners.as_ref().map_or(0, BTreeSet::len);
        if members > MAX_MEMBERS {
            return invalid(format!(
                "{members} members are named; at most {MAX_MEMBERS} are taken"
            ));
        }
        for name in voters.iter().chain(learners.iter().flatten()) {
            check_name("node's name", name)?;
        }
        let wishes = Some(Wishes { voters, learners });
        self.start.wishes.send_if_modified(|last| {
            let changed = *last != wishes;
            *last = wishes;
            changed
        });
        Ok(())
    }

    /// The group as this node sees it; of one that is closed, its name alone.
    pub fn status(&self) -> Status {
        let mut status = match self.part() {
            Ok(part) => Status::of(&part),
            Err(error) => Status {
                name: Arc::clone(&self.start.config.name),
                failure: Some(error.to_string()),
                ..Status::default()
            },
        };
        if let Some(error) = &*self.failure.lock() {
            status.failure = Some(error.to_string());
        }
        status
    }

    /// Locks and transactions.
    pub fn agreement(self: &Arc<Self>) -> Arc<dyn AgreementPort> {
        Arc::new(Port {
            group: Arc::clone(self),
            states: self.start.agreements.clone(),
        })
    }

    /// The id of the group; none where the node is in none.
    pub fn group(&self) -> Option<u128> {
        let part = self.part().ok()?;
        part.core.identity.group.get().copied()
    }

    /// How many entries the log holds on disk; 0 where the group is closed.
    pub fn log_length(&self) -> u64 {
        self.part().map_or(0, |part| part.core.log.length())
    }

    /// Makes a snapshot now, besides the regular ones.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where this node's part has stopped.
    pub async fn snapshot(&self) -> Result<()> {
        let part = self.part()?;
        let core = Arc::clone(&part.core);
        inside(part, async move {
            let triggered = core.raft.trigger().snapshot().await;
            triggered.map_err(|error| core.stopped(&error))
        })
        .await
    }

    /// Removes log entries that the newest snapshot holds, now, up to an index.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where this node's part has stopped.
    pub async fn purge(&self, index: u64) -> Result<()> {
        let part = self.part()?;
        let core = Arc::clone(&part.core);
        inside(part, async move {
            let triggered = core.raft.trigger().purge_log(index).await;
            triggered.map_err(|error| core.stopped(&error))
        })
        .await
    }

    /// Ends this node's part. What is under way fails; the store is closed when this returns. A
    /// second call changes nothing.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let part = self.part.write().take();
        if let Some(part) = part {
            part.close().await;
        }
    }

    /// The run that is under way.
    pub(crate) fn part(&self) -> Result<Arc<Part>> {
        self.part.read().clone().ok_or_else(|| {
            Error::new(
                Code::HandleClosed,
                "this node's part of the metadata group is closed",
            )
        })
    }

    /// Puts a new run in the place of the last; gives it back where the group is closed.
    fn replace(&self, part: Arc<Part>) -> Option<Arc<Part>> {
        let mut present = self.part.write();
        if present.is_none() {
            return Some(part);
        }
        *present = Some(part);
        None
    }

    /// Tries something at the leader until it succeeds or the time is over; in every second attempt, and
    /// where no leader is known, through another member: one that this node reaches may reach the leader.
    async fn retried<T, F>(
        &self,
        relays: Relays,
        attempt: impl Fn(Arc<Part>, Way) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut last = unavailable("no leader of the metadata group is known");
        let tried = async {
            let mut pause = RETRY_FIRST;
            for turn in 0.. {
                let part = self.part()?;
                if let Some(way) = Way::to_leader(&part.core, relays, turn) {
                    match tokio::time::timeout(ATTEMPT, attempt(part, way)).await {
                        Ok(Ok(done)) => return Ok(done),
                        Ok(Err(error)) if lasting(&error) => return Err(error),
                        Ok(Err(error)) => last = error,
                        Err(_) => last = unavailable("the leader did not answer in time"),
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
            unreachable!("turns do not end")
        };
        let limit = Duration::from_millis(self.start.config.timing.request_ms);
        match tokio::time::timeout(limit, tried).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(last)),
        }
    }
}

/// Whether a member that is not the leader may hand something on to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relays {
    None,
    Allowed,
}

/// How to get to the leader.
enum Way {
    /// This node leads.
    Here,
    Leader(Member),
    /// A member that may reach it.
    Through(Member),
}

impl Way {
    fn to_leader(core: &Core, relays: Relays, turn: usize) -> Option<Way> {
        let leader = core.leader();
        let is_direct = turn.is_multiple_of(2) && leader.is_some();
        match leader {
            Some(leader) if leader.name == core.identity.name => Some(Way::Here),
            _ if relays == Relays::Allowed && !is_direct => core.other(turn / 2).map(Way::Through),
            leader => leader.map(Way::Leader),
        }
    }
}

/// Runs something on the group's own threads.
async fn inside<T: Send + 'static>(
    part: Arc<Part>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    part.inside(work).await
}

/// Whether trying again cannot help.
fn lasting(error: &Error) -> bool {
    matches!(
        error.code,
        Code::MetadataInvalid
            | Code::MetadataFull
            | Code::MetadataVersion
            | Code::MetadataCorrupt
            | Code::HandleClosed
    )
}

/// Begins another run where one has ended by itself (I10).
async fn keep_running(this: Weak<MetadataGroup>, mut closing: watch::Receiver<bool>) {
    let mut pause = REOPEN_FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
        let Some(group) = this.upgrade() else { return };
        let Some(part) = group.part.read().clone() else {
            return;
        };
        let Some(error) = part.failure() else {
            pause = REOPEN_FIRST;
            continue;
        };
        if matches!(error.code, Code::MetadataVersion | Code::MetadataCorrupt) {
            // Beginning again would find the same.
            return;
        }
        tracing::warn!(target: "otlake::metadata", %error, "this node's part of the group begins again");
        part.close().await;
        let start = Arc::clone(&group.start);
        drop((group, part));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            pause = (pause * 2).min(REOPEN_LAST);
            let opened = Part::open(&start).await;
            let Some(group) = this.upgrade() else { return };
            match opened {
                Ok(part) => {
                    *group.failure.lock() = None;
                    if let Some(part) = group.replace(part) {
                        // It was closed meanwhile.
                        part.close().await;
                        return;
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(target: "otlake::metadata", %error, "not yet");
                    *group.failure.lock() = Some(error);
                }
            }
        }
    }
}
