//! Courses of events that are always the same, but for where the node goes down.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use otlake_base::invariant::Invariant;
use otlake_base::{Consistency, Metrics, Signal, Table};
use otlake_processor::{Job, Processor};

use super::Driver;
use super::beginnings::{Beginnings, Resends, config, runtime};
use super::check::Look;
use super::content::{Parsed, Rows};
use crate::chance::{Chance, draw};
use crate::clock::SimClock;
use crate::disk::Fate;
use crate::load::request;
use crate::log_driver::Plan;
use crate::report::Report;

/// Sends a request and flushes; goes down by a kill at this operation of that; sends it again, loses
/// power, and says how often each of its records is there: once, whatever comes after the kill was
/// built on what the page cache showed. None once the operation is behind the end.
///
/// # Panics
/// Where a node on a disk without faults does not do as it is told.
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
            .block_on(Processor::open(
                config(&disk, 0, Resends::Told),
                clock,
                metrics,
            ))
            .expect("a disk without faults");
        if life == 2 {
            let mut rows = Rows::new(false);
            let capture = node.source(Table::Spans).capture(&Consistency::Strong);
            let capture = capture.expect("a strong read");
            for live in &capture.live {
                rows.add(Table::Spans, &live.batch).expect("spans");
            }
            for file in capture.files.iter() {
                let bytes = disk.bytes_of(&capture.root.join(&file.path));
                let bytes = bytes.expect("a file of the table");
                rows.add_file(Table::Spans, file, bytes, &mut Parsed::new())
                    .expect("Parquet");
            }
            return (!ended).then_some(rows.times);
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

/// Every job over tables that have something for each, one after the other; goes down at the
/// plan's operation of theirs, or meets an I/O error there and loses power in the end; does the
/// jobs again, and goes down again. Says, too, how many operations the first jobs took.
///
/// Even seeds begin with old tables, of which vacuum writes checkpoints, and end with vacuum; odd
/// ones with new tables, and vacuum follows a compaction at once, with no commit between.
///
/// # Panics
/// As [`super::run`].
pub fn jobs(seed: u64, plan: Plan, beginnings: &Beginnings) -> (Report, u64) {
    let runtime = runtime().expect("a runtime");
    let chance = Chance::new(seed, "jobs");
    let is_old = seed.is_multiple_of(2);
    let (beginning, order) = match is_old {
        true => (&beginnings.old, [Job::Compact, Job::Retain, Job::Vacuum]),
        false => (&beginnings.fresh, [Job::Retain, Job::Compact, Job::Vacuum]),
    };
    let mut driver = Driver::new(seed, plan, &runtime, Some(beginning), chance);
    driver.is_old = is_old;
    let mut operations = 0;
    if let Some(life) = driver.open() {
        for signal in Signal::ALL {
            for late in [false, false, true] {
                driver.send_some(&life, signal, 3, late);
                driver.flush(&life, true);
            }
        }
        let before = driver.disk.operations();
        if let Some(at) = plan.crash_in {
            driver.disk.crash_in(at);
        }
        if let Some(at) = plan.fail_in {
            driver.disk.fail_in(at);
        }
        for job in order {
            if !driver.disk.crashed() {
                driver.job(&life, job, plan.fail_in.is_none());
            }
        }
        operations = driver.disk.operations() - before;
        driver.disk.crash_in(0);
    }
    match plan.fail_in {
        // Of what was not synced another part is lost each time.
        Some(at) => driver.reboot_by(Fate::PowerCut, at),
        None => driver.reboot(0),
    }
    if let Some(life) = driver.open() {
        driver.compare(&life, Look::AFTER_CRASH.deeply());
        driver.all_jobs(&life);
        driver.ledger(&life);
        driver.disk.crash_in(0);
    }
    driver.reboot(1);
    if let Some(life) = driver.open() {
        driver.compare(&life, Look::AFTER_CRASH.deeply());
        driver.disk.crash_in(0);
    }
    (driver.finish(), operations)
}

/// A node that went down with the disk full and comes back on it: it opens, is read, refuses so
/// that clients try again, and goes on by itself once there is room.
///
/// # Panics
/// As [`super::run`].
pub fn full_disk(seed: u64, plan: Plan, beginnings: &Beginnings) -> Report {
    let runtime = runtime().expect("a runtime");
    let chance = Chance::new(seed, "full disk");
    let mut driver = Driver::new(seed, plan, &runtime, Some(&beginnings.old), chance);
    driver.is_old = true;
    if let Some(life) = driver.open() {
        driver.send_some(&life, Signal::Logs, 5, false);
        driver.flush(&life, true);
        // In the log alone.
        driver.send_some(&life, Signal::Logs, 5, false);
        driver.disk.set_free(Some(0));
        driver.send_some(&life, Signal::Logs, 5, false);
        driver.disk.crash_in(0);
    }
    driver.reboot(0);
    driver.disk.set_free(Some(0));
    if let Some(life) = driver.open() {
        driver.compare(&life, Look::AFTER_CRASH.deeply());
        let refused = driver.report.refused;
        driver.send_some(&life, Signal::Logs, 5, false);
        if driver.report.refused == refused {
            let what = "a full disk takes a request";
            driver.broken(Invariant::I10DiskFault, what);
        }
        if runtime.block_on(life.node.flush()).is_ok() {
            driver.broken(Invariant::I10DiskFault, "a full disk takes a flush");
        }
        driver.compare(&life, Look::READING);
        driver.recover(&life);
        driver.compare(&life, Look::READING.deeply());
        driver.ledger(&life);
        driver.disk.crash_in(0);
    }
    driver.reboot(1);
    if let Some(life) = driver.open() {
        driver.compare(&life, Look::AFTER_CRASH.deeply());
        driver.disk.crash_in(0);
    }
    driver.finish()
}
