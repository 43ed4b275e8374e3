//! What must hold, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otlake_base::StreamId;
use otlake_base::invariant::Invariant;
use otlake_log::Frame;
use otlake_replicate::Ranges;
use otlake_replicate::follower::Contents;

use super::world::World;

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    pub position: (StreamId, u64),
    /// Its tenant asks for the owner's fsync alone.
    pub alone: bool,
    pub node: usize,
}

/// What is known of a run.
#[derive(Default)]
pub struct Checks {
    /// What each log has, by position.
    pub positions: BTreeMap<(StreamId, u64), (u64, Frame)>,
    /// Where each record was appended.
    appended: BTreeSet<(StreamId, u64)>,
    pub acked: BTreeMap<u64, Vec<Ack>>,
    /// The node that writes each stream.
    pub streams: BTreeMap<StreamId, usize>,
    /// Where a record that was appended anew stood before.
    pub origins: BTreeMap<(StreamId, u64), (StreamId, u64)>,
    pub identities: BTreeMap<usize, u128>,
    pub sealed_at: BTreeMap<StreamId, Duration>,
    pub acknowledged: u64,
    pub refused: u64,
    pub reads: u64,
    pub incomplete_reads: u64,
    /// Records that were readable before they had their quorum.
    pub overdue: u64,
    /// Where each record is fsynced besides its owner's log.
    copies: BTreeMap<(StreamId, u64), BTreeSet<usize>>,
    /// The first that was acknowledged with fewer copies than its tenant asks for.
    too_few: Option<String>,
    twice: Vec<(u64, StreamId)>,
}

impl Checks {
    pub fn appended(&mut self, position: (StreamId, u64), record: u64, frame: &Frame) {
        self.positions.insert(position, (record, frame.clone()));
        if !self.appended.insert((position.0, record)) {
            self.twice.push((record, position.0));
        }
    }

    /// A node's journal has fsynced these.
    pub fn synced(&mut self, node: usize, frames: &[Frame]) {
        for of in frames.iter().map(Frame::position) {
            self.has_copy(node, (of.stream, of.sequence));
        }
    }

    /// A node's journal has found these when it was opened: also what it could not say when it wrote it.
    pub fn found(&mut self, node: usize, contents: &BTreeMap<StreamId, Contents>) {
        for (stream, of) in contents {
            for (first, last) in of.ranges.iter().flat_map(Ranges::iter) {
                for sequence in first..=last {
                    self.has_copy(node, (*stream, sequence));
                }
            }
        }
    }

    fn has_copy(&mut self, node: usize, position: (StreamId, u64)) {
        self.copies.entry(position).or_default().insert(node);
    }
}

impl World {
    pub fn acknowledged(&mut self, position: (StreamId, u64), record: u64, alone: bool) {
        self.checks.acknowledged += 1;
        let (stream, _) = position;
        let node = self.checks.streams[&stream];
        let ack = Ack {
            position,
            alone,
            node,
        };
        self.checks.acked.entry(record).or_default().push(ack);
        for (record, stream) in std::mem::take(&mut self.checks.twice) {
            let what = format!("record {record} is twice in stream {stream}");
            self.violated(Invariant::I3Once, what);
        }
        self.check_copies(position, record);
        // Once a stream is sealed nothing of it is acknowledged that is not in it.
        if let Some(sealed) = self.checks.sealed_at.get(&stream).copied() {
            let signal = super::owning::signal_of(record).index();
            let is_held = self.tables.0[signal].rows.contains_key(&position);
            let lease = self.quorum_of(record).timeout;
            let may_come_back = alone && self.now <= sealed + lease;
            if !is_held && !may_come_back {
                let what = format!("record {record} is acknowledged after its stream was sealed");
                self.violated(Invariant::I9Fenced, what);
            }
        }
    }

    /// A record is acknowledged with as many fsyncs as its tenant asks for, or when it is in files. Told
    /// at the end of the run, which so shows what comes of it.
    fn check_copies(&mut self, position: (StreamId, u64), record: u64) {
        let signal = super::owning::signal_of(record).index();
        let copies = self.checks.copies.get(&position);
        let count = 1 + copies.map_or(0, BTreeSet::len);
        let acks = self.quorum_of(record).acks;
        let is_in_files = self.tables.0[signal].rows.contains_key(&position);
        if count < acks && !is_in_files && !self.allow_degraded {
            let what = format!("record {record} is acknowledged with {count} fsyncs of {acks}");
            self.checks.too_few.get_or_insert(what);
        }
    }

