//! What a run of a seed came to.

use otlake_base::invariant::Invariant;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How it shows.
    pub what: String,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What took place, as a number: equal for equal runs.
    pub trace: u64,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Operations of the disk.
    pub operations: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Power cuts and kills.
    pub crashes: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Records that were readable before they had their tenant's quorum.
    pub overdue: u64,
    /// Bits that were flipped.
    pub flipped: u64,
    /// Jobs that were run to their end.
    pub jobs: u64,
    /// Files that they merged.
    pub merged: u64,
    /// Doubled spans that they left out.
    pub repeated: u64,
    /// Rows that they expired.
    pub expired: u64,
    /// Files that they deleted, of tables and of tables' logs.
    pub deleted: u64,
    /// The steps, where they were asked for.
    pub steps: Vec<String>,
}

impl Report {
    pub(crate) fn broken(&mut self, invariant: Invariant, what: impl Into<String>) {
        let what = what.into();
        self.steps
            .push(format!("{} BROKEN: {what}", invariant.id()));
        self.violations.push(Violation { invariant, what });
    }

    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Report) {
        self.operations += other.operations;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.overdue += other.overdue;
        self.flipped += other.flipped;
        self.jobs += other.jobs;
        self.merged += other.merged;
        self.repeated += other.repeated;
        self.expired += other.expired;
        self.deleted += other.deleted;
    }
}
