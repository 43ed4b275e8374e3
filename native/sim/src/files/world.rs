//! Nodes, and what all of a run share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use otlake_base::invariant::Invariant;
use otlake_base::{Clock, Metrics};
use otlake_consensus::{Answer, Command, State};
use otlake_files::{Files, FilesLink, FilesPace, FilesService, FilesView};
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh64::xxh64;

use super::FilesPlan;
use super::clients;
use super::content::Snapshot;
use super::executor::{Executor, NodeRuntime};
use super::network::{Network, SimWire};
use super::register::{Register, SimGroup};
use super::told::Told;
use crate::chance::{Chance, draw};
use crate::clock::{EPOCH, SimClock};
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;
use crate::report::Report;

/// The data folder of every node.
pub const DATA: &str = "/data";
/// A member that was not heard of for this long is taken for away.
const AWAY_AFTER: Duration = Duration::from_millis(2_500);
/// And its files go to others after this.
const REPLACE_AFTER: Duration = Duration::from_secs(6);
const SLOTS: u64 = 32;
/// How many copies a table's files have, by signal.
pub const COPIES: [usize; 3] = [3, 2, 2];
/// The times of a node, a fraction of what they are by default.
pub const PACE: FilesPace = FilesPace {
    retry: Duration::from_millis(150),
    offer: Duration::from_millis(900),
    offer_all: Duration::from_secs(8),
    extra: Duration::from_secs(10),
    staged: Duration::from_secs(150),
};
/// More operations than a disk does in a run.
const NEVER: u64 = 1 << 60;
/// How soon a start that failed is tried again.
const START_AGAIN: Duration = Duration::from_millis(400);

/// Of one start of a node.
pub struct Process {
    pub files: Arc<Files>,
    pub store: Arc<dyn ObjectStore>,
    pub metrics: Arc<Metrics>,
    service: Arc<FilesService>,
    group: Arc<SimGroup>,
}

/// A node: its disk, and what runs on it.
pub struct Node {
    pub name: Arc<str>,
    pub disk: SimDisk,
    pub process: Option<Process>,
    /// Whether it belongs to the cluster.
    pub is_member: bool,
    /// Its own time is ahead by this.
    skew: Duration,
    /// What its part of the group has on disk.
    kept: Arc<State>,
    /// Counts starts.
    lives: u64,
}

/// A whole run.
pub struct World {
    pub seed: u64,
    pub plan: FilesPlan,
    pub executor: Arc<Executor>,
    pub network: Mutex<Network>,
    pub register: Mutex<Register>,
    pub nodes: Mutex<Vec<Node>>,
    pub told: Mutex<Told>,
    /// Versions that nodes have read, and go on from.
    pub read: Mutex<BTreeMap<(usize, &'static str), Snapshot>>,
    pub report: Mutex<Report>,
    chance: Mutex<Chance>,
    /// Whether clients are to end.
    pub is_quiet: Mutex<bool>,
    /// Whether everything is well from now on.
    pub is_healed: Mutex<bool>,
    pub is_over: Mutex<bool>,
}

/// A node's clock.
struct NodeClock {
    executor: Arc<Executor>,
    skew: Duration,
}

impl Clock for NodeClock {
    fn unix_nano(&self) -> u64 {
        EPOCH + u64::try_from(self.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.executor.now() + self.skew
    }
}

/// The time of day, as it is.
pub fn wall(world: &World) -> impl Clock {
    NodeClock {
        executor: Arc::clone(&world.executor),
        skew: Duration::ZERO,
    }
}

impl World {
    pub fn new(seed: u64, plan: FilesPlan) -> Arc<World> {
        let mut chance = Chance::new(seed, "files");
        let count = if chance.per_mille(600) {
            3
        } else {
            3 + chance.below(3) as usize
        };
        // One more can join.
        let nodes = (0..=count).map(|index| {
            let disk_seed = draw(seed, &[b"disk", &index.to_le_bytes()]);
            let disk = SimDisk::new(disk_seed, Arc::new(SimClock::default()));
            Node {
                name: format!("n{index}").into(),
                disk,
                process: None,
                is_member: index < count,
                skew: Duration::from_millis(chance.below(700)),
                kept: Arc::default(),
                lives: 0,
            }
        });
        Arc::new(World {
            seed,
            plan,
            executor: Executor::new(seed),
            network: Mutex::default(),
            register: Mutex::new(Register::founded()),
            nodes: Mutex::new(nodes.collect()),
            told: Mutex::default(),
            read: Mutex::default(),
            report: Mutex::default(),
            chance: Mutex::new(chance),
            is_quiet: Mutex::new(false),
            is_healed: Mutex::new(false),
            is_over: Mutex::new(false),
        })
    }

