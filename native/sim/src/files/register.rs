//! The metadata group as a linearizable register: its state machine is the real one, over no log. It
//! answers who reaches a majority of the members, late, or not at all; what was asked can be applied all
//! the same, then or later, and once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};
use otlake_base::{Code, Error, Result};
use otlake_consensus::command::{Batch, Proposal};
use otlake_consensus::state::Number;
use otlake_consensus::{Answer, Command, State};
use otlake_files::Group;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::breakage::FilesBreakage;
use super::world::World;

/// How long something is tried.
const REQUEST: Duration = Duration::from_secs(10);
/// Of so many proposals that do not arrive in time one arrives late.
const LATE: u64 = 3;
/// A name of proposals that are applied once by other means.
const NAMELESS: Number = Number {
    session: 0,
    sequence: 0,
    answered: 0,
};

/// What was decided.
pub struct Register {
    pub state: Arc<State>,
}

impl Register {
    /// A group that was founded.
    pub fn founded() -> Register {
        let mut register = Register {
            state: Arc::default(),
        };
        register.apply(Command::Found { group: 1 });
        register
    }

    pub fn apply(&mut self, command: Command) -> Answer {
        let proposals = vec![Proposal {
            number: NAMELESS,
            command,
        }];
        let batch = Batch {
            version: Batch::version_of(&proposals),
            time_ms: 1,
            proposals,
        };
        let mut state = State::clone(&self.state);
        let answers = state.apply(state.applied + 1, &batch);
        let answer = answers.ok().and_then(|mut answers| answers.pop());
        self.state = Arc::new(state);
        answer.expect("an entry of this version is answered")
    }
}

/// What one command came to, once it was applied.
type Decided = Arc<Mutex<Option<Answer>>>;

fn unavailable() -> Error {
    Error::new(Code::MetadataUnavailable, "no leader answered in time")
}

/// A node's part of the group.
pub struct SimGroup {
    pub world: Arc<World>,
    pub node: usize,
    pub states: watch::Sender<Arc<State>>,
}

impl SimGroup {
    /// Takes over a state, where it is newer.
    pub fn advance(&self, state: &Arc<State>) {
        self.states.send_if_modified(|last| {
            let is_newer = last.applied < state.applied;
            if is_newer {
                *last = Arc::clone(state);
            }
            is_newer
        });
    }

    /// Hears of what was decided, sooner or later.
    pub async fn follow(self: Arc<Self>) {
        let world = Arc::clone(&self.world);
        loop {
            let pause = match world.per_mille(30) {
                true => world.within(500, 4_000),
                false => world.within(5, 300),
            };
            world.executor.sleep(pause).await;
            if world.has_register(self.node) {
                let state = Arc::clone(&world.register.lock().state);
                self.advance(&state);
            }
        }
    }

    async fn within_limit<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let work = std::pin::pin!(work);
        match select(work, self.world.executor.sleep(REQUEST)).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(unavailable()),
        }
    }

    fn decide(world: &World, decided: &Decided, command: &Command) -> Answer {
        let mut decided = decided.lock();
        if let Some(answer) = &*decided {
            return answer.clone();
        }
        let answer = world.decided(command.clone());
        *decided = Some(answer.clone());
        answer
    }

    /// Has a command arrive when nobody waits for it any more.
    fn arrives_late(&self, decided: &Decided, command: &Command) {
        let (world, decided, command) = (
            Arc::clone(&self.world),
            Arc::clone(decided),
            command.clone(),
        );
        let sleep = world.executor.sleep(world.within(0, 6_000));
        let executor = Arc::clone(&world.executor);
        executor.spawn(None, async move {
            sleep.await;
            SimGroup::decide(&world, &decided, &command);
        });
    }

    async fn proposed(&self, decided: &Decided, command: &Command) -> Answer {
        let world = &self.world;
        loop {
            world.executor.sleep(world.latency()).await;
            let (has, lost) = (world.has_register(self.node), world.loses());
            if has && !lost {
                let answer = SimGroup::decide(world, decided, command);
                world.executor.sleep(world.latency()).await;
                if world.has_register(self.node) && !world.loses() {
                    return answer;
                }
            } else if has && world.below(LATE) == 0 {
                self.arrives_late(decided, command);
            }
            world.executor.sleep(world.within(20, 500)).await;
        }
    }
}

#[async_trait]
impl Group for SimGroup {
    fn members(&self) -> usize {
        self.world.voters()
    }

    async fn propose(&self, command: Command) -> Result<Answer> {
        command.check()?;
        let decided = Decided::default();
        if self.world.plan.breakage == FilesBreakage::NameWithoutGroup
            && matches!(command, Command::PublishFile { .. })
        {
            self.arrives_late(&decided, &command);
            return Ok(Answer::Done);
        }
        self.within_limit(self.proposed(&decided, &command)).await
    }

    async fn read(&self) -> Result<Arc<State>> {
        let world = &self.world;
        let read = async {
            loop {
                world.executor.sleep(world.latency()).await;
                if world.has_register(self.node) && !world.loses() {
                    let state = Arc::clone(&world.register.lock().state);
                    world.executor.sleep(world.latency()).await;
                    if world.has_register(self.node) {
                        self.advance(&state);
                        return self.local();
                    }
                }
                world.executor.sleep(world.within(20, 500)).await;
            }
        };
        self.within_limit(read).await
    }

    fn local(&self) -> Arc<State> {
        Arc::clone(&self.states.borrow())
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.states.subscribe()
    }
}
