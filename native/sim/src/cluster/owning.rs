//! The owner's side: requests, the log, and what the owner wants.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::invariant::Invariant;
use otlake_base::{Code, Kind, Result, Signal};
use otlake_log::Record;
use otlake_replicate::owner::{Output, Proposed};

use super::Breakage;
use super::flushing::Row;
use super::process::{Asked, CACHE_BYTES, Process, Request, WINDOW_BYTES};
use super::register::{Ask, Reply};
use super::tenants::tenant_of;
use super::world::{Event, World};

/// How long the register may take to answer.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read back from the log at once.
const READ_BYTES: usize = 1024;
/// What a message may have beyond the window.
const SLACK_BYTES: usize = 1200;

/// A record's signal, and its bytes.
pub fn signal_of(record: u64) -> Signal {
    Signal::ALL[(record % 3) as usize]
}

pub fn payload(record: u64) -> Bytes {
    let mut bytes = record.to_le_bytes().to_vec();
    bytes.resize(8 + (record * 37 % 190) as usize, record as u8 | 1);
    Bytes::from(bytes)
}

/// The record that a payload is of.
pub fn record_of(bytes: &Bytes) -> Option<u64> {
    let record = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    (payload(record) == *bytes).then_some(record)
}

impl World {
    pub fn requested(&mut self, process: &mut Process, client: usize, attempt: u64, record: u64) {
        let node = process.node;
        if let Some(position) = self.nodes[node].stored.get(&record).copied()
            && !self.broken_by(Breakage::ForgetRequests)
        {
            self.answer(client, attempt, Some(position));
            return;
        }
        if let Some(request) = process.requests.get_mut(&record) {
            if self.plan.breakage != Breakage::ForgetRequests {
                request.waiters.push((client, attempt));
                return;
            }
            let before = std::mem::take(&mut request.waiters);
            for (client, attempt) in before {
                self.answer(client, attempt, None);
            }
        }
        let now = self.local(node);
        let (signal, tenant) = (signal_of(record), tenant_of(record));
        if let Err(error) = process.owner.admit(signal, tenant, now) {
            self.refuses(error.code);
            self.answer(client, attempt, None);
            return;
        }
        let request = Request {
            waiters: vec![(client, attempt)],
            origin: None,
        };
        self.append(process, record, request);
    }

    fn refuses(&mut self, code: Code) {
        self.checks.refused += 1;
        if code.kind() != Kind::Unavailable {
            let what = format!("a good record is refused with {}", code.as_str());
            self.violated(Invariant::I10DiskFault, what);
        }
    }

    pub fn append(&mut self, process: &mut Process, record: u64, request: Request) {
        process.requests.insert(record, request);
        let answers = Arc::clone(&process.answers);
        process.log.append(
            Record {
                signal: signal_of(record),
                tenant: tenant_of(record).into(),
                received_unix_nano: record,
                payload: payload(record),
            },
            Box::new(move |outcome, _| answers.lock().push((record, outcome))),
        );
        if !std::mem::replace(&mut process.log_due, true) {
            let delay = self.within(0, 8);
            self.after(delay, Event::Log(process.node, process.incarnation));
        }
    }

    pub fn write_log(&mut self, node: usize) {
        self.with(node, |world, process| {
            process.log_due = false;
            process.log.step();
            let answers = std::mem::take(&mut *process.answers.lock());
            let mut group = Vec::new();
            for (record, outcome) in answers {
                match outcome {
                    Err(error) => {
                        world.note(&[5, record], || {
                            format!("n{node} log refuses {record}: {error}")
                        });
                        world.refuses(error.code);
                        world.fail_request(process, record);
                    }
                    Ok(frame) => {
                        let sequence = frame.header().sequence;
                        let position = (process.stream, sequence);
                        world.note(&[6, record, sequence], || {
                            format!("n{node} log has {record} at {sequence}")
                        });
                        world.checks.appended(position, record, &frame);
                        if let Some(origin) = process
                            .requests
                            .get(&record)
                            .and_then(|request| request.origin)
                        {
                            world.checks.origins.insert(position, origin);
                        }
                        process.waiting.push_back((sequence, record));
                        if world.broken_by(Breakage::AcknowledgeAtOne) {
                            world.reads_back(process, sequence, record);
                            world.acknowledge(process, sequence, record);
                        }
                        group.push(frame);
                    }
                }
            }
            if !group.is_empty() {
                let now = world.local(node);
                process.owner.appended(group, now);
            }
            world.do_owner(process);
        });
    }