    pub fn below(&self, end: u64) -> u64 {
        self.chance.lock().below(end)
    }

    pub fn per_mille(&self, times: u64) -> bool {
        self.chance.lock().per_mille(times)
    }

    /// Draws with the run's chance.
    pub fn drawn<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock())
    }

    /// A time between two, in milliseconds.
    pub fn within(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(1000 * from + self.below(1000 * (to - from).max(1)))
    }

    /// Takes what happened into the trace, and into the steps where they are kept.
    pub fn note(&self, figure: u64, text: impl FnOnce() -> String) {
        self.executor.note(figure);
        if self.plan.verbose {
            let now = self.executor.now().as_secs_f64();
            let text = format!("{now:>9.3} {}", text());
            self.report.lock().steps.push(text);
        }
    }

    pub fn violated(&self, invariant: Invariant, what: impl Into<String>) {
        self.executor.note(u64::MAX);
        let now = self.executor.now().as_secs_f64();
        let what = format!("{} (at {now:.3} s)", what.into());
        self.report.lock().broken(invariant, what);
    }

    pub fn is_broken(&self) -> bool {
        !self.report.lock().violations.is_empty()
    }

    pub fn name(&self, node: usize) -> Arc<str> {
        Arc::clone(&self.nodes.lock()[node].name)
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        let nodes = self.nodes.lock();
        nodes.iter().position(|node| *node.name == *name)
    }

    /// What answers at a node; none where nothing runs.
    pub fn service(&self, node: usize) -> Option<Arc<FilesService>> {
        let nodes = self.nodes.lock();
        let process = nodes[node].process.as_ref()?;
        Some(Arc::clone(&process.service))
    }

    pub fn store(&self, node: usize) -> Option<Arc<dyn ObjectStore>> {
        let nodes = self.nodes.lock();
        let process = nodes[node].process.as_ref()?;
        Some(Arc::clone(&process.store))
    }

    /// Whether a node shows what was agreed on.
    pub fn has_joined(&self, node: usize) -> bool {
        let nodes = self.nodes.lock();
        let process = nodes[node].process.as_ref();
        process.is_some_and(|process| *process.files.joined().borrow())
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.nodes.lock()[node].process.is_some() && !self.executor.is_paused(node)
    }

    pub fn members(&self) -> Vec<usize> {
        let nodes = self.nodes.lock();
        let all = nodes.iter().enumerate();
        all.filter(|(_, node)| node.is_member)
            .map(|(index, _)| index)
            .collect()
    }

    pub fn voters(&self) -> usize {
        self.members().len()
    }

    /// Whether what goes to the register is lost.
    pub fn loses(&self) -> bool {
        let loss = self.network.lock().loss;
        self.per_mille(loss)
    }

    /// Whether a node reaches a majority of the members.
    pub fn has_register(&self, node: usize) -> bool {
        let members = self.members();
        let reached = members
            .iter()
            .filter(|member| self.is_up(**member) && self.network.lock().connects(node, **member));
        reached.count() > members.len() / 2
    }

