//! The log alone: append, commit groups, go down at any operation, open, replay, compare.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::disk::Disk;
use otlake_base::invariant::Invariant;
use otlake_base::{Code, Kind, Metrics, Position, Result, Signal, StreamId};
use otlake_log::{Durability, Log, LogConfig, Record};

use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;
use crate::frames;
use crate::groups::Groups;
use crate::mutation::Mutation;
use crate::report::Report;

const FOLDER: &str = "/data/log";

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// What is broken on purpose.
    pub mutation: Mutation,
    /// Goes down at this operation of the first life, instead of where the seed says.
    pub crash_in: Option<u64>,
    /// Has this operation fail, where the course of events is always the same.
    pub fail_in: Option<u64>,
    /// Keeps the steps.
    pub verbose: bool,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Acknowledged(Position),
    /// With the last sequence that was acknowledged before.
    Refused(StreamId, u64),
    Unanswered,
}

struct Driver {
    seed: u64,
    chance: Chance,
    mutation: Mutation,
    disk: SimDisk,
    report: Report,
    /// By number of the record.
    facts: BTreeMap<u64, (Signal, Fact)>,
    /// By stream and signal: what need not come back.
    released: BTreeMap<(StreamId, Signal), u64>,
    /// By stream: the last acknowledged sequence.
    last: HashMap<StreamId, u64>,
    next: u64,
    segment_bytes: u64,
    /// Whether the log's folder was opened before.
    opened: bool,
}

/// A record of this number; its bytes are its number's alone.
fn record(seed: u64, number: u64) -> Record {
    let mut chance = Chance::new(seed, &format!("record {number}"));
    let length = match chance.below(10) {
        0 => 0,
        1 => chance.below(9000),
        2..5 => chance.below(1200),
        _ => chance.below(120),
    };
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend((0..length).map(|_| chance.next() as u8));
    // A sector of zeros, or zeros at the end, look like what was never written: with no later
    // group to witness it, a bit flipped in such a record passes for a write cut off.
    payload.push(0xA5);
    Record {
        signal: Signal::ALL[chance.below(3) as usize],
        tenant: ["default", "a", "a tenant of a longer name"][chance.below(3) as usize].into(),
        received_unix_nano: number,
        payload: Bytes::from(payload),
    }
}

/// Runs one seed.
pub fn run(seed: u64, plan: Plan) -> Report {
    let mut chance = Chance::new(seed, "log");
    let disk = SimDisk::new(draw(seed, &[b"disk 0"]), Arc::new(SimClock::default()));
    disk.set_mutation(plan.mutation);
    // The folder above the log's is the node's to keep.
    let above = Path::new("/data");
    let made = disk
        .create_folder(above)
        .and_then(|()| disk.sync_folder(Path::new("/")));
    debug_assert!(made.is_ok());
    if plan.verbose {
        disk.keep_steps();
    }
    let segment_bytes = [2048, 8192, 65_536][chance.below(3) as usize];
    let lives = 2 + chance.below(3);
    let mut driver = Driver {
        seed,
        chance,
        mutation: plan.mutation,
        disk,
        report: Report::default(),
        facts: BTreeMap::new(),
        released: BTreeMap::new(),
        last: HashMap::new(),
        next: 0,
        segment_bytes,
        opened: false,
    };
    for life in 0..lives {
        let crash_in = match plan.crash_in {
            Some(at) if life == 0 => Some(at),
            _ => match driver.chance.below(4) {
                0 => None,
                reach => Some(driver.chance.below([20, 100, 400][reach as usize - 1])),
            },
        };
        driver.life(life, crash_in);
    }
    driver.last_life();
    driver.finish()
}

impl Driver {
    fn config(&self) -> LogConfig {
        LogConfig {
            dir: PathBuf::from(FOLDER),
            segment_bytes: self.segment_bytes,
            max_bytes: 1 << 30,
            durability: Durability::Fsync,
        }
    }

    fn open(&self) -> Result<(Log, otlake_log::Replay)> {
        let (clock, metrics) = (self.disk.clock(), Arc::new(Metrics::new()));
        Log::open_on(Arc::new(self.disk.clone()), self.config(), clock, metrics)
    }

