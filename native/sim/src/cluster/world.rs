//! Time, events and nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::invariant::Invariant;
use otlake_base::{Metrics, StreamId};
use otlake_replicate::Quorums;

use super::check::Checks;
use super::clients::Client;
use super::nemesis::Nemesis;
use super::network::{Network, Packet};
use super::process::Process;
use super::readers::Reading;
use super::register::{Ask, Register, Reply};
use super::tables::Tables;
use super::tenants::quorums_of;
use super::{Breakage, Plan};
use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};
use crate::report::Report;

/// Events of one run, beyond which it has not come to an end.
const MAX_EVENTS: u64 = 400_000;
/// How long everything is well before it must have come to rest.
const HEALTHY: Duration = Duration::from_secs(90);
/// How often it is looked whether everything has come to rest.
const LOOK: Duration = Duration::from_millis(500);

/// A node: its disk, and what runs on it.
pub struct Node {
    pub name: Arc<str>,
    pub disk: SimDisk,
    /// Counts processes, so that what was meant for an earlier one is passed over.
    pub incarnation: u64,
    pub process: Option<Process>,
    pub paused: bool,
    pub deferred: Vec<Event>,
    /// The node's own time is ahead by this.
    pub skew: Duration,
    /// Requests that are known as stored, as its disk has it.
    pub stored: BTreeMap<u64, (StreamId, u64)>,
    /// Something on its disk was lost or damaged.
    pub damaged: bool,
    pub wiped_at: Option<Duration>,
    /// Whether others shall give it copies, and clients requests.
    pub member: bool,
}

/// What happens next.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node's clock.
    Tick(usize, u64),
    /// Its log writes what waits.
    Log(usize, u64),
    /// Its journal writes what waits.
    Journal(usize, u64),
    /// It opens a link.
    Dial(usize, u64, Arc<str>),
    /// What it read back from its log for a follower.
    Read(usize, u64, Arc<str>, u64, u64),
    /// A link broke, as one of its ends sees it.
    Broken(usize, u64, u64),
    /// A packet arrives.
    Arrive(usize, Packet),
    /// A call was not answered in time.
    Unanswered(usize, u64, u64),
    /// The register is asked something by a node under a number.
    Ask(usize, u64, u64, Ask),
    /// And answers.
    Reply(usize, u64, u64, Reply),
    /// A node looks after streams.
    Control(usize, u64),
    /// It makes files of a signal.
    Flush(usize, u64, usize),
    /// And commits them.
    Commit(usize, u64, usize),
    /// Power fails at a node that has just acknowledged something, and at others.
    PowerLoss(usize),
    /// A process ends by itself, and starts again.
    Restart(usize, u64),
    /// It starts.
    Start(usize),
    /// It goes on after a pause.
    Resume(usize),
    /// Links are looked at.
    Links,
    /// A client sends, or waits no longer.
    Client(usize, u64),
    /// A client is answered.
    Answer(usize, u64, Option<(StreamId, u64)>),
    /// A client begins a read, and gives one up.
    Reader(usize),
    ReadEnds(u64),
    /// Something goes wrong, or right again.
    Nemesis,
    /// Everything is well from now on.
    Heal,
    /// A look at whether everything has come to rest.
    Rest,
}