    /// Applies a command to what all agree on.
    pub fn decided(&self, command: Command) -> Answer {
        let answer = self.register.lock().apply(command.clone());
        self.note(1, || format!("decided: {command:?}: {answer:?}"));
        answer
    }

    /// Starts a node. Where its disk fails, it is tried again.
    pub fn start(self: &Arc<Self>, node: usize) {
        let mut nodes = self.nodes.lock();
        let at = &mut nodes[node];
        if at.process.is_some() || !at.is_member {
            return;
        }
        at.lives += 1;
        let runtime = NodeRuntime {
            executor: Arc::clone(&self.executor),
            node,
        };
        let clock = Arc::new(NodeClock {
            executor: Arc::clone(&self.executor),
            skew: at.skew,
        });
        let metrics = Arc::new(Metrics::new());
        let opened = Files::open_on(
            Arc::new(runtime),
            Arc::new(at.disk.clone()),
            Path::new(DATA),
            PACE,
            clock,
            Arc::clone(&metrics),
        );
        let files = match opened {
            Ok(files) => files,
            Err(error) => {
                drop(nodes);
                self.note(2, || format!("n{node} does not start: {error}"));
                self.start_after(node, START_AGAIN);
                return;
            }
        };
        // What its part of the group had on disk, or nothing before it hears from the others.
        let kept = match self.per_mille(500) {
            true => Arc::clone(&at.kept),
            false => Arc::default(),
        };
        let group = Arc::new(SimGroup {
            world: Arc::clone(self),
            node,
            states: watch::channel(kept).0,
        });
        files.join(FilesLink {
            name: Arc::clone(&at.name),
            wire: Arc::new(SimWire {
                world: Arc::clone(self),
                node,
            }),
            group: group.clone(),
            copies: COPIES,
            allow_degraded: false,
        });
        let service = Arc::new(FilesService::new(&files));
        at.process = Some(Process {
            store: files.store(),
            service,
            metrics,
            group: Arc::clone(&group),
            files: Arc::clone(&files),
        });
        drop(nodes);
        self.note(3, || format!("n{node} starts"));
        let place = Some(node);
        self.executor.spawn(place, group.follow());
        self.executor
            .spawn(place, gossip(Arc::clone(self), node, files));
        clients::begin(self, node);
    }

    pub fn start_after(self: &Arc<Self>, node: usize, delay: Duration) {
        let world = Arc::clone(self);
        self.executor.spawn(None, async move {
            world.executor.sleep(delay).await;
            world.start(node);
        });
    }

    /// Ends a node where it stands.
    pub fn crash(&self, node: usize, fate: Fate) {
        let mut nodes = self.nodes.lock();
        let at = &mut nodes[node];
        let seed = draw(
            self.seed,
            &[b"crash", &[node as u8], &at.lives.to_le_bytes()],
        );
        at.lives += 1;
        let disk = at.disk.reboot(fate, seed);
        self.report.lock().faults += at.disk.injected();
        at.disk = disk;
        let process = at.process.take();
        if let Some(process) = &process {
            at.kept = Arc::clone(&process.group.states.borrow());
        }
        drop(nodes);
        self.executor.kill(Some(node));
        drop(process);
        self.read.lock().retain(|(of, _), _| *of != node);
        self.note(4, || format!("n{node} goes down: {fate:?}"));
    }

    /// Takes a node's disk away; it is down.
    pub fn wipe(&self, node: usize) {
        self.crash(node, Fate::PowerCut);
        let mut nodes = self.nodes.lock();
        let at = &mut nodes[node];
        let seed = draw(self.seed, &[b"another disk", &at.lives.to_le_bytes()]);
        at.disk = SimDisk::new(seed, Arc::new(SimClock::default()));
        at.kept = Arc::default();
        drop(nodes);
        self.told.lock().wipes += 1;
        self.note(5, || format!("n{node} loses its disk"));
    }