    /// Opens the log, replays it and compares; None where the machine went down.
    fn open_and_check(&mut self, flipped: Option<&Path>) -> Option<Log> {
        let mut opened = self.open();
        if let Err(error) = &opened {
            if self.disk.crashed() {
                return None;
            }
            // A disk that is merely full does not keep it shut.
            let shut = self.opened && self.disk.injected() == 0;
            if error.code != Code::LogIo || shut {
                self.broken(Invariant::I10DiskFault, format!("it opens with {error}"));
            }
            self.disk.set_faults(Faults::default());
            self.disk.set_free(None);
            opened = self.open();
        }
        let (log, replay) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.crashed() => return None,
            Err(error) => {
                self.broken(Invariant::I10DiskFault, format!("it stays shut: {error}"));
                return None;
            }
        };
        self.opened = true;
        let mut seen: BTreeMap<u64, Position> = BTreeMap::new();
        let mut damaged = 0;
        let mut last: HashMap<StreamId, u64> = HashMap::new();
        for item in replay {
            let (position, found) = match item {
                Ok(item) => item,
                Err(error) if error.code == Code::LogChecksumMismatch => {
                    damaged += 1;
                    if flipped.is_none() {
                        self.broken(Invariant::I6Detected, format!("false alarm: {error}"));
                    }
                    continue;
                }
                Err(_) if self.disk.crashed() => return None,
                Err(error) => {
                    self.broken(Invariant::I2NothingLost, format!("replay: {error}"));
                    continue;
                }
            };
            let number = found.payload.first_chunk().copied().map(u64::from_be_bytes);
            let known = number.filter(|number| {
                self.facts.contains_key(number) && record(self.seed, *number) == found
            });
            let Some(number) = known else {
                self.broken(
                    Invariant::I6Detected,
                    format!("{position} is served with bytes that nobody sent"),
                );
                continue;
            };
            if let Some(before) = last.insert(position.stream, position.sequence)
                && before >= position.sequence
            {
                self.broken(
                    Invariant::I3Once,
                    format!("{position} comes after {before}"),
                );
            }
            if let Some(other) = seen.insert(number, position) {
                self.broken(
                    Invariant::I3Once,
                    format!("record {number} is at {other} and at {position}"),
                );
            }
        }
        if self.disk.crashed() {
            return None;
        }
        self.compare(&seen, damaged, flipped);
        // As tables do that hold what they hold.
        for ((stream, signal), sequence) in &self.released {
            let (stream, sequence) = (*stream, *sequence);
            log.release(*signal, Position { stream, sequence });
        }
        self.release(&log, seen.values().copied().collect());
        Some(log)
    }

    fn compare(&mut self, seen: &BTreeMap<u64, Position>, damaged: u64, flipped: Option<&Path>) {
        let mut missing = Vec::new();
        for (number, (signal, fact)) in &self.facts {
            let at = seen.get(number);
            match fact {
                Fact::Acknowledged(position) => {
                    let released = self.released.get(&(position.stream, *signal));
                    let may_go = released.is_some_and(|upto| position.sequence <= *upto);
                    if at.is_some_and(|at| at != position) {
                        missing.push((Invariant::I3Once, *position, "is elsewhere"));
                    } else if at.is_none() && !may_go {
                        missing.push((Invariant::I2NothingLost, *position, "is gone"));
                    }
                }
                Fact::Refused(stream, after) => {
                    let later = self.last.get(stream).is_some_and(|last| last > after);
                    if let Some(at) = at
                        && later
                    {
                        missing.push((Invariant::I4Ledger, *at, "was refused and is back"));
                    }
                }
                Fact::Unanswered => {}
            }
        }
        if let Some(path) = flipped {
            let lost = missing
                .iter()
                .filter(|lost| lost.0 == Invariant::I2NothingLost);
            let lost: Vec<Position> = lost.map(|lost| lost.1).collect();
            if !lost.is_empty() && damaged == 0 {
                let what = format!("{lost:?} is lost of {} and not told", path.display());
                self.broken(Invariant::I6Detected, what);
            }
            if lost.len() > 1 {
                let what = format!("a flipped bit cost {lost:?}");
                self.broken(Invariant::I2NothingLost, what);
            }
            missing.retain(|lost| lost.0 != Invariant::I2NothingLost);
        }
        for (invariant, position, what) in missing {
            self.broken(invariant, format!("{position} {what}"));
        }
    }

    fn broken(&mut self, invariant: Invariant, what: String) {
        self.report.broken(invariant, what);
    }

    /// Releases some of what was seen or acknowledged, as flushes do.
    fn release(&mut self, log: &Log, positions: Vec<Position>) {
        if !self.chance.per_mille(300) {
            return;
        }
        let streams: BTreeSet<StreamId> = positions.iter().map(|at| at.stream).collect();
        for stream in streams {
            let last = positions
                .iter()
                .filter(|at| at.stream == stream)
                .map(|at| at.sequence)
                .max()
                .unwrap_or(0);
            for signal in Signal::ALL {
                let sequence = self.chance.below(last + 1);
                let upto = self.released.entry((stream, signal)).or_default();
                *upto = sequence.max(*upto);
                log.release(signal, Position { stream, sequence });
            }
        }
    }

    fn life(&mut self, life: u64, crash_in: Option<u64>) {
        let faults = Faults::by_seed(&mut self.chance);
        self.disk.set_faults(faults);
        if let Some(operations) = crash_in {
            self.disk.crash_in(operations);
        }
        if let Some(log) = self.open_and_check(None) {
            self.load(log, faults);
        }
        self.reboot(life);
    }

    fn load(&mut self, log: Log, faults: Faults) {
        let mut groups = Groups::new(log);
        let mut acknowledged = Vec::new();
        for group in 0..2 + self.chance.below(12) {
            if self.chance.per_mille(60) {
                let free = self.chance.below(3 * self.segment_bytes);
                self.disk.set_free(Some(free));
            } else if self.chance.per_mille(300) {
                self.disk.set_free(None);
            }
            // The first goes alone: the writer takes it as soon as it comes.
            let count = if group == 0 {
                1
            } else {
                1 + self.chance.below(6)
            };
            self.append(&mut groups, count, &mut acknowledged);
            self.release(&groups.log, acknowledged.clone());
        }
        if !self.disk.crashed() && faults != Faults::default() && self.chance.per_mille(500) {
            self.disk.set_faults(Faults::default());
            self.disk.set_free(None);
            let before = self.report.refused;
            self.append(&mut groups, 1, &mut acknowledged);
            if self.report.refused > before && !self.disk.crashed() {
                self.broken(
                    Invariant::I10DiskFault,
                    "a disk that works again is refused".to_owned(),
                );
            }
        }
        if self.chance.per_mille(300) {
            groups.close();
        } else {
            // Nothing of what the end of the process does reaches the disk.
            self.disk.crash_in(0);
        }
    }

    fn append(&mut self, groups: &mut Groups, count: u64, acknowledged: &mut Vec<Position>) {
        let stream = groups.log.stream();
        let numbers: Vec<u64> = (self.next..self.next + count).collect();
        self.next += count;
        let records = numbers.iter().map(|number| record(self.seed, *number));
        let records: Vec<Record> = records.collect();
        for (number, record) in numbers.iter().zip(&records) {
            self.facts
                .insert(*number, (record.signal, Fact::Unanswered));
        }
        let answers = groups.append(records);
        for (number, answer) in numbers.iter().zip(answers) {
            let last = self.last.entry(stream).or_default();
            let fact = match answer {
                Ok(position) => {
                    let gapless = position.sequence == *last + 1;
                    *last = position.sequence;
                    acknowledged.push(position);
                    self.report.acknowledged += 1;
                    if position.sequence > groups.log.last_durable() || !gapless {
                        self.broken(Invariant::I1DurableAck, format!("{position} runs ahead"));
                    }
                    Fact::Acknowledged(position)
                }
                Err(_) if self.disk.crashed() => Fact::Unanswered,
                Err(error) => {
                    self.report.refused += 1;
                    let last = *last;
                    if !matches!(error.kind(), Kind::Unavailable | Kind::Exhausted) {
                        self.broken(Invariant::I10DiskFault, format!("refused with {error}"));
                    }
                    Fact::Refused(stream, last)
                }
            };
            if let Some((_, known)) = self.facts.get_mut(number) {
                *known = fact;
            }
        }
    }

    fn reboot(&mut self, life: u64) {
        let fate = match self.chance.below(4) {
            0 => Fate::Kill,
            _ => Fate::PowerCut,
        };
        let seed = draw(self.seed, &[b"disk", &(life + 1).to_le_bytes()]);
        let next = self.disk.reboot(fate, seed);
        self.gather();
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

    /// No more faults but, perhaps, one flipped bit; then all must be there.
    fn last_life(&mut self) {
        if let Some(log) = self.open_and_check(None) {
            drop(log);
        }
        self.reboot(100);
        let segments: Vec<(PathBuf, u64)> = self
            .disk
            .files_below(Path::new(FOLDER))
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        if segments.is_empty() || self.chance.per_mille(400) {
            self.open_and_check(None);
            return;
        }
        let (path, bytes) = &segments[self.chance.below(segments.len() as u64) as usize];
        self.report.flipped += 1;
        self.disk.flip(path, self.chance.below(8 * bytes));
        if self.mutation == Mutation::SkipChecksum
            && let Some(resealed) = self.disk.bytes_of(path).map(frames::reseal)
        {
            self.disk.replace(path, resealed);
        }
        self.open_and_check(Some(path));
    }

    fn finish(mut self) -> Report {
        self.gather();
        let mut facts = self.report.trace;
        for (number, fact) in &self.facts {
            facts = draw(facts, &[format!("{number} {fact:?}").as_bytes()]);
        }
        self.report.trace = facts;
        self.report
    }
}