    fn fail_request(&mut self, process: &mut Process, record: u64) {
        if let Some(request) = process.requests.remove(&record) {
            for (client, attempt) in request.waiters {
                self.answer(client, attempt, None);
            }
        }
    }

    /// A record is readable from now on.
    fn reads_back(&mut self, process: &mut Process, sequence: u64, record: u64) {
        process.live[signal_of(record).index()].push_back(Row {
            position: (process.stream, sequence),
            record,
            epoch: otlake_replicate::owner::FIRST_EPOCH,
        });
    }

    /// The next record that waits; it must be this one.
    fn next_waiting(&mut self, process: &mut Process, sequence: u64) -> Option<u64> {
        let (first, record) = process.waiting.pop_front()?;
        if first != sequence {
            let what = format!("{sequence} is done before {first}");
            self.violated(Invariant::I2NothingLost, what);
        }
        Some(record)
    }

    /// A record that is readable is done: whoever waits is told.
    fn acknowledge(&mut self, process: &mut Process, sequence: u64, record: u64) {
        let node = process.node;
        let position = (process.stream, sequence);
        let signal = signal_of(record);
        let status = process.owner.status(self.local(node));
        let current = status.ensembles.current();
        let alone = current.is_none_or(|current| self.acks_of(record, current.of(signal)) == 1);
        self.note(&[7, record, sequence], || {
            format!(
                "n{node} acknowledges {record} at {sequence}{}",
                if alone { " alone" } else { "" }
            )
        });
        self.acknowledged(position, record, alone);
        self.may_lose_power(node);
        self.nodes[node].stored.insert(record, position);
        if let Some(request) = process.requests.remove(&record) {
            for (client, attempt) in request.waiters {
                self.answer(client, attempt, Some(position));
            }
        }
    }

