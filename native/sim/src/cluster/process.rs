//! What runs on a node: the real log, owner, follower, journal and recoveries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Result, Signal, StreamId};
use otlake_log::{Durability, Frame, LogConfig, SteppedLog};
use otlake_replicate::drive::OldStreams;
use otlake_replicate::follower::Follower;
use otlake_replicate::journal::{JournalConfig, JournalCore, Write};
use otlake_replicate::owner::{Owner, OwnerConfig};
use parking_lot::Mutex;

use super::Breakage;
use super::flushing::{Batch, Row};
use super::network::Packet;
use super::recovering::Task;
use super::tenants::fewest;
use super::world::{Event, World};
use crate::disk::Fate;

/// How often a node looks at its clock, and after its streams.
const TICK: Duration = Duration::from_millis(200);
const CONTROL: Duration = Duration::from_millis(700);
/// Without word for so long a node is taken for dead.
const SUSPECT: Duration = Duration::from_millis(2500);
/// Bytes under way to one follower, and of records in memory: few, so that both are reached.
pub const WINDOW_BYTES: usize = 2048;
pub const CACHE_BYTES: usize = 4096;
const SEGMENT_BYTES: u64 = 8192;
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A record on its way.
pub struct Request {
    pub waiters: Vec<(usize, u64)>,
    /// Where it stood before, where an owner that came back appends it anew.
    pub origin: Option<(StreamId, u64)>,
}

/// What a question to the register was for.
#[derive(Clone, Debug)]
pub enum Asked {
    Change,
    Fence,
    Seal(StreamId),
    Plan(StreamId, u64),
    Forget,
    /// With what the node held when it asked: what is not listed then is gone.
    List(Vec<StreamId>),
}

pub type Answers = Arc<Mutex<Vec<(u64, Result<Frame>)>>>;

/// A process.
pub struct Process {
    pub node: usize,
    pub incarnation: u64,
    pub ended: bool,
    pub stream: StreamId,
    pub log: SteppedLog,
    pub log_due: bool,
    pub answers: Answers,
    pub owner: Owner,
    /// Records whose quorum is awaited, in the order of the sequence.
    pub waiting: VecDeque<(u64, u64)>,
    /// Records that are readable and wait for it still, by sequence.
    pub overdue: BTreeMap<u64, u64>,
    pub requests: BTreeMap<u64, Request>,
    pub follower: Follower,
    pub journal: JournalCore,
    pub journal_queue: Vec<(u64, Write)>,
    pub journal_due: bool,
    pub old: OldStreams,
    pub live: [VecDeque<Row>; 3],
    pub flushing: [Option<Batch>; 3],
    pub recoveries: BTreeMap<StreamId, Task>,
    /// Calls under way, each of a recovery.
    pub calls: BTreeMap<u64, (StreamId, Arc<str>)>,
    pub asked: BTreeMap<u64, Asked>,
    /// Who called under which of the follower's numbers.
    pub callers: BTreeMap<u64, (usize, u64)>,
    /// When each node was heard last.
    pub heard: BTreeMap<usize, Duration>,
    /// Streams of earlier starts that the log has.
    pub own_old: BTreeSet<StreamId>,
    /// Records of them that are appended anew when all of them are sealed.
    pub to_return: Vec<((StreamId, u64), u64)>,
    pub all_sealed: bool,
    pub fence_seen: bool,
}

