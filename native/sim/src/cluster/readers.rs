//! Readers: at `strong` they see all that was acknowledged before they began, at `session` all that
//! their client was told, or are told that the answer is not complete (I7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otlake_base::StreamId;
use otlake_base::invariant::Invariant;

use super::check::Ack;
use super::network::{Live, Packet};
use super::process::Process;
use super::register::StreamState;
use super::world::{Event, World};

/// How long a reader waits for the nodes.
const PATIENCE: Duration = Duration::from_millis(600);

pub struct Reading {
    coordinator: usize,
    incarnation: u64,
    session: bool,
    /// Streams that were not sealed when it began.
    streams: BTreeSet<StreamId>,
    /// What it must see.
    due: BTreeMap<u64, Vec<Ack>>,
    answers: BTreeMap<usize, Live>,
}

impl World {
    pub fn read_begins(&mut self, client: usize) {
        let delay = self.within(1_500, 5_000);
        if self.healed.is_none() || !self.clients[client].done {
            self.after(delay, Event::Reader(client));
        }
        let coordinator = self.chance.below(self.nodes.len() as u64) as usize;
        let session = self.chance.per_mille(400);
        let there = &self.nodes[coordinator];
        if there.process.is_none() || there.paused {
            return;
        }
        if self.network.no_register.contains(&coordinator) {
            return;
        }
        let unsealed = self.register.streams.iter();
        let unsealed = unsealed.filter(|(_, r)| !matches!(r.state, StreamState::Sealed { .. }));
        let mut streams: BTreeSet<StreamId> = unsealed.map(|(stream, _)| *stream).collect();
        let acks = |record: &u64| self.checks.acked.get(record).cloned().unwrap_or_default();
        let due: BTreeMap<u64, Vec<Ack>> = if session {
            let token = &self.clients[client].token;
            let named: BTreeSet<StreamId> = token.iter().map(|((stream, _), _)| *stream).collect();
            streams.retain(|stream| named.contains(stream));
            token
                .iter()
                .map(|(_, record)| (*record, acks(record)))
                .collect()
        } else {
            self.checks.acked.clone()
        };
        let number = self.number();
        let reading = Reading {
            coordinator,
            incarnation: there_of(self, coordinator),
            session,
            streams,
            due,
            answers: BTreeMap::new(),
        };
        self.readings.insert(number, reading);
        for node in 0..self.nodes.len() {
            let packet = Packet::AskLive {
                from: coordinator,
                number,
            };
            self.send(coordinator, node, packet);
        }
        self.after(PATIENCE, Event::ReadEnds(number));
    }

    pub fn tell_live(&mut self, process: &Process, from: usize, number: u64) {
        let rows = process.live.iter().flatten();
        let recovered = process.recoveries.iter().filter(|(_, task)| task.complete);
        // One that is fenced does not speak for its stream: its tables may have refused it rows.
        let live = Live {
            stream: process.owner.fenced().is_none().then_some(process.stream),
            recovered: recovered.map(|(stream, _)| *stream).collect(),
            rows: rows.map(|row| (row.position, row.record)).collect(),
        };
        let packet = Packet::Live {
            number,
            from: process.node,
            live,
        };
        self.send(process.node, from, packet);
    }

    pub fn live_told(&mut self, number: u64, from: usize, live: Live) {
        if let Some(reading) = self.readings.get_mut(&number) {
            reading.answers.insert(from, live);
        }
    }

    /// The snapshot comes last: what left memory meanwhile is in it.
    pub fn read_ends(&mut self, number: u64) {
        let Some(reading) = self.readings.remove(&number) else {
            return;
        };
        if there_of(self, reading.coordinator) != reading.incarnation {
            return;
        }
        let answered = |stream: &StreamId| {
            reading
                .answers
                .values()
                .any(|live| live.stream == Some(*stream) || live.recovered.contains(stream))
        };
        if !reading.streams.iter().all(answered) {
            self.checks.incomplete_reads += 1;
            return;
        }
        self.checks.reads += 1;
        let tables = &self.tables.0;
        let mut seen: BTreeSet<u64> = tables
            .iter()
            .flat_map(|t| t.rows.values().copied())
            .collect();
        let mut places: BTreeMap<(StreamId, u64), u64> = BTreeMap::new();
        for ((stream, sequence), record) in reading.answers.values().flat_map(|live| &live.rows) {
            let signal = super::owning::signal_of(*record).index();
            if *sequence <= tables[signal].standing(*stream).watermark {
                continue;
            }
            let before = places.insert((*stream, *sequence), *record);
            if before.is_some_and(|before| before != *record) {
                let what = format!("two records stand at {stream}:{sequence}");
                self.violated(Invariant::I9Fenced, what);
                return;
            }
            seen.insert(*record);
        }
        let missing = reading.due.iter().find(|(record, acks)| {
            !seen.contains(record) && !may_be_unseen(acks, &reading.answers)
        });
        if let Some((missing, _)) = missing {
            let what = format!(
                "a {} read does not see record {missing}",
                if reading.session { "session" } else { "strong" }
            );
            self.violated(Invariant::I7StrongRead, what);
        }
    }
}

/// Whether a record was acknowledged by its owner alone, and that owner's process is not among those
/// that answered: it comes back when the owner does.
fn may_be_unseen(acks: &[Ack], answers: &BTreeMap<usize, Live>) -> bool {
    acks.iter().all(|ack| {
        let (stream, _) = ack.position;
        let answers = answers.values().any(|live| live.stream == Some(stream));
        ack.alone && !answers
    })
}

fn there_of(world: &World, node: usize) -> u64 {
    world.nodes[node].incarnation
}
