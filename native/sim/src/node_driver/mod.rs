//! A whole node: ingest, resend, flush, merge, expire, delete, fill the disk, go down at any
//! operation between log, file, commit, compaction and deletion, open, compare every row.
//!
//! One thing happens at a time: the node's runtime has one thread, which runs only while the driver
//! waits for an open, a flush, a job or a close, and live rows are of one signal.
//!
//! - `beginnings`: the disks and the configuration that runs begin with.
//! - `work`: what is done.
//! - `check`: what must hold; `content`: what rows say.
//! - `flip`: damage at rest.
//! - `scripts`: courses of events that are always the same, but for where the node goes down.

mod beginnings;
mod check;
mod content;
mod flip;
mod scripts;
mod work;

use std::sync::Arc;

use otlake_base::invariant::Invariant;
use otlake_base::{Code, Metrics, Result, Signal};
use otlake_processor::Processor;
use tokio::runtime::Runtime;

pub use beginnings::Beginnings;
pub use scripts::{full_disk, jobs, kill_then_power_cut};

use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;
use crate::log_driver::Plan;
use crate::mutation::Mutation;
use crate::report::Report;
use beginnings::{Resends, config, runtime};
use check::Look;
use content::Parsed;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Acknowledged,
    /// Refused, or the machine went down before the answer: it may be there once.
    Open,
}

/// What became of rows by their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// They are kept.
    Never,
    /// They are past it, and no run has begun that removes them.
    Due,
    /// One has begun: each table has all of a request or nothing.
    Maybe,
    /// One has removed them.
    Gone,
}

#[derive(Clone, Debug)]
struct Sent {
    signal: Signal,
    first: u64,
    count: u64,
    fact: Fact,
    expiry: Expiry,
    /// How often it was sent.
    sends: u64,
    /// How often it may be there.
    most: u64,
    /// How often it was refused by the node at work: a start later it may be there all the same.
    refused: u64,
}

struct Driver<'a> {
    seed: u64,
    chance: Chance,
    mutation: Mutation,
    disk: SimDisk,
    runtime: &'a Runtime,
    report: Report,
    sent: Vec<Sent>,
    next: u64,
    /// The signal that live rows may be of.
    dirty: Option<Signal>,
    faults: Faults,
    is_old: bool,
    resends: Resends,
    /// Whether a node has opened on this disk: from then on nothing has to be made first.
    opened: bool,
    parsed: Parsed,
}

struct Life {
    node: Arc<Processor>,
    metrics: Arc<Metrics>,
}

/// Runs one seed.
///
/// # Panics
/// Where the machine that runs it has no threads left.
pub fn run(seed: u64, plan: Plan, beginnings: &Beginnings) -> Report {
    let mut chance = Chance::new(seed, "node");
    let beginning = match chance.below(6) {
        0 => None,
        1 | 2 => Some(&beginnings.fresh),
        _ => Some(&beginnings.old),
    };
    let is_old = beginning.is_some_and(|disk| std::ptr::eq(disk, &beginnings.old));
    let resends = match chance.below(8) {
        0 => Resends::Stored,
        _ => Resends::Told,
    };
    let runtime = runtime().expect("a runtime");
    let mut driver = Driver::new(seed, plan, &runtime, beginning, chance);
    (driver.is_old, driver.resends) = (is_old, resends);
    for life in 0..1 + driver.chance.below(3) {
        let crash_in = match plan.crash_in {
            Some(at) if life == 0 => Some(at),
            _ => match driver.chance.below(4) {
                0 => None,
                reach => Some(driver.chance.below([40, 150, 500][reach as usize - 1])),
            },
        };
        driver.life(life, crash_in);
    }
    driver.last_life();
    driver.finish()
}