impl World {
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let disk = Arc::new(self.nodes[node].disk.clone());
        let clock = disk.clock();
        let journal_config = JournalConfig {
            dir: Path::new("/data/replica").to_owned(),
            segment_bytes: SEGMENT_BYTES,
            max_bytes: MAX_BYTES,
            max_records: 100_000,
        };
        let log_config = LogConfig {
            dir: Path::new("/data/log").to_owned(),
            segment_bytes: SEGMENT_BYTES,
            max_bytes: MAX_BYTES,
            durability: Durability::Fsync,
        };
        let log_dir = log_config.dir.clone();
        let opened = otlake_base::disk::create_folders(&*disk, Path::new("/"), Path::new("/data"))
            .map_err(|error| error.to_string())
            .and_then(|()| {
                let metrics = Arc::clone(&self.metrics);
                let clock = Arc::clone(&clock) as _;
                let disk = Arc::clone(&disk) as _;
                JournalCore::open(disk, journal_config, clock, metrics).map_err(|e| e.to_string())
            })
            .and_then(|journal| {
                let metrics = Arc::clone(&self.metrics);
                let clock = Arc::clone(&clock) as _;
                let disk = Arc::clone(&disk) as _;
                let log = SteppedLog::open(disk, log_config, clock, metrics);
                let log = log.and_then(|mut log| log.begin().map(|()| log));
                log.map(|log| (journal, log))
                    .map_err(|error| error.to_string())
            });
        let (journal, log) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.note(&[2, node as u64], || {
                    format!("n{node} does not start: {error}")
                });
                let delay = self.within(300, 800);
                self.after(delay, Event::Start(node));
                return;
            }
        };
        let stream = log.stream();
        let mut identity = journal.identity();
        if self.broken_by(Breakage::KeepIdentity) {
            identity = self
                .checks
                .identities
                .entry(node)
                .or_insert(identity)
                .to_owned();
        }
        let metrics = Arc::clone(&self.metrics);
        let contents = journal.reader().contents();
        self.checks.found(node, &contents);
        let follower = Follower::new(identity, contents, metrics);
        let config = OwnerConfig {
            stream,
            quorums: match self.broken_by(Breakage::AcknowledgeByFewest) {
                true => fewest(&self.quorums),
                false => self.quorums.clone(),
            },
            allow_degraded: self.allow_degraded,
            window_bytes: WINDOW_BYTES,
            cache_bytes: CACHE_BYTES,
        };
        let owner = Owner::new(config, Arc::clone(&self.metrics));
        let mut own_old = BTreeSet::new();
        for entry in otlake_base::Disk::list(&*disk, &log_dir).unwrap_or_default() {
            let old = entry.name.parse::<StreamId>();
            own_old.extend(old.ok().filter(|old| *old != stream));
        }
        let at = &mut self.nodes[node];
        at.incarnation += 1;
        let incarnation = at.incarnation;
        let heard = (0..self.nodes.len())
            .map(|other| (other, self.now))
            .collect();
        self.checks.streams.insert(stream, node);
        let process = Process {
            node,
            incarnation,
            ended: false,
            stream,
            log,
            log_due: false,
            answers: Answers::default(),
            owner,
            waiting: VecDeque::new(),
            overdue: BTreeMap::new(),
            requests: BTreeMap::new(),
            follower,
            journal,
            journal_queue: Vec::new(),
            journal_due: false,
            old: OldStreams::new(disk, log_dir),
            live: Default::default(),
            flushing: Default::default(),
            recoveries: BTreeMap::new(),
            calls: BTreeMap::new(),
            asked: BTreeMap::new(),
            callers: BTreeMap::new(),
            heard,
            own_old,
            to_return: Vec::new(),
            all_sealed: false,
            fence_seen: false,
        };
        self.nodes[node].process = Some(process);
        self.note(&[3, node as u64], || {
            format!("n{node} starts: stream {stream}, journal {identity:032x}")
        });
        let delay = self.within(0, 200);
        self.after(delay, Event::Tick(node, incarnation));
        let delay = self.within(100, 700);
        self.after(delay, Event::Control(node, incarnation));
        for signal in 0..3 {
            let delay = self.within(500, 3_000);
            self.after(delay, Event::Flush(node, incarnation, signal));
        }
    }

    /// A node goes down: at once, with its power or its process alone.
    pub fn crash(&mut self, node: usize, fate: Fate) {
        let seed = self.chance.next();
        let at = &mut self.nodes[node];
        at.process = None;
        at.paused = false;
        at.deferred.clear();
        at.incarnation += 1;
        at.disk = at.disk.reboot(fate, seed);
        self.note(&[4, node as u64, seed], || {
            format!("n{node} goes down: {fate:?}")
        });
    }

    pub fn local(&self, node: usize) -> Duration {
        self.now + self.nodes[node].skew + Duration::from_secs(1000)
    }

    pub fn tick(&mut self, node: usize) {
        self.with(node, |world, process| {
            world.after(TICK, Event::Tick(node, process.incarnation));
            for other in 0..world.nodes.len() {
                let there = &world.nodes[other];
                let lives = there.process.is_some() && !there.paused;
                if other != node && lives && world.network.reaches(other, node) {
                    process.heard.insert(other, world.now);
                }
            }
            if world.healed.is_none() && world.chance.per_mille(8) {
                // Taken for dead although it is not.
                let other = world.chance.below(world.nodes.len() as u64) as usize;
                let long_ago = world.now.saturating_sub(SUSPECT);
                process.heard.insert(other, long_ago);
            }
            let desired = world.desired(process);
            let now = world.local(node);
            process.owner.follow(desired, now);
            process.owner.tick(now);
            world.check_bounds(process);
            world.do_owner(process);
            let streams: Vec<StreamId> = process.recoveries.keys().copied().collect();
            for stream in streams {
                if let Some(task) = process.recoveries.get_mut(&stream) {
                    task.recovery.tick(now);
                }
                world.do_recovery(process, stream);
            }
            world.return_records(process);
        });
    }

    /// Whether a node takes another for alive.
    pub fn lives(&self, process: &Process, other: usize) -> bool {
        other == process.node
            || process
                .heard
                .get(&other)
                .is_some_and(|heard| *heard + SUSPECT > self.now)
    }

    /// Who shall follow a node's stream: those behind it in a ring of the living.
    fn desired(&self, process: &Process) -> [Vec<Arc<str>>; 3] {
        let count = self.nodes.len();
        let ring = (1..count).map(|step| (process.node + step) % count);
        let ring = ring.filter(|other| self.nodes[*other].member && self.lives(process, *other));
        let names: Vec<Arc<str>> = ring
            .map(|other| Arc::clone(&self.nodes[other].name))
            .collect();
        let logs = names.get(1).or(names.first()).cloned();
        let first = |signal| {
            let count = self.quorums.copies(signal) - 1;
            names.iter().take(count).cloned().collect()
        };
        [
            first(Signal::Traces),
            first(Signal::Metrics),
            logs.into_iter().collect(),
        ]
    }

    pub fn arrive(&mut self, node: usize, packet: Packet) {
        self.with(node, |world, process| match packet {
            Packet::Link { link, message } => {
                let Some(ends) = world.network.links.get(&link) else {
                    return;
                };
                let now = world.local(node);
                if ends.owner == node && ends.owner_of == process.incarnation {
                    let from = Arc::clone(&world.nodes[ends.follower].name);
                    process.owner.received(&from, link, message, now);
                    world.do_owner(process);
                } else if ends.follower == node && ends.follower_of == process.incarnation {
                    process.follower.received(link, message);
                    world.do_follower(process);
                }
            }
            Packet::Call {
                from,
                number,
                message,
            } => world.called(process, from, number, message),
            Packet::Answer { number, message } => {
                world.call_ended(process, number, Some(message));
            }
            Packet::Request {
                client,
                attempt,
                record,
            } => world.requested(process, client, attempt, record),
            Packet::AskLive { from, number } => world.tell_live(process, from, number),
            Packet::Live { number, from, live } => world.live_told(number, from, live),
        });
    }

    pub fn broken(&mut self, node: usize, link: u64) {
        self.with(node, |world, process| {
            process.follower.closed(link);
            // The owner knows the name that the link was to by its number alone.
            let names: Vec<Arc<str>> = world
                .nodes
                .iter()
                .map(|node| Arc::clone(&node.name))
                .collect();
            for name in names {
                process.owner.disconnected(&name, link);
                if process.owner.wants(&name) && !process.owner.is_linked(&name) {
                    let delay = world.within(50, 400);
                    world.after(delay, Event::Dial(node, process.incarnation, name));
                }
            }
            world.do_owner(process);
        });
    }

    pub fn dial(&mut self, node: usize, name: Arc<str>) {
        self.with(node, |world, process| {
            if !process.owner.wants(&name) || process.owner.is_linked(&name) {
                return;
            }
            let to = world.index(&name);
            match world.open_link(node, to) {
                Some(link) => {
                    let now = world.local(node);
                    process.owner.connected(&name, link, now);
                    world.do_owner(process);
                }
                None => {
                    let delay = world.within(200, 900);
                    world.after(delay, Event::Dial(node, process.incarnation, name));
                }
            }
        });
    }

    pub fn unanswered(&mut self, node: usize, number: u64) {
        self.with(node, |world, process| {
            if let Some(asked) = process.asked.remove(&number) {
                world.register_failed(process, asked);
            } else {
                world.call_ended(process, number, None);
            }
        });
    }

    pub fn control(&mut self, node: usize) {
        self.with(node, |world, process| {
            world.after(CONTROL, Event::Control(node, process.incarnation));
            let holding = process.follower.holding();
            world.ask(process, super::register::Ask::List, Asked::List(holding));
        });
    }
}