struct Due {
    at: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A whole cluster.
pub struct World {
    pub seed: u64,
    pub plan: Plan,
    pub chance: Chance,
    pub now: Duration,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    events: u64,
    trace: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub register: Register,
    pub tables: Tables,
    pub clients: Vec<Client>,
    pub readings: BTreeMap<u64, Reading>,
    pub checks: Checks,
    pub nemesis: Nemesis,
    pub metrics: Arc<Metrics>,
    pub next_number: u64,
    pub healed: Option<Duration>,
    pub at_rest: bool,
    pub allow_degraded: bool,
    pub quorums: Quorums,
    /// The longest that a journal's disk takes for a group, in milliseconds.
    pub journal_ms: u64,
    pub report: Report,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> World {
        let mut chance = Chance::new(seed, "cluster");
        let count = if chance.per_mille(600) {
            3
        } else {
            3 + chance.below(3) as usize
        };
        let nodes = (0..count).map(|index| {
            let clock = Arc::new(SimClock::default());
            let disk_seed = draw(seed, &[b"disk", &index.to_le_bytes()]);
            Node {
                name: format!("n{index}").into(),
                disk: SimDisk::new(disk_seed, clock),
                incarnation: 0,
                process: None,
                paused: false,
                deferred: Vec::new(),
                skew: Duration::from_millis(chance.below(100_000)),
                stored: BTreeMap::new(),
                damaged: false,
                wiped_at: None,
                member: true,
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        let nemesis = Nemesis::new(&mut chance, count);
        let mut world = World {
            seed,
            plan,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            events: 0,
            trace: seed,
            network: Network::new(&mut chance, count),
            nodes,
            register: Register::default(),
            tables: Tables::default(),
            clients: Vec::new(),
            readings: BTreeMap::new(),
            checks: Checks::default(),
            nemesis,
            metrics: Arc::new(Metrics::new()),
            next_number: 1,
            healed: None,
            at_rest: false,
            allow_degraded: chance.per_mille(150),
            quorums: quorums_of(seed),
            journal_ms: if chance.per_mille(600) { 12 } else { 150 },
            report: Report::default(),
            chance,
        };
        for index in 0..count {
            let delay = world.within(0, 300);
            world.after(delay, Event::Start(index));
        }
        world.after(Duration::ZERO, Event::Links);
        world.start_clients();
        world.after(Duration::from_millis(800), Event::Nemesis);
        let faulty = world.nemesis.faulty;
        world.after(faulty, Event::Heal);
        world
    }

    /// A time between two, in milliseconds.
    pub fn within(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(1000 * from + self.chance.below(1000 * (to - from).max(1)))
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.order += 1;
        let due = Due {
            at: self.now + delay,
            order: self.order,
            event,
        };
        self.queue.push(Reverse(due));
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn broken_by(&self, breakage: Breakage) -> bool {
        self.plan.breakage == breakage
    }

    /// Takes what happened into the trace, and into the steps where they are kept.
    pub fn note(&mut self, figures: &[u64], text: impl FnOnce() -> String) {
        for figure in figures {
            self.trace = draw(self.trace, &[&figure.to_le_bytes()]);
        }
        if self.plan.verbose {
            let text = format!("{:>9.3} {}", self.now.as_secs_f64(), text());
            self.report.steps.push(text);
        }
    }

    pub fn violated(&mut self, invariant: Invariant, what: String) {
        self.trace = draw(self.trace, &[invariant.id().as_bytes()]);
        let what = format!("{what} (at {:.3} s)", self.now.as_secs_f64());
        self.report.broken(invariant, what);
    }

    pub fn run(&mut self) {
        while let Some(Reverse(due)) = self.queue.pop() {
            self.now = due.at;
            self.events += 1;
            if self.events > MAX_EVENTS {
                self.violated(Invariant::I5Bounded, "the run does not come to rest".into());
                break;
            }
            self.handle(due.event);
            let is_late = self
                .healed
                .is_some_and(|healed| self.now > healed + HEALTHY);
            if self.at_rest || is_late || !self.report.violations.is_empty() {
                break;
            }
        }
        self.finish();
    }

    /// The node that an event is for, and the process that it is for.
    fn target(event: &Event) -> Option<(usize, Option<u64>)> {
        Some(match event {
            Event::Tick(node, of)
            | Event::Log(node, of)
            | Event::Journal(node, of)
            | Event::Dial(node, of, _)
            | Event::Read(node, of, ..)
            | Event::Broken(node, of, _)
            | Event::Unanswered(node, of, _)
            | Event::Reply(node, of, ..)
            | Event::Control(node, of)
            | Event::Flush(node, of, _)
            | Event::Commit(node, of, _)
            | Event::Restart(node, of) => (*node, Some(*of)),
            Event::Arrive(node, _) => (*node, None),
            _ => return None,
        })
    }

    fn handle(&mut self, event: Event) {
        if let Some((node, of)) = Self::target(&event) {
            let at = &mut self.nodes[node];
            if of.is_some_and(|of| of != at.incarnation) || at.process.is_none() {
                return;
            }
            if at.paused {
                at.deferred.push(event);
                return;
            }
        }
        self.trace = draw(self.trace, &[&self.now.as_nanos().to_le_bytes()]);
        match event {
            Event::Tick(node, _) => self.tick(node),
            Event::Log(node, _) => self.write_log(node),
            Event::Journal(node, _) => self.write_journal(node),
            Event::Dial(node, _, name) => self.dial(node, name),
            Event::Read(node, _, name, from, upto) => self.read_back(node, name, from, upto),
            Event::Broken(node, _, link) => self.broken(node, link),
            Event::Arrive(node, packet) => self.arrive(node, packet),
            Event::Unanswered(node, _, number) => self.unanswered(node, number),
            Event::Ask(by, of, number, ask) => self.ask_register(by, of, number, ask),
            Event::Reply(node, _, number, reply) => self.register_replied(node, number, reply),
            Event::Control(node, _) => self.control(node),
            Event::Flush(node, _, signal) => self.flush(node, signal),
            Event::Commit(node, _, signal) => self.commit(node, signal),
            Event::Restart(node, _) => {
                self.crash(node, Fate::Kill);
                self.start(node);
            }
            Event::PowerLoss(node) => self.power_fails(node),
            Event::Start(node) => self.start(node),
            Event::Resume(node) => self.resume(node),
            Event::Links => self.look_at_links(),
            Event::Client(client, attempt) => self.client_acts(client, attempt),
            Event::Answer(client, attempt, stored) => self.client_hears(client, attempt, stored),
            Event::Reader(client) => self.read_begins(client),
            Event::ReadEnds(number) => self.read_ends(number),
            Event::Nemesis => self.nemesis_acts(),
            Event::Heal => self.heal(),
            Event::Rest => self.look_at_rest(),
        }
    }

    pub fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].paused) {
            return;
        }
        self.note(&[1, node as u64], || format!("n{node} goes on"));
        for event in std::mem::take(&mut self.nodes[node].deferred) {
            self.after(Duration::ZERO, event);
        }
    }

    fn look_at_rest(&mut self) {
        self.at_rest = self.is_at_rest();
        if !self.at_rest {
            self.after(LOOK, Event::Rest);
        }
    }

    /// Takes a node's process out to work on it; `with` puts it back.
    pub fn with(&mut self, node: usize, work: impl FnOnce(&mut World, &mut Process)) {
        if let Some(mut process) = self.nodes[node].process.take() {
            work(self, &mut process);
            // It may have ended itself.
            if !process.ended && self.nodes[node].process.is_none() {
                self.nodes[node].process = Some(process);
            }
        }
    }

    pub fn member_names(&self) -> BTreeSet<usize> {
        (0..self.nodes.len())
            .filter(|node| self.nodes[*node].member)
            .collect()
    }

    pub fn index(&self, name: &str) -> usize {
        let position = self.nodes.iter().position(|node| &*node.name == name);
        position.expect("names are of nodes")
    }

    pub fn report(mut self) -> Report {
        self.report.trace = self.trace;
        self.report.operations = self.events;
        self.report.acknowledged = self.checks.acknowledged;
        self.report.refused = self.checks.refused;
        self.report.overdue = self.checks.overdue;
        self.report
    }
}
