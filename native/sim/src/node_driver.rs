//! A whole node: ingest, resend, flush, fill the disk, go down at any operation between log, file,
//! commit and deletion, open, compare every row.
//!
//! One thing happens at a time: the node's runtime has one thread, which runs only while the driver
//! waits for an open, a flush or a close, and live rows are of one signal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::executor::block_on;
use otlake_base::invariant::Invariant;
use otlake_base::metrics::by_signal;
use otlake_base::{Code, Consistency, Error, Kind, Metrics, Result, Signal, Table};
use otlake_processor::{Processor, ProcessorConfig};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;

use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;
use crate::frames;
use crate::load::{FIRST, request, tables};
use crate::log_driver::Plan;
use crate::mutation::Mutation;
use crate::report::Report;

/// The node's folder on the simulated disk. Fixed, because chance goes by names.
const FOLDER: &str = "/tmp/otlake-sim";
/// Flushes that a table is old of in half of the runs, so that a checkpoint is near.
const OLD_FLUSHES: u64 = 8;
/// Calls of `flush` until a disk that works must have taken it.
const FLUSH_CALLS: usize = 8;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Acknowledged,
    /// Refused, or the machine went down before the answer: it may be there once.
    Open,
}

#[derive(Clone, Debug)]
struct Sent {
    signal: Signal,
    first: u64,
    count: u64,
    fact: Fact,
}

/// Disks that runs begin with: making seven tables anew each time would be most of the work.
pub struct Beginnings {
    fresh: SimDisk,
    old: SimDisk,
}

impl Beginnings {
    /// Makes them.
    ///
    /// # Errors
    /// What a node says that does not open on a disk without faults.
    pub fn new() -> Result<Beginnings> {
        // Delta's library asks the machine itself whether a table's folder is there, and nothing
        // else of it.
        for table in Table::ALL {
            let folder = Path::new(FOLDER).join("tables").join(table.name());
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::new(Code::Internal, format!("{FOLDER}: {error}")))?;
        }
        let fresh = SimDisk::new(1, Arc::new(SimClock::default()));
        let runtime = runtime()?;
        let open = |disk: &SimDisk| {
            let (clock, metrics) = (disk.clock(), Arc::new(Metrics::new()));
            runtime.block_on(Processor::open(config(disk, 0), clock, metrics))
        };
        let node = open(&fresh)?;
        runtime.block_on(node.close())?;
        drop(node);
        let old = fresh.copy(2, Arc::new(SimClock::default()));
        let node = open(&old)?;
        for flush in 0..OLD_FLUSHES {
            for signal in Signal::ALL {
                let body = request(signal, OLD_NUMBERS + flush, 1);
                block_on(node.ingest(signal, "default".into(), "library", body))?;
            }
            runtime.block_on(node.flush())?;
        }
        runtime.block_on(node.close())?;
        Ok(Beginnings { fresh, old })
    }
}

/// Numbers of the rows that an old table holds; a run's own begin at 0.
const OLD_NUMBERS: u64 = 1_000_000_000;

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, error.to_string()))
}

fn config(disk: &SimDisk, choice: u64) -> ProcessorConfig {
    ProcessorConfig {
        flush_interval_ms: 3_600_000_000,
        log_segment_bytes: [16_384, 65_536][choice as usize % 2],
        flush_retry: Duration::from_micros(1),
        disk: Arc::new(disk.clone()),
        ..ProcessorConfig::new(FOLDER)
    }
}