impl<'a> Driver<'a> {
    fn new(
        seed: u64,
        plan: Plan,
        runtime: &'a Runtime,
        beginning: Option<&SimDisk>,
        chance: Chance,
    ) -> Driver<'a> {
        let (disk_seed, clock) = (draw(seed, &[b"disk 0"]), Arc::new(SimClock::default()));
        let disk = match beginning {
            None => SimDisk::new(disk_seed, clock),
            Some(disk) => disk.copy(disk_seed, clock),
        };
        disk.set_mutation(plan.mutation);
        if plan.verbose {
            disk.keep_steps();
        }
        Driver {
            seed,
            chance,
            mutation: plan.mutation,
            disk,
            runtime,
            report: Report::default(),
            sent: Vec::new(),
            next: 0,
            dirty: None,
            faults: Faults::default(),
            is_old: false,
            resends: Resends::Told,
            opened: beginning.is_some(),
            parsed: Parsed::new(),
        }
    }

    fn open_once(&self) -> Result<Life> {
        let (clock, metrics) = (self.disk.clock(), Arc::new(Metrics::new()));
        let config = config(&self.disk, self.seed, self.resends);
        let opening = Processor::open(config, clock, Arc::clone(&metrics));
        let node = self.runtime.block_on(opening)?;
        Ok(Life { node, metrics })
    }

    /// Opens the node; None where the machine went down. A fault may keep it shut, a disk that is
    /// merely full may not.
    fn open(&mut self) -> Option<Life> {
        let first = self.open_once();
        let faults = self.disk.injected();
        let error = match first {
            Ok(life) => {
                self.opened = true;
                return Some(life);
            }
            Err(_) if self.disk.crashed() => return None,
            Err(error) => error,
        };
        let passing = matches!(
            error.code,
            Code::TableIo | Code::LogIo | Code::NodeDirectoryUnusable
        );
        if !passing || (self.opened && faults == 0) {
            self.broken(Invariant::I10DiskFault, format!("it opens with {error}"));
        }
        self.works_again();
        match self.open_once() {
            Ok(life) => {
                self.opened = true;
                Some(life)
            }
            Err(_) if self.disk.crashed() => None,
            Err(error) => {
                self.broken(Invariant::I10DiskFault, format!("it stays shut: {error}"));
                None
            }
        }
    }

    fn works_again(&mut self) {
        self.faults = Faults::default();
        self.disk.set_faults(self.faults);
        self.disk.set_free(None);
    }

    fn broken(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.report.broken(invariant, what);
    }

    fn life(&mut self, life: u64, crash_in: Option<u64>) {
        self.faults = Faults::by_seed(&mut self.chance);
        self.disk.set_faults(self.faults);
        if let Some(operations) = crash_in {
            self.disk.crash_in(operations);
        }
        if let Some(node) = self.open() {
            self.compare(&node, Look::AFTER_CRASH);
            if self.chance.per_mille(500) {
                self.resend_unanswered(&node);
            }
            self.work(&node);
            self.ledger(&node);
            let closes = self.chance.per_mille(200);
            if closes {
                let _ = self.runtime.block_on(node.node.close());
            }
            // Nothing of what the end of the process does reaches the disk.
            self.disk.crash_in(0);
        }
        self.reboot(life);
    }

    fn reboot(&mut self, life: u64) {
        let fate = match self.chance.below(3) {
            0 => Fate::Kill,
            _ => Fate::PowerCut,
        };
        self.reboot_by(fate, life);
    }

    /// What a power cut loses depends on the number.
    fn reboot_by(&mut self, fate: Fate, life: u64) {
        let seed = draw(self.seed, &[b"disk", &(life + 1).to_le_bytes()]);
        let next = self.disk.reboot(fate, seed);
        self.gather();
        for sent in &mut self.sent {
            sent.refused = 0;
        }
        self.report.crashes += 1;
        self.report.steps.push(format!("---- {fate:?}"));
        self.disk = next;
    }

    fn gather(&mut self) {
        let report = &mut self.report;
        report.trace = draw(report.trace, &[&self.disk.trace().to_le_bytes()]);
        report.operations += self.disk.operations();
        report.faults += self.disk.injected();
        report.steps.extend(self.disk.steps());
    }

    /// No more faults but, perhaps, one flipped bit; then all must be there, live and in files.
    fn last_life(&mut self) {
        self.works_again();
        if let Some(life) = self.open() {
            self.compare(&life, Look::AFTER_CRASH);
            match self.chance.below(8) {
                0..4 => {}
                4 | 5 => {
                    self.flush(&life, true);
                    self.compare(&life, Look::READING);
                }
                _ => self.all_jobs(&life),
            }
            self.ledger(&life);
            self.disk.crash_in(0);
        }
        self.reboot(100);
        if self.chance.per_mille(500) {
            self.flip();
            return;
        }
        let damaged = self.verify();
        if !damaged.is_empty() {
            self.broken(Invariant::I6Detected, format!("false alarm: {damaged:?}"));
        }
        if let Some(life) = self.open() {
            self.compare(&life, Look::AFTER_CRASH.deeply());
            self.disk.crash_in(0);
        }
    }

    fn finish(mut self) -> Report {
        self.gather();
        let mut trace = self.report.trace;
        for sent in &self.sent {
            trace = draw(trace, &[format!("{sent:?}").as_bytes()]);
        }
        self.report.trace = trace;
        self.report
    }
}