    /// Does what the owner wants.
    pub fn do_owner(&mut self, process: &mut Process) {
        let (node, incarnation) = (process.node, process.incarnation);
        for _ in 0..64 {
            let outputs = process.owner.outputs();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    Output::Connect(name) => {
                        let delay = self.within(0, 100);
                        self.after(delay, Event::Dial(node, incarnation, name));
                    }
                    Output::Disconnect(_) => {}
                    Output::Send { link, message, .. } => self.send_over(node, link, message),
                    Output::Read { to, from, upto } => {
                        let delay = self.within(0, 10);
                        self.after(delay, Event::Read(node, incarnation, to, from, upto));
                    }
                    Output::Propose(ensemble) => self.propose(process, ensemble),
                    Output::Fenced(epoch) => {
                        self.note(&[8, node as u64, epoch], || {
                            format!("n{node} is fenced at {epoch}")
                        });
                        // Its storage starts anew, with a new stream.
                        if !std::mem::replace(&mut process.fence_seen, true) {
                            let delay = self.within(100, 1_500);
                            self.after(delay, Event::Restart(node, incarnation));
                        }
                    }
                    Output::Overdue { sequence } => {
                        if let Some(record) = self.next_waiting(process, sequence) {
                            self.note(&[18, record, sequence], || {
                                format!("n{node} lets others pass {record} at {sequence}")
                            });
                            self.checks.overdue += 1;
                            process.overdue.insert(sequence, record);
                            if !self.broken_by(Breakage::AcknowledgeAtOne) {
                                self.reads_back(process, sequence, record);
                            }
                        }
                    }
                    Output::Done { sequence, outcome } => self.done(process, sequence, outcome),
                }
            }
        }
    }

    fn done(&mut self, process: &mut Process, sequence: u64, outcome: Result<()>) {
        let overdue = process.overdue.remove(&sequence);
        let Some(record) = overdue.or_else(|| self.next_waiting(process, sequence)) else {
            return;
        };
        match outcome {
            Ok(()) if self.broken_by(Breakage::AcknowledgeAtOne) => {}
            Ok(()) => {
                if overdue.is_none() {
                    self.reads_back(process, sequence, record);
                }
                self.acknowledge(process, sequence, record);
            }
            Err(error) => {
                self.refuses(error.code);
                self.fail_request(process, record);
            }
        }
    }

    fn propose(&mut self, process: &mut Process, ensemble: otlake_replicate::Ensemble) {
        let stream = process.stream;
        self.note(&[9, ensemble.version, ensemble.first_sequence], || {
            format!("n{} proposes {ensemble:?}", process.node)
        });
        let ask = Ask::Change { stream, ensemble };
        self.ask(process, ask, Asked::Change);
        if self.broken_by(Breakage::TrustProposal) {
            let now = self.local(process.node);
            process.owner.settled(Proposed::Committed, now);
        }
    }

    /// Asks the register something. It may never know, or know late, or know twice.
    pub fn ask(&mut self, process: &mut Process, ask: Ask, asked: Asked) {
        let (node, incarnation) = (process.node, process.incarnation);
        let number = self.number();
        process.asked.insert(number, asked);
        self.after(
            REGISTER_TIMEOUT,
            Event::Unanswered(node, incarnation, number),
        );
        let is_cut = self.network.no_register.contains(&node);
        let late = self.chance.per_mille(if is_cut { 300 } else { 15 });
        if !is_cut || late {
            let delay = match late {
                true => self.within(500, 5_000),
                false => self.latency(),
            };
            self.after(delay, Event::Ask(node, incarnation, number, ask.clone()));
        }
        if self.healed.is_none() && self.chance.per_mille(30) {
            let delay = self.within(50, 3_000);
            self.after(delay, Event::Ask(node, incarnation, number, ask));
        }
    }

    pub fn ask_register(&mut self, by: usize, incarnation: u64, number: u64, ask: Ask) {
        let reply = self.register.ask(by, ask);
        if !self.network.no_register.contains(&by) {
            let delay = self.latency();
            self.after(delay, Event::Reply(by, incarnation, number, reply));
        }
    }

    pub fn register_replied(&mut self, node: usize, number: u64, reply: Reply) {
        self.with(node, |world, process| {
            let Some(asked) = process.asked.remove(&number) else {
                return;
            };
            let now = world.local(node);
            match (asked, reply) {
                (Asked::Change, Reply::Changed(proposed)) => {
                    if !world.broken_by(Breakage::TrustProposal) {
                        process.owner.settled(proposed, now);
                    }
                    world.do_owner(process);
                }
                (_, Reply::Fenced(stream, record)) => {
                    world.begin_recovery(process, stream, *record)
                }
                (_, Reply::Sealed(stream)) => world.sealed(process, stream),
                (Asked::List(holding), Reply::Listed(streams)) => {
                    world.look_after(process, &holding, &streams);
                }
                (Asked::Plan(_, epoch), Reply::Planned(stream, signal)) => {
                    if let Some(task) = process.recoveries.get_mut(&stream)
                        && task.epoch == epoch
                    {
                        task.planning = false;
                        task.recovery.planned(Signal::ALL[signal]);
                    }
                    world.do_recovery(process, stream);
                }
                (Asked::Seal(stream) | Asked::Plan(stream, _), Reply::Refused) => {
                    process.recoveries.remove(&stream);
                }
                _ => {}
            }
        });
    }

    pub fn register_failed(&mut self, process: &mut Process, asked: Asked) {
        match asked {
            Asked::Change if !self.broken_by(Breakage::TrustProposal) => {
                let now = self.local(process.node);
                process.owner.settled(Proposed::Unknown, now);
                self.do_owner(process);
            }
            Asked::Seal(stream) => {
                if let Some(task) = process.recoveries.get_mut(&stream) {
                    task.sealing = false;
                }
            }
            Asked::Plan(stream, _) => {
                if let Some(task) = process.recoveries.get_mut(&stream) {
                    task.planning = false;
                }
            }
            _ => {}
        }
    }

    pub fn read_back(&mut self, node: usize, name: Arc<str>, from: u64, upto: u64) {
        self.with(node, |world, process| {
            let upto = upto.min(process.log.last_durable());
            let mut reader = process.log.reader(from);
            let now = world.local(node);
            match reader.read(Some(upto), READ_BYTES) {
                Ok(chunk) => {
                    let next = reader.next();
                    process
                        .owner
                        .read(&name, chunk.frames, &chunk.lost, next, now);
                }
                Err(_) => process.owner.read(&name, Vec::new(), &[], from, now),
            }
            world.do_owner(process);
        });
    }

    /// Memory has its limits (I5).
    pub fn check_bounds(&mut self, process: &Process) {
        let (cached, flying) = process.owner.memory();
        if cached > CACHE_BYTES || flying > WINDOW_BYTES + READ_BYTES + SLACK_BYTES {
            let what = format!("{cached} bytes in memory, {flying} under way");
            self.violated(Invariant::I5Bounded, what);
        }
    }
}