/// Sends a request and flushes; goes down by a kill at this operation of that; sends it again, loses
/// power, and says how often each of its records is there: once, whatever comes after the kill was
/// built on what the page cache showed. None once the operation is behind the end.
pub fn kill_then_power_cut(
    beginnings: &Beginnings,
    at: u64,
    seed: u64,
) -> Option<BTreeMap<u64, u64>> {
    let runtime = runtime().expect("a runtime");
    let mut disk = beginnings.fresh.copy(seed, Arc::new(SimClock::default()));
    let mut ended = false;
    for life in 0..3 {
        let (clock, metrics) = (disk.clock(), Arc::new(Metrics::new()));
        let node = runtime
            .block_on(Processor::open(config(&disk, 0), clock, metrics))
            .expect("a disk without faults");
        if life == 2 {
            let mut numbers = BTreeMap::new();
            let capture = node.source(Table::Spans).capture(&Consistency::Strong);
            let capture = capture.expect("a strong read");
            for live in &capture.live {
                count(Table::Spans, &live.batch, &mut numbers);
            }
            for file in capture.files.iter() {
                let bytes = disk.bytes_of(&capture.root.join(&file.path));
                let bytes = Bytes::from(bytes.expect("a file of the table"));
                count_file(Table::Spans, bytes, &mut numbers).expect("Parquet");
            }
            return (!ended).then_some(numbers);
        }
        if life == 0 {
            disk.crash_in(at);
        }
        let body = request(Signal::Traces, 0, 3);
        let sent = block_on(node.ingest(Signal::Traces, "default".into(), "library", body));
        if life == 0 {
            let _ = runtime.block_on(node.flush());
            ended = !disk.crashed();
        } else {
            sent.expect("an acknowledgement");
            if seed % 2 == 1 {
                runtime.block_on(node.flush()).expect("a flush");
            }
        }
        disk.crash_in(0);
        let fate = [Fate::Kill, Fate::PowerCut][life];
        disk = disk.reboot(fate, draw(seed, &[&at.to_le_bytes()]));
    }
    None
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
    let disk_seed = draw(seed, &[b"disk 0"]);
    let clock = Arc::new(SimClock::default());
    let (disk, is_old) = match chance.below(6) {
        0 => (SimDisk::new(disk_seed, clock), false),
        1 | 2 => (beginnings.fresh.copy(disk_seed, clock), false),
        _ => (beginnings.old.copy(disk_seed, clock), true),
    };
    disk.set_mutation(plan.mutation);
    if plan.verbose {
        disk.keep_steps();
    }
    let runtime = runtime().expect("a runtime");
    let mut driver = Driver {
        seed,
        chance,
        mutation: plan.mutation,
        disk,
        runtime: &runtime,
        report: Report::default(),
        sent: Vec::new(),
        next: 0,
        dirty: None,
        faults: Faults::default(),
        is_old,
    };
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

impl Driver<'_> {
    fn open_once(&self) -> Result<Life> {
        let (clock, metrics) = (self.disk.clock(), Arc::new(Metrics::new()));
        let config = config(&self.disk, self.seed);
        let opening = Processor::open(config, clock, Arc::clone(&metrics));
        let node = self.runtime.block_on(opening)?;
        Ok(Life { node, metrics })
    }

    /// Opens the node; None where the machine went down.
    fn open(&mut self) -> Option<Life> {
        match self.open_once() {
            Ok(life) => return Some(life),
            Err(_) if self.disk.crashed() => return None,
            Err(error) => {
                let code = error.code;
                let passing = matches!(
                    code,
                    Code::TableIo | Code::LogIo | Code::NodeDirectoryUnusable
                );
                if !passing {
                    self.broken(Invariant::I10DiskFault, format!("it opens with {error}"));
                }
            }
        }
        self.works_again();
        match self.open_once() {
            Ok(life) => Some(life),
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
            self.compare(&node, Loss::None);
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

    fn work(&mut self, life: &Life) {
        for _ in 0..4 + self.chance.below(20) {
            if self.disk.crashed() {
                return;
            }
            match self.chance.below(20) {
                0..11 => self.send_new(life),
                11..14 => self.resend(life),
                14..17 => {
                    self.flush(life, false);
                }
                17 => {
                    let free = self.chance.below(60_000);
                    self.disk.set_free(Some(free));
                }
                18 => self.disk.wait(Duration::from_secs(self.chance.below(120))),
                _ => self.compare(life, Loss::None),
            }
        }
        if self.disk.crashed() {
            return;
        }
        if self.chance.per_mille(500) {
            // It recovers alone.
            self.works_again();
            self.flush(life, true);
            let refused = self.report.refused;
            self.send_new(life);
            if self.report.refused > refused && !self.disk.crashed() {
                self.broken(
                    Invariant::I10DiskFault,
                    "a disk that works again is refused",
                );
            }
        }
        self.compare(life, Loss::None);
    }

    /// Flushes; whether everything is in files then. A disk that must work gets several calls.
    fn flush(&mut self, life: &Life, must: bool) -> bool {
        for _ in 0..FLUSH_CALLS {
            match self.runtime.block_on(life.node.flush()) {
                Ok(()) => {
                    self.dirty = None;
                    return true;
                }
                Err(_) if self.disk.crashed() => return false,
                Err(error) => {
                    if error.kind() != Kind::Unavailable {
                        self.broken(Invariant::I10DiskFault, format!("a flush: {error}"));
                    }
                    // Rows stay readable meanwhile.
                    self.compare(life, Loss::None);
                    if !must && self.chance.per_mille(500) {
                        self.works_again();
                    }
                }
            }
        }
        if must {
            self.broken(Invariant::I10DiskFault, "a disk that works takes no flush");
        }
        false
    }

    fn send_new(&mut self, life: &Life) {
        let signal = Signal::ALL[self.chance.below(3) as usize];
        let signal = match self.dirty {
            Some(dirty) if self.chance.per_mille(800) => dirty,
            _ => signal,
        };
        if self.dirty.is_some_and(|dirty| dirty != signal) && !self.flush(life, false) {
            return;
        }
        let count = 1 + self.chance.below(20);
        self.sent.push(Sent {
            signal,
            first: self.next,
            count,
            fact: Fact::Open,
        });
        self.next += count;
        self.send(life, self.sent.len() - 1);
    }

    /// What clients do once a node is back that did not answer.
    fn resend_unanswered(&mut self, life: &Life) {
        let Some(index) = self.sent.len().checked_sub(1) else {
            return;
        };
        if self.sent[index].fact == Fact::Open {
            self.send_again(life, index);
        }
    }

    /// Sends the identical bytes of an earlier request.
    fn resend(&mut self, life: &Life) {
        let recent = self.sent.len().min(6) as u64;
        if recent == 0 {
            return;
        }
        let index = self.sent.len() - 1 - self.chance.below(recent) as usize;
        self.send_again(life, index);
    }

    fn send_again(&mut self, life: &Life, index: usize) {
        let signal = self.sent[index].signal;
        if self.dirty.is_some_and(|dirty| dirty != signal) && !self.flush(life, false) {
            return;
        }
        self.send(life, index);
    }

    fn send(&mut self, life: &Life, index: usize) {
        let sent = self.sent[index].clone();
        self.dirty = Some(sent.signal);
        let body = request(sent.signal, sent.first, sent.count);
        let ingest = life
            .node
            .ingest(sent.signal, "default".into(), "library", body);
        let told = match block_on(ingest) {
            Ok(ack) if ack.accepted == sent.count * tables(sent.signal).len() as u64 => {
                self.report.acknowledged += 1;
                self.sent[index].fact = Fact::Acknowledged;
                "acknowledged"
            }
            Ok(ack) => {
                let what = format!("{} of {} accepted", ack.accepted, sent.count);
                self.broken(Invariant::I4Ledger, what);
                "in part"
            }
            Err(error) => {
                self.report.refused += 1;
                if !matches!(error.kind(), Kind::Unavailable | Kind::Exhausted)
                    && !self.disk.crashed()
                {
                    self.broken(Invariant::I10DiskFault, format!("refused with {error}"));
                }
                "refused"
            }
        };
        self.disk.note(|| {
            let name = sent.signal.name();
            format!("{told}: {} {name} from {}", sent.count, sent.first)
        });
    }

    /// Every row that is there now, against what was sent.
    fn compare(&mut self, life: &Life, loss: Loss<'_>) {
        let mut lost = Vec::new();
        for signal in Signal::ALL {
            for table in tables(signal) {
                let Some(found) = self.rows(life, *table, loss) else {
                    continue;
                };
                self.compare_table(signal, *table, &found, &mut lost);
            }
        }
        lost.sort_unstable();
        lost.dedup();
        let allowed = match loss {
            Loss::None => 0,
            Loss::OneRequest => 1,
            Loss::Data(_) => usize::MAX,
        };
        if lost.len() > allowed {
            let what = format!("acknowledged requests from {lost:?} are lost");
            self.broken(Invariant::I2NothingLost, what);
        }
    }

    fn compare_table(
        &mut self,
        signal: Signal,
        table: Table,
        found: &BTreeMap<u64, u64>,
        lost: &mut Vec<u64>,
    ) {
        let mut known: u64 = 0;
        let mut broken = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.signal == signal) {
            let there = (sent.first..sent.first + sent.count)
                .map(|number| found.get(&number).copied().unwrap_or(0));
            let (least, most) = there.clone().fold((u64::MAX, 0), |(least, most), times| {
                (times.min(least), times.max(most))
            });
            known += there.sum::<u64>();
            if most > 1 {
                let what = format!("{}: {} is there {most} times", table.name(), sent.first);
                broken.push((Invariant::I3Once, what));
            }
            if least == 0 && sent.fact == Fact::Acknowledged {
                lost.push(sent.first);
            } else if least == 0 && most > 0 {
                let what = format!("{}: a part of {} is there", table.name(), sent.first);
                broken.push((Invariant::I4Ledger, what));
            }
        }
        let old = if self.is_old { OLD_FLUSHES } else { 0 };
        let of_old: u64 = found.range(OLD_NUMBERS..).map(|(_, times)| times).sum();
        if old != of_old {
            let what = format!("{}: {of_old} of {old} older rows", table.name());
            let invariant = if of_old < old {
                Invariant::I2NothingLost
            } else {
                Invariant::I3Once
            };
            broken.push((invariant, what));
        }
        if found.values().sum::<u64>() != known + of_old {
            let what = format!("{} holds rows that nobody sent", table.name());
            broken.push((Invariant::I6Detected, what));
        }
        for (invariant, what) in broken {
            self.broken(invariant, what);
        }
    }

    /// How often each number is in a table; None where a file that was damaged is found so.
    fn rows(&mut self, life: &Life, table: Table, loss: Loss<'_>) -> Option<BTreeMap<u64, u64>> {
        let capture = life.node.source(table).capture(&Consistency::Strong);
        let capture = match capture {
            Ok(capture) => capture,
            Err(error) => {
                let what = format!("{} cannot be read: {error}", table.name());
                self.broken(Invariant::I10DiskFault, what);
                return None;
            }
        };
        let mut numbers = BTreeMap::new();
        for live in &capture.live {
            count(table, &live.batch, &mut numbers);
        }
        for file in capture.files.iter() {
            let path = capture.root.join(&file.path);
            let Some(bytes) = self.disk.bytes_of(&path) else {
                let what = format!("{} is not there", path.display());
                self.broken(Invariant::I2NothingLost, what);
                continue;
            };
            let damaged = match &file.sums {
                Some(sums) => {
                    bytes.len() as u64 != file.size || sums.first_damaged(0, &bytes).is_some()
                }
                None => false,
            };
            let told = loss == Loss::Data(&path);
            if damaged && told {
                return None;
            }
            if damaged || told {
                let what = format!("{}: damage is not told", path.display());
                self.broken(Invariant::I6Detected, what);
                return None;
            }
            if let Err(what) = count_file(table, Bytes::from(bytes), &mut numbers) {
                self.broken(Invariant::I6Detected, format!("{}: {what}", path.display()));
            }
        }
        Some(numbers)
    }

    /// Received = acknowledged + rejected, and no invariant was seen broken inside.
    fn ledger(&mut self, life: &Life) {
        let text = life.metrics.encode();
        let figure = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse().ok());
        for signal in Signal::ALL {
            let label = format!("signal=\"{}\"", signal.name());
            let rejected: u64 = text
                .lines()
                .filter(|line| line.starts_with("otlake_records_rejected_total"))
                .filter(|line| line.contains(&label))
                .filter_map(figure)
                .sum();
            let labels = by_signal(signal);
            let metrics = &life.metrics;
            let received = metrics.records_received.get_or_create(&labels).get();
            let acknowledged = metrics.records_acknowledged.get_or_create(&labels).get();
            if received != acknowledged + rejected {
                let what = format!("{received} received, {acknowledged} + {rejected} answered");
                self.broken(Invariant::I4Ledger, what);
            }
        }
        for line in text
            .lines()
            .filter(|line| line.starts_with("otlake_invariant_violations_total{"))
        {
            if figure(line) != Some(0) {
                self.broken(Invariant::I4Ledger, format!("it counted {line}"));
            }
        }
    }

    fn reboot(&mut self, life: u64) {
        let fate = match self.chance.below(3) {
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

    /// No more faults but, perhaps, one flipped bit; then all must be there, live and in files.
    fn last_life(&mut self) {
        self.works_again();
        if let Some(life) = self.open() {
            self.compare(&life, Loss::None);
            if self.chance.per_mille(500) {
                self.flush(&life, true);
                self.compare(&life, Loss::None);
            }
            self.ledger(&life);
            self.disk.crash_in(0);
        }
        self.reboot(100);
        self.works_again();
        if self.chance.per_mille(500) {
            self.flip();
        } else if let Some(life) = self.open() {
            self.compare(&life, Loss::None);
            self.disk.crash_in(0);
        }
    }

    fn flip(&mut self) {
        let files: Vec<(PathBuf, u64)> = self
            .disk
            .files_below(Path::new(FOLDER))
            .into_iter()
            .filter(|(path, bytes)| *bytes > 0 && kind_of(path).is_some())
            .collect();
        if files.is_empty() {
            return;
        }
        let (path, bytes) = files[self.chance.below(files.len() as u64) as usize].clone();
        self.report.flipped += 1;
        self.disk.flip(&path, self.chance.below(8 * bytes));
        let kind = kind_of(&path);
        if self.mutation == Mutation::SkipChecksum && kind == Some(Flipped::Segment) {
            let resealed = self.disk.bytes_of(&path).map(frames::reseal);
            self.disk.replace(&path, resealed.unwrap_or_default());
        }
        match (self.open_once(), kind) {
            (Ok(life), Some(Flipped::Data)) => self.compare(&life, Loss::Data(&path)),
            (Ok(life), Some(Flipped::Segment)) => self.compare(&life, Loss::OneRequest),
            // What a checkpoint says, commits say too.
            (Ok(life), Some(Flipped::Checkpoint)) => self.compare(&life, Loss::None),
            // One that nothing reads any more, below a checkpoint.
            (Ok(life), _) => self.compare(&life, Loss::None),
            (Err(error), Some(Flipped::Commit | Flipped::Checkpoint))
                if error.code == Code::TableCorrupt => {}
            (Err(error), _) => {
                let what = format!("after a bit of {}: {error}", path.display());
                self.broken(Invariant::I6Detected, what);
            }
        }
        self.disk.crash_in(0);
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

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss<'a> {
    None,
    OneRequest,
    /// This data file is damaged, and must be found so if it is in a table.
    Data(&'a Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flipped {
    Segment,
    Data,
    Commit,
    Checkpoint,
}

fn kind_of(path: &Path) -> Option<Flipped> {
    let name = path.file_name()?.to_str()?;
    if name.contains('#') {
        return None;
    }
    let in_log = path.parent()?.file_name()? == "_delta_log";
    match name.rsplit_once('.') {
        Some((_, "seg")) => Some(Flipped::Segment),
        Some((_, "json")) if in_log => Some(Flipped::Commit),
        Some((_, "parquet" | "crc32c")) if in_log => Some(Flipped::Checkpoint),
        None if in_log && name == "_last_checkpoint" => Some(Flipped::Checkpoint),
        Some((_, "parquet")) => Some(Flipped::Data),
        _ => None,
    }
}

fn count(table: Table, batch: &RecordBatch, numbers: &mut BTreeMap<u64, u64>) {
    let Some(times) = batch.column_by_name(table.time_column()) else {
        return;
    };
    for time in times.as_primitive::<Int64Type>().values() {
        let number = (*time as u64).wrapping_sub(FIRST);
        *numbers.entry(number).or_insert(0) += 1;
    }
}

fn count_file(
    table: Table,
    bytes: Bytes,
    numbers: &mut BTreeMap<u64, u64>,
) -> std::result::Result<(), String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(text)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [table.time_column()]);
    let reader = builder.with_projection(mask).build().map_err(text)?;
    for batch in reader {
        count(table, &batch.map_err(|error| error.to_string())?, numbers);
    }
    Ok(())
}
