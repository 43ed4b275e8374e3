//! Recovery of streams whose owners are gone, as the controller of each node decides it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::invariant::Invariant;
use otlake_base::{Signal, StreamId};
use otlake_replicate::message::Message;
use otlake_replicate::recovery::{Recovery, RecoveryConfig};

use super::Breakage;
use super::flushing::{Batch, Row};
use super::following::CALL_TIMEOUT;
use super::network::Packet;
use super::owning::record_of;
use super::process::{Asked, Process};
use super::register::{Ask, StreamRecord, StreamState};
use super::world::{Event, World};
use crate::chance::draw;

/// How long all is well before an operator gives up what is lost.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A recovery at work.
pub struct Task {
    pub recovery: Recovery,
    pub epoch: u64,
    pub planning: bool,
    pub sealing: bool,
    /// Everything has been given out.
    pub complete: bool,
}

impl World {
    /// What a node does about the streams that the register lists; `holding` are those of which it
    /// held copies when it asked.
    pub fn look_after(
        &mut self,
        process: &mut Process,
        holding: &[StreamId],
        streams: &BTreeMap<StreamId, StreamRecord>,
    ) {
        let me = process.node;
        for stream in holding {
            let state = streams.get(stream).map(|record| &record.state);
            if matches!(state, None | Some(StreamState::Sealed { .. })) {
                let call = self.number();
                process
                    .follower
                    .called(call, &Message::Forget { stream: *stream });
            }
        }
        self.do_follower(process);
        for (stream, record) in streams {
            if *stream == process.stream {
                if record.state != StreamState::Open {
                    process.owner.fence(record.epoch);
                    self.do_owner(process);
                }
                continue;
            }
            if process.recoveries.contains_key(stream) {
                continue;
            }
            let owner_lives = record.owner != me && self.lives(process, record.owner);
            let takes = match record.state {
                // A node that has started again looks after its own earlier streams.
                StreamState::Open if record.owner == me => true,
                StreamState::Open => !owner_lives && self.is_next(process, *stream),
                StreamState::Fenced { by } if by == me => true,
                StreamState::Fenced { by } => {
                    !self.lives(process, by) && self.is_next(process, *stream)
                }
                StreamState::Sealed { .. } => false,
            };
            if takes {
                let ask = Ask::Fence {
                    stream: *stream,
                    epoch: record.epoch + 1,
                };
                self.ask(process, ask, Asked::Fence);
            }
        }
        self.look_after_own(process, streams);
    }

    /// Whether a node is the one of the living that recovers a stream; now and then one errs.
    fn is_next(&mut self, process: &Process, stream: StreamId) -> bool {
        let living = (0..self.nodes.len()).filter(|node| self.lives(process, *node));
        let rank = |node: &usize| draw(self.seed, &[&stream.0.to_le_bytes(), &node.to_le_bytes()]);
        let next = living.min_by_key(rank);
        next == Some(process.node) || self.chance.per_mille(50)
    }

    pub fn begin_recovery(
        &mut self,
        process: &mut Process,
        stream: StreamId,
        record: StreamRecord,
    ) {
        let by_me = record.state == StreamState::Fenced { by: process.node };
        let is_known = process
            .recoveries
            .get(&stream)
            .is_some_and(|task| task.epoch >= record.epoch);
        if !by_me || is_known || stream == process.stream {
            return;
        }
        let mut watermark = [0; 3];
        for (table, watermark) in self.tables.0.iter_mut().zip(&mut watermark) {
            match table.fence(stream, record.epoch) {
                Some(upto) => *watermark = upto,
                None => return,
            }
        }
        let mut ensembles = record.ensembles.clone();
        if self.broken_by(Breakage::AcceptTooFew) {
            for ensemble in &mut ensembles.0 {
                for copies in &mut ensemble.signals {
                    if copies.acks > 1 {
                        copies.acks = copies.acks.max(copies.followers.len() + 1);
                    }
                }
            }
        }
        // What an earlier recovery of this node has in memory is found again, or is not kept.
        for (signal, live) in process.live.iter_mut().enumerate() {
            let at_work = process.flushing[signal].as_ref().map_or(0, Batch::rows);
            let mut index = 0;
            live.retain(|row| {
                index += 1;
                index <= at_work || row.position.0 != stream
            });
        }
        let config = RecoveryConfig {
            stream,
            epoch: record.epoch,
            owner: Arc::clone(&self.nodes[record.owner].name),
            ensembles,
            watermark,
            planned: record.plans,
        };
        self.note(&[13, process.node as u64, record.epoch], || {
            format!(
                "n{} recovers {stream} at {} from {watermark:?}",
                process.node, record.epoch
            )
        });
        let now = self.local(process.node);
        let task = Task {
            recovery: Recovery::new(config, now),
            epoch: record.epoch,
            planning: false,
            sealing: false,
            complete: false,
        };
        process.recoveries.insert(stream, task);
        self.do_recovery(process, stream);
    }