    /// Whether an acknowledged record may be gone: its owner alone had it, and lost its disk, or a
    /// part of it.
    fn may_be_lost(&self, record: u64) -> bool {
        let acked = self.checks.acked.get(&record);
        acked.is_some_and(|acked| {
            acked
                .iter()
                .all(|ack| ack.alone && self.nodes[ack.node].damaged)
        })
    }

    /// Whether everything has come to rest: every client is answered, everything is in files, and
    /// nobody holds a copy.
    pub fn is_at_rest(&self) -> bool {
        self.healed.is_some() && self.unrest().is_none()
    }

    /// What keeps the cluster from rest.
    fn unrest(&self) -> Option<String> {
        for (index, client) in self.clients.iter().enumerate() {
            if !client.done {
                return Some(format!("client {index} waits for record {}", client.record));
            }
        }
        let mut current = BTreeSet::new();
        for node in &self.nodes {
            let name = &node.name;
            let Some(process) = &node.process else {
                return Some(format!("{name} is down"));
            };
            if process.owner.fenced().is_some() {
                return Some(format!("{name} has yet to start anew"));
            }
            current.insert(process.stream);
            if let Some(record) = process.requests.keys().next() {
                return Some(format!("{name} has not settled record {record}"));
            }
            if let Some(row) = process.live.iter().flatten().next() {
                return Some(format!("{name} has not flushed record {}", row.record));
            }
            if let Some(stream) = process.recoveries.keys().next() {
                let missing = process.recoveries[stream].recovery.progress().missing;
                return Some(format!(
                    "{name} has not recovered {stream}: {missing:?} are missing"
                ));
            }
            if let Some(stream) = process.own_old.iter().next() {
                return Some(format!("{name} has not let go of its stream {stream}"));
            }
        }
        let left = self
            .register
            .streams
            .keys()
            .find(|stream| !current.contains(stream));
        if let Some(stream) = left {
            return Some(format!("stream {stream} is not at its end"));
        }
        for node in &self.nodes {
            let process = node.process.as_ref()?;
            if let Some(stream) = process.follower.holding().first() {
                let held = process.follower.held(*stream);
                let owner = self.nodes[self.checks.streams[stream]].process.as_ref();
                let wanted = owner.is_some_and(|owner| owner.owner.wants(&node.name));
                return Some(format!(
                    "{} still holds {held:?}, a link from its owner: {wanted}",
                    node.name
                ));
            }
        }
        None
    }

    /// The last looks, at the end of a run.
    pub fn finish(&mut self) {
        for index in 0..self.nodes.len() {
            self.report.faults += self.nodes[index].disk.injected();
        }
        if let Some(what) = self.checks.too_few.take() {
            self.violated(Invariant::I1DurableAck, what);
        }
        if !self.report.violations.is_empty() {
            return;
        }
        let unrest = self.unrest();
        let rows: BTreeMap<u64, Vec<(StreamId, u64)>> = {
            let mut rows: BTreeMap<u64, Vec<(StreamId, u64)>> = BTreeMap::new();
            for table in &self.tables.0 {
                for (position, record) in &table.rows {
                    rows.entry(*record).or_default().push(*position);
                }
            }
            rows
        };
        let acked: Vec<u64> = self.checks.acked.keys().copied().collect();
        if let Some(unrest) = unrest {
            self.violated(Invariant::I2NothingLost, format!("no rest: {unrest}"));
        }
        for record in acked {
            if !rows.contains_key(&record) && !self.may_be_lost(record) {
                let acks = &self.checks.acked[&record];
                let what = format!("record {record} is acknowledged and in no file: {acks:?}");
                self.violated(Invariant::I2NothingLost, what);
                return;
            }
        }
        self.check_once(&rows);
    }

    /// A record can be in files twice only where it was sent to several nodes, or to one again that
    /// had started anew before it had acknowledged it.
    fn check_once(&mut self, rows: &BTreeMap<u64, Vec<(StreamId, u64)>>) {
        for (record, places) in rows {
            for (index, place) in places.iter().enumerate() {
                for other in &places[index + 1..] {
                    let nodes = [place.0, other.0].map(|stream| self.checks.streams[&stream]);
                    let acked = |place: &(StreamId, u64)| {
                        let acked = self.checks.acked.get(record);
                        acked.is_some_and(|acked| acked.iter().any(|ack| ack.position == *place))
                    };
                    let known = nodes[0] == nodes[1]
                        && acked(place)
                        && acked(other)
                        && self.nodes[nodes[0]].wiped_at.is_none();
                    if place.0 == other.0 || known {
                        let what =
                            format!("record {record} is in files at {place:?} and {other:?}");
                        self.violated(Invariant::I3Once, what);
                        return;
                    }
                }
            }
        }
    }
}