    /// A node belongs to the cluster from now on, or not any more.
    pub fn set_member(self: &Arc<Self>, node: usize, is_member: bool) {
        self.nodes.lock()[node].is_member = is_member;
        self.note(6, || format!("n{node} is a member: {is_member}"));
        match is_member {
            true => self.start(node),
            false => self.crash(node, Fate::Kill),
        }
    }

    /// Everything is well from now on.
    pub fn heal(self: &Arc<Self>) {
        self.note(7, || "everything is well".into());
        *self.is_healed.lock() = true;
        self.network.lock().heal();
        self.executor.set_slow(0);
        for node in self.members() {
            self.executor.resume(node);
            let has_crashed = {
                let nodes = self.nodes.lock();
                let disk = &nodes[node].disk;
                disk.set_faults(Faults::default());
                disk.set_free(None);
                disk.crash_in(NEVER);
                disk.crashed()
            };
            if has_crashed {
                self.crash(node, Fate::PowerCut);
            }
            self.start(node);
        }
    }

    /// The bytes of a node's own copy as its disk has them.
    pub fn copy(&self, node: usize, key: &str) -> Option<Vec<u8>> {
        let path = Path::new(DATA).join("files/tables").join(key);
        self.nodes.lock()[node].disk.bytes_of(&path)
    }

    /// That a node says that files lack copies, or says nothing.
    pub fn lacks_copies(&self, node: usize) -> Option<String> {
        let nodes = self.nodes.lock();
        let Some(process) = &nodes[node].process else {
            return Some(format!("n{node} is down"));
        };
        if !*process.files.joined().borrow() {
            return Some(format!("n{node} has not joined"));
        }
        let lacking = process.metrics.files.under_replicated.get();
        (lacking > 0).then(|| format!("n{node}: {lacking} files lack copies"))
    }

    /// Whether a node has a copy, and what it is checked by, on stable storage.
    pub fn has_durably(&self, node: usize, key: &str, bytes: u64) -> bool {
        let folder = Path::new(DATA).join("files");
        let nodes = self.nodes.lock();
        let disk = &nodes[node].disk;
        let copy = disk.durable_bytes(&folder.join("tables").join(key));
        let sums = disk.durable_bytes(&folder.join("sums").join(key));
        copy == Some(bytes) && sums.is_some()
    }

    /// Ends everything, and tells what came of it.
    pub fn end(&self) -> Report {
        let count = self.nodes.lock().len();
        for node in 0..count {
            self.crash(node, Fate::Kill);
        }
        self.executor.kill(None);
        let mut report = std::mem::take(&mut *self.report.lock());
        report.operations = self.executor.polls();
        report.trace = self.executor.trace();
        report
    }
}

/// Tells a node who is there, and where files belong, as the gossip membership would.
async fn gossip(world: Arc<World>, node: usize, files: Arc<Files>) {
    let mut heard: BTreeMap<usize, Duration> = BTreeMap::new();
    loop {
        let now = world.executor.now();
        let members = world.members();
        for member in &members {
            let is_heard = *member == node
                || (world.is_up(*member) && world.network.lock().connects(node, *member));
            if is_heard || !heard.contains_key(member) {
                heard.insert(*member, now);
            }
        }
        let silent = |member: usize| now.saturating_sub(heard[&member]);
        let eligible: Vec<usize> = members
            .iter()
            .copied()
            .filter(|member| silent(*member) < REPLACE_AFTER)
            .collect();
        let slots = (0..SLOTS).map(|slot| {
            let rank = |member: &usize| xxh64(world.name(*member).as_bytes(), slot);
            let mut ranked = eligible.clone();
            ranked.sort_by_key(rank);
            ranked.iter().map(|member| world.name(*member)).collect()
        });
        let slots = slots.collect();
        let told = members.iter().map(|member| {
            let is_there = silent(*member) < AWAY_AFTER;
            (world.name(*member), is_there)
        });
        files.place(FilesView {
            members: told.collect(),
            slots,
        });
        world.executor.sleep(world.within(200, 1_500)).await;
    }
}
