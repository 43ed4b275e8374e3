//! What is done to a node: requests, resends, flushes, jobs.

use std::time::Duration;

use futures::executor::block_on;
use otlake_base::invariant::Invariant;
use otlake_base::{Kind, Signal, Table};
use otlake_processor::{Job, JobReport};

use super::beginnings::Resends;
use super::check::Look;
use super::{Driver, Expiry, Fact, Life, Sent};
use crate::load::{EXPIRED, request, tables};

/// Calls of `flush` until a disk that works must have taken it.
const FLUSH_CALLS: usize = 8;
const HOUR: Duration = Duration::from_secs(3600);

impl Driver<'_> {
    pub(super) fn work(&mut self, life: &Life) {
        for _ in 0..4 + self.chance.below(20) {
            if self.disk.crashed() {
                return;
            }
            match self.chance.below(22) {
                0..11 => self.send_new(life),
                11..14 => self.resend(life),
                14..17 => {
                    self.flush(life, false);
                }
                17 => {
                    let free = self.chance.below(60_000);
                    self.disk.set_free(Some(free));
                }
                18 => self.wait(),
                19..21 => {
                    let job = Job::ALL[self.chance.below(3) as usize];
                    self.job(life, job, false);
                }
                _ => {
                    self.compare(life, Look::READING);
                }
            }
        }
        if self.disk.crashed() {
            return;
        }
        if self.chance.per_mille(500) {
            self.recover(life);
        }
        self.compare(life, Look::READING);
    }

    /// Time passes: mostly too little for anything, sometimes enough for what crashes left to be
    /// nobody's any more, rarely enough for the tables' logs to expire.
    fn wait(&mut self) {
        let seconds = match self.chance.below(8) {
            0 => 30 * 3600,
            1 | 2 => 2 * 3600,
            _ => 120,
        };
        self.disk
            .wait(Duration::from_secs(self.chance.below(seconds)));
    }

    /// The same node takes requests and flushes as soon as the disk works again.
    pub(super) fn recover(&mut self, life: &Life) {
        self.works_again();
        self.flush(life, true);
        let refused = self.report.refused;
        self.send_new(life);
        if self.report.refused > refused && !self.disk.crashed() {
            let what = "a disk that works again is refused";
            self.broken(Invariant::I10DiskFault, what);
        }
    }

    /// Flushes; whether everything is in files then. A disk that must work gets several calls.
    pub(super) fn flush(&mut self, life: &Life, must: bool) -> bool {
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
                    self.compare(life, Look::READING);
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

    /// Runs a job, and looks at every row; whether it did all its work.
    pub(super) fn job(&mut self, life: &Life, job: Job, must: bool) -> bool {
        let done = self.job_alone(life, job, must);
        if !self.disk.crashed() {
            self.compare(life, Look::READING);
        }
        done
    }

    /// Runs a job. Nothing is live then: a flush that is tried again beside it would make the order
    /// of operations a matter of threads.
    pub(super) fn job_alone(&mut self, life: &Life, job: Job, must: bool) -> bool {
        if !self.flush(life, must) {
            return false;
        }
        if job == Job::Retain {
            self.expire(Expiry::Due, Expiry::Maybe);
        }
        let before = self.files_of(life, Table::Spans);
        self.disk.note(|| format!("{} begins", job.name()));
        let done = match self.runtime.block_on(life.node.run_job(job)) {
            Ok(report) => {
                self.count(&report);
                match job {
                    Job::Retain => self.expire(Expiry::Maybe, Expiry::Gone),
                    Job::Compact if before >= 2 && self.files_of(life, Table::Spans) == 1 => {
                        self.merged();
                    }
                    Job::Compact | Job::Vacuum => {}
                }
                true
            }
            Err(_) if self.disk.crashed() => return false,
            Err(error) => {
                if must || error.kind() != Kind::Unavailable {
                    let what = format!("{}: {error}", job.name());
                    self.broken(Invariant::I10DiskFault, what);
                }
                false
            }
        };
        self.disk.note(|| format!("{} ends: {done}", job.name()));
        done
    }

    /// Every job on a disk that works: what is past its time is gone then, and so is what crashes
    /// left.
    pub(super) fn all_jobs(&mut self, life: &Life) {
        self.job(life, Job::Compact, true);
        self.job(life, Job::Retain, true);
        self.disk.wait(2 * HOUR);
        if self.job(life, Job::Vacuum, true) {
            self.tidy(life);
        }
    }

    fn count(&mut self, report: &JobReport) {
        self.report.jobs += 1;
        for (_, work) in &report.tables {
            match report.job {
                Job::Compact => self.report.merged += work.files_in,
                Job::Retain => self.report.expired += work.rows_expired,
                Job::Vacuum => self.report.deleted += work.files_in + work.log_files,
            }
            self.report.repeated += work.duplicates;
        }
    }

    /// Takes what is past its time a step on: before a run that may end it, and after one that
    /// has. A request that was never acknowledged can come back whole from the log.
    fn expire(&mut self, from: Expiry, to: Expiry) {
        for sent in &mut self.sent {
            let settled = to != Expiry::Gone || sent.fact == Fact::Acknowledged;
            if sent.expiry == from && settled {
                sent.expiry = to;
            }
        }
    }

    /// Spans are there once: one file holds them all. Those that were refused and are in the log
    /// all the same come with the next start.
    fn merged(&mut self) {
        for sent in &mut self.sent {
            if sent.signal == Signal::Traces {
                sent.most = sent.most.min(1 + sent.refused);
            }
        }
    }

    /// A commit may be undone, and done again later: what it removed may be there once more.
    pub(super) fn undone(&mut self) {
        self.expire(Expiry::Gone, Expiry::Maybe);
        for sent in &mut self.sent {
            sent.most = match self.resends {
                Resends::Told => 1,
                Resends::Stored => sent.sends,
            };
        }
    }

    pub(super) fn send_new(&mut self, life: &Life) {
        let signal = Signal::ALL[self.chance.below(3) as usize];
        let signal = match (self.resends, self.dirty) {
            (Resends::Stored, _) => Signal::Traces,
            (_, Some(dirty)) if self.chance.per_mille(800) => dirty,
            _ => signal,
        };
        let count = 1 + self.chance.below(20);
        let late = self.resends == Resends::Told && self.chance.per_mille(150);
        self.send_some(life, signal, count, late);
    }

    /// Sends records that no other request has; late ones are past their time.
    pub(super) fn send_some(&mut self, life: &Life, signal: Signal, count: u64, late: bool) {
        if self.dirty.is_some_and(|dirty| dirty != signal) && !self.flush(life, false) {
            return;
        }
        let (first, expiry) = match late {
            true => (EXPIRED + self.next, Expiry::Due),
            false => (self.next, Expiry::Never),
        };
        self.sent.push(Sent {
            signal,
            first,
            count,
            fact: Fact::Open,
            expiry,
            sends: 1,
            most: 1,
            refused: 0,
        });
        self.next += count;
        self.send(life, self.sent.len() - 1);
    }

    /// What clients do once a node is back that did not answer.
    pub(super) fn resend_unanswered(&mut self, life: &Life) {
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
        if self.resends == Resends::Stored {
            self.sent[index].sends += 1;
            self.sent[index].most += 1;
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
                self.sent[index].refused += 1;
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
}
