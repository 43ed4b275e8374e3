//! What must hold: every row that is there, against what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use otlake_base::invariant::Invariant;
use otlake_base::metrics::by_signal;
use otlake_base::{Consistency, Signal, Table};

use super::beginnings::{FOLDER, OLD_FLUSHES, OLD_NUMBERS};
use super::content::{Rows, expected};
use super::{Driver, Expiry, Fact, Life, Sent};
use crate::load::tables;

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss<'a> {
    None,
    OneRequest,
    /// This data file is damaged, and must be found so if it is in a table.
    Data(&'a Path),
}

/// How rows are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    loss: Loss<'a>,
    /// What is broken where something acknowledged is missing.
    lost: Invariant,
    /// Whether every column is read, or the records' times alone.
    deep: bool,
}

impl<'a> Look<'a> {
    /// The first look after the node came back.
    pub(super) const AFTER_CRASH: Look<'static> = Look {
        loss: Loss::None,
        lost: Invariant::I2NothingLost,
        deep: false,
    };
    /// A strong read of a node at work.
    pub(super) const READING: Look<'static> = Look {
        loss: Loss::None,
        lost: Invariant::I7StrongRead,
        deep: false,
    };

    /// The same, at every column.
    pub(super) const fn deeply(self) -> Look<'a> {
        Look { deep: true, ..self }
    }

    /// At every column after a bit was flipped.
    pub(super) const fn after_flip(loss: Loss<'a>) -> Look<'a> {
        Look {
            loss,
            ..Look::AFTER_CRASH.deeply()
        }
    }
}