    pub fn do_recovery(&mut self, process: &mut Process, stream: StreamId) {
        let (node, incarnation) = (process.node, process.incarnation);
        let Some(mut task) = process.recoveries.remove(&stream) else {
            return;
        };
        for call in task.recovery.calls() {
            let number = self.number();
            process.calls.insert(number, (stream, Arc::clone(&call.to)));
            self.after(CALL_TIMEOUT, Event::Unanswered(node, incarnation, number));
            let packet = Packet::Call {
                from: node,
                number,
                message: call.message,
            };
            let to = self.index(&call.to);
            self.send(node, to, packet);
        }
        if !task.planning
            && let Some((signal, kept)) = task.recovery.plan()
        {
            task.planning = true;
            let ask = Ask::Plan {
                stream,
                epoch: task.epoch,
                signal: signal.index(),
                kept,
            };
            self.ask(process, ask, Asked::Plan(stream, task.epoch));
        }
        while let Some(frame) = task.recovery.take() {
            let position = (stream, frame.header().sequence);
            let record = frame.record().and_then(|record| record_of(&record.payload));
            // A record that a failing log refused can be there all the same, where it also could
            // not write that it is not.
            let known = self.checks.positions.get(&position);
            let is_known = known.is_none_or(|(_, known)| *known == frame);
            let Some(record) = record.filter(|_| is_known) else {
                let what = format!("what is recovered at {position:?} is not what was written");
                self.violated(Invariant::I6Detected, what);
                continue;
            };
            self.note(&[14, record, position.1], || {
                format!("n{node} recovered {record} at {}", position.1)
            });
            process.live[frame.header().signal.index()].push_back(Row {
                position,
                record,
                epoch: task.epoch,
            });
            self.nodes[node].stored.entry(record).or_insert(position);
        }
        let progress = task.recovery.progress();
        if progress.superseded.is_some() {
            self.note(&[15, node as u64], || {
                format!("n{node} is superseded for {stream}")
            });
            return;
        }
        // An operator gives up what is lost, once everything that can come back has.
        if progress.exhausted
            && self
                .healed
                .is_some_and(|healed| self.now > healed + GIVE_UP)
        {
            task.recovery.accept_loss();
        }
        task.complete = progress.complete;
        if progress.complete && !task.sealing && !process.has_live(stream) {
            task.sealing = true;
            let settled = Signal::ALL.map(|signal| task.recovery.settled(signal));
            let ask = Ask::Seal {
                stream,
                epoch: task.epoch,
                settled,
            };
            self.ask(process, ask, Asked::Seal(stream));
        }
        process.recoveries.insert(stream, task);
    }

    pub fn call_ended(&mut self, process: &mut Process, number: u64, answer: Option<Message>) {
        let Some((stream, from)) = process.calls.remove(&number) else {
            return;
        };
        let now = self.local(process.node);
        if let Some(task) = process.recoveries.get_mut(&stream) {
            task.recovery.answered(&from, answer, now);
        }
        self.do_recovery(process, stream);
    }

    pub fn sealed(&mut self, process: &mut Process, stream: StreamId) {
        self.note(&[16, process.node as u64], || {
            format!("n{} sealed {stream}", process.node)
        });
        process.recoveries.remove(&stream);
        self.checks.sealed_at.entry(stream).or_insert(self.now);
    }
}
