//! Tasks under virtual time: of all that can go on one does, by chance; where none can, time goes to
//! the next who waits for it. One thread, so that a seed says it all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use otlake_files::Runtime;
use parking_lot::Mutex;

use crate::chance::{Chance, draw};

/// Whose a task is: a node's, which goes down and stands still, or the simulation's own.
pub type Place = Option<usize>;

struct Task {
    place: Place,
    /// None while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.id);
    }
}

struct State {
    now: Duration,
    chance: Chance,
    trace: u64,
    polls: u64,
    next: u64,
    tasks: BTreeMap<u64, Task>,
    timers: BinaryHeap<Reverse<(Duration, u64)>>,
    waiting: BTreeMap<u64, Waker>,
    /// Nodes that stand still, with their tasks that could go on.
    held: BTreeMap<usize, BTreeSet<u64>>,
    /// Times of a thousand that a disk is slow.
    slow: u64,
}

/// Runs everything.
pub struct Executor {
    state: Mutex<State>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

/// What a round of the executor came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Something went on.
    Went,
    /// Nothing ever will.
    Idle,
}

impl Executor {
    pub fn new(seed: u64) -> Arc<Executor> {
        Arc::new(Executor {
            state: Mutex::new(State {
                now: Duration::ZERO,
                chance: Chance::new(seed, "tasks"),
                trace: seed,
                polls: 0,
                next: 0,
                tasks: BTreeMap::new(),
                timers: BinaryHeap::new(),
                waiting: BTreeMap::new(),
                held: BTreeMap::new(),
                slow: 0,
            }),
            ready: Arc::default(),
        })
    }

    pub fn now(&self) -> Duration {
        self.state.lock().now
    }

    pub fn polls(&self) -> u64 {
        self.state.lock().polls
    }

    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// Takes a figure into the trace.
    pub fn note(&self, figure: u64) {
        let mut state = self.state.lock();
        state.trace = draw(state.trace, &[&figure.to_le_bytes()]);
    }

    /// How often disks are slow from now on, in times of a thousand.
    pub fn set_slow(&self, slow: u64) {
        self.state.lock().slow = slow;
    }

    pub fn spawn(&self, place: Place, future: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state.lock();
        state.next += 1;
        let id = state.next;
        let waker = TaskWaker {
            id,
            ready: Arc::clone(&self.ready),
        };
        let task = Task {
            place,
            future: Some(future.boxed()),
            waker: Waker::from(Arc::new(waker)),
        };
        state.tasks.insert(id, task);
        self.ready.lock().insert(id);
    }

    /// Ends all tasks of a node where they stand.
    pub fn kill(&self, place: Place) {
        let mut state = self.state.lock();
        let ids: Vec<u64> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.place == place)
            .map(|(id, _)| *id)
            .collect();
        let ended: Vec<Task> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
        if let Some(node) = place {
            state.held.remove(&node);
        }
        drop(state);
        // What they hold may wake others when it goes.
        drop(ended);
    }

    /// A node's tasks stand still.
    pub fn pause(&self, node: usize) {
        self.state.lock().held.entry(node).or_default();
    }

    /// They go on.
    pub fn resume(&self, node: usize) {
        let held = self.state.lock().held.remove(&node);
        self.ready.lock().extend(held.into_iter().flatten());
    }

    pub fn is_paused(&self, node: usize) -> bool {
        self.state.lock().held.contains_key(&node)
    }

    /// Lets one task go on, or time.
    pub fn round(&self) -> Round {
        let mut state = self.state.lock();
        let Some(id) = self.pick(&mut state) else {
            return Self::pass(state);
        };
        let Some(place) = state.tasks.get(&id).map(|task| task.place) else {
            return Round::Went;
        };
        if let Some(node) = place
            && let Some(held) = state.held.get_mut(&node)
        {
            held.insert(id);
            return Round::Went;
        }
        let Some(task) = state.tasks.get_mut(&id) else {
            return Round::Went;
        };
        let (waker, Some(mut future)) = (task.waker.clone(), task.future.take()) else {
            return Round::Went;
        };
        state.polls += 1;
        let now = state.now.as_nanos().to_le_bytes();
        state.trace = draw(state.trace, &[&id.to_le_bytes(), &now]);
        drop(state);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state.lock();
        if polled.is_ready() {
            state.tasks.remove(&id);
        } else if let Some(task) = state.tasks.get_mut(&id) {
            task.future = Some(future);
            return Round::Went;
        }
        drop(state);
        drop(future);
        Round::Went
    }

    fn pick(&self, state: &mut State) -> Option<u64> {
        let mut ready = self.ready.lock();
        if ready.is_empty() {
            return None;
        }
        let at = state.chance.below(ready.len() as u64) as usize;
        let id = ready.iter().nth(at).copied()?;
        ready.remove(&id);
        Some(id)
    }

    fn pass(mut state: parking_lot::MutexGuard<'_, State>) -> Round {
        let Some(Reverse((at, timer))) = state.timers.pop() else {
            return Round::Idle;
        };
        state.now = state.now.max(at);
        let waker = state.waiting.remove(&timer);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Round::Went
    }

    pub fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        let until = self.now() + time;
        Sleep {
            executor: Arc::clone(self),
            until,
            timer: None,
        }
    }

    /// How long a disk takes for some work.
    fn disk_time(&self) -> Duration {
        let mut state = self.state.lock();
        let slow = state.slow;
        let most = match state.chance.per_mille(slow) {
            true => 800_000,
            false => 2_000,
        };
        Duration::from_micros(state.chance.below(most))
    }
}

/// Ends at a time.
pub struct Sleep {
    executor: Arc<Executor>,
    until: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = Arc::clone(&self.executor);
        let mut state = executor.state.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        match self.timer {
            Some(timer) => {
                state.waiting.insert(timer, context.waker().clone());
            }
            None => {
                state.next += 1;
                let timer = state.next;
                state.timers.push(Reverse((self.until, timer)));
                state.waiting.insert(timer, context.waker().clone());
                drop(state);
                self.timer = Some(timer);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.executor.state.lock().waiting.remove(&timer);
        }
    }
}

/// A node's tasks.
pub struct NodeRuntime {
    pub executor: Arc<Executor>,
    pub node: usize,
}

impl Runtime for NodeRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.executor.spawn(Some(self.node), task);
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.executor.sleep(time).boxed()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        let (done, told) = oneshot::channel();
        let time = self.executor.disk_time();
        let sleep = self.executor.sleep(time);
        self.executor.spawn(Some(self.node), async move {
            sleep.await;
            work();
            // Whoever waited may have gone.
            let _ = done.send(());
        });
        told.map(|told| told.map_err(io::Error::other)).boxed()
    }
}