impl Driver<'_> {
    /// Every row that is there now, against what was sent; how many acknowledged requests are lost.
    pub(super) fn compare(&mut self, life: &Life, look: Look<'_>) -> usize {
        let mut lost = Vec::new();
        for signal in Signal::ALL {
            for table in tables(signal) {
                let Some(found) = self.rows(life, *table, look) else {
                    continue;
                };
                self.compare_table(signal, *table, &found.times, &mut lost);
                if let Some(contents) = &found.contents {
                    self.compare_contents(signal, *table, contents);
                }
            }
        }
        lost.sort_unstable();
        lost.dedup();
        let allowed = match look.loss {
            Loss::None => 0,
            Loss::OneRequest => 1,
            Loss::Data(_) => usize::MAX,
        };
        if lost.len() > allowed {
            let what = format!("acknowledged requests from {lost:?} are lost");
            self.broken(look.lost, what);
        }
        lost.len()
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
            let there = sent
                .numbers()
                .map(|number| found.get(&number).copied().unwrap_or(0));
            let (least, most) = there.clone().fold((u64::MAX, 0), |(least, most), times| {
                (times.min(least), times.max(most))
            });
            known += there.sum::<u64>();
            let (name, first) = (table.name(), sent.first);
            if most > sent.most {
                let what = format!("{name}: {first} is there {most} times");
                broken.push((Invariant::I3Once, what));
            }
            if sent.expiry == Expiry::Gone && most > 0 {
                let what = format!("{name}: {first} is back after its time");
                broken.push((Invariant::I3Once, what));
            }
            let must = sent.fact == Fact::Acknowledged
                && matches!(sent.expiry, Expiry::Never | Expiry::Due);
            if least == 0 && must {
                lost.push(first);
            } else if least != most {
                let what = format!("{name}: a part of {first} is there");
                broken.push((Invariant::I4Ledger, what));
            }
        }
        let old = if self.is_old { OLD_FLUSHES } else { 0 };
        let of_old: u64 = found
            .range(OLD_NUMBERS..OLD_NUMBERS + OLD_FLUSHES)
            .map(|(_, times)| times)
            .sum();
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

    /// Whether each row says what the request said.
    fn compare_contents(&mut self, signal: Signal, table: Table, found: &[(u64, u64)]) {
        let sent = self.sent.iter().filter(|sent| sent.signal == signal);
        let mut requests: Vec<(u64, u64)> = sent.map(|sent| (sent.first, sent.count)).collect();
        if self.is_old {
            requests.extend((0..OLD_FLUSHES).map(|flush| (OLD_NUMBERS + flush, 1)));
        }
        let mut known = BTreeSet::new();
        for (first, count) in requests {
            match expected(signal, first, count, table) {
                Ok(rows) => known.extend(rows),
                Err(error) => self.broken(Invariant::I4Ledger, error.to_string()),
            }
        }
        if let Some((number, _)) = found.iter().find(|row| !known.contains(row)) {
            let what = format!("{}: {number} says what nobody sent", table.name());
            self.broken(Invariant::I6Detected, what);
        }
    }

    /// The rows of a table; None where a file that was damaged is found so.
    fn rows(&mut self, life: &Life, table: Table, look: Look<'_>) -> Option<Rows> {
        let capture = life.node.source(table).capture(&Consistency::Strong);
        let capture = match capture {
            Ok(capture) => capture,
            Err(error) => {
                let what = format!("{} cannot be read: {error}", table.name());
                self.broken(Invariant::I10DiskFault, what);
                return None;
            }
        };
        let mut rows = Rows::new(look.deep);
        for live in &capture.live {
            if let Err(what) = rows.add(table, &live.batch) {
                self.broken(Invariant::I6Detected, format!("{}: {what}", table.name()));
            }
        }
        for file in capture.files.iter() {
            let path = capture.root.join(&file.path);
            let Some(bytes) = self.disk.bytes_of(&path) else {
                self.broken(look.lost, format!("{} is not there", path.display()));
                continue;
            };
            let damaged = match &file.sums {
                Some(sums) => {
                    bytes.len() as u64 != file.size || sums.first_damaged(0, &bytes).is_some()
                }
                None => false,
            };
            let told = look.loss == Loss::Data(&path);
            if damaged && told {
                return None;
            }
            if damaged || told {
                let what = format!("{}: damage is not told", path.display());
                self.broken(Invariant::I6Detected, what);
            }
            if let Err(what) = rows.add_file(table, file, bytes, &mut self.parsed) {
                self.broken(Invariant::I6Detected, format!("{}: {what}", path.display()));
            }
        }
        Some(rows)
    }

    /// Received = acknowledged + rejected, and no invariant was seen broken inside.
    pub(super) fn ledger(&mut self, life: &Life) {
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

    /// After a vacuum of everything that is old: the tables' folders hold what versions name, and
    /// nothing that a crash left.
    pub(super) fn tidy(&mut self, life: &Life) {
        let mut named = BTreeSet::new();
        for table in Table::ALL {
            if let Ok(capture) = life.node.source(table).capture(&Consistency::Eventual) {
                let paths = capture.files.iter().map(|file| &file.path);
                named.extend(paths.map(|path| capture.root.join(path)));
            }
        }
        let tables = Path::new(FOLDER).join("tables");
        let left: Vec<String> = self
            .disk
            .files_below(&tables)
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| {
                let in_log = path
                    .parent()
                    .is_some_and(|folder| folder.ends_with("_delta_log"));
                let staged = path.to_string_lossy().contains('#');
                staged || (!in_log && !named.contains(path))
            })
            .map(|path| path.display().to_string())
            .collect();
        if !left.is_empty() {
            self.broken(Invariant::I5Bounded, format!("{left:?} stay for ever"));
        }
    }

    /// Whether a table's newest version names a file.
    pub(super) fn names(&self, life: &Life, path: &Path) -> bool {
        Table::ALL.into_iter().any(|table| {
            let capture = life.node.source(table).capture(&Consistency::Eventual);
            capture.is_ok_and(|capture| {
                let mut files = capture.files.iter();
                files.any(|file| capture.root.join(&file.path) == path)
            })
        })
    }

    /// How many files of its own day a table has: rows that did not come past their time.
    pub(super) fn files_of(&self, life: &Life, table: Table) -> usize {
        let capture = life.node.source(table).capture(&Consistency::Eventual);
        capture.map_or(0, |capture| capture.files.len())
    }
}

impl Sent {
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + Clone + use<> {
        let first = self.first;
        (0..self.count).map(move |number| first + number)
    }
}
