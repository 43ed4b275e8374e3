//! The follower's side, and what a node answers to calls.

use std::time::Duration;

use otlake_replicate::follower::{Output, To};
use otlake_replicate::journal::Write;
use otlake_replicate::message::Message;

use super::Breakage;
use super::network::Packet;
use super::process::Process;
use super::world::{Event, World};

/// How long a caller waits.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Steps of tidying behind a group.
const TIDY_STEPS: usize = 3;
/// Bytes of an answer to a fetch.
const FETCH_BYTES: usize = 600;

impl World {
    pub fn do_follower(&mut self, process: &mut Process) {
        for output in process.follower.outputs() {
            match output {
                // The clients of a simulated cluster know of no nodes.
                Output::Took(_) | Output::Settled { .. } => {}
                Output::Write { ticket, write } => self.queue_write(process, ticket, write),
                Output::Say {
                    to: To::Link(link),
                    message,
                } => self.send_over(process.node, link, message),
                Output::Say {
                    to: To::Call(call),
                    message,
                } => {
                    if let Some((from, number)) = process.callers.remove(&call) {
                        self.send(process.node, from, Packet::Answer { number, message });
                    }
                }
            }
        }
        if process.follower.has_outputs() {
            self.do_follower(process);
        }
    }

    fn queue_write(&mut self, process: &mut Process, ticket: u64, write: Write) {
        process.journal_queue.push((ticket, write));
        if self.broken_by(Breakage::ConfirmBeforeSync) {
            process.follower.written(ticket, &Ok(()));
        }
        if !std::mem::replace(&mut process.journal_due, true) {
            let slowest = self.journal_ms;
            let delay = self.within(0, slowest);
            self.after(delay, Event::Journal(process.node, process.incarnation));
        }
    }

    pub fn write_journal(&mut self, node: usize) {
        self.with(node, |world, process| {
            process.journal_due = false;
            let queue = std::mem::take(&mut process.journal_queue);
            let (tickets, writes): (Vec<u64>, Vec<Write>) = queue.into_iter().unzip();
            let outcomes = process.journal.commit_each(&writes);
            for ((ticket, write), outcome) in tickets.into_iter().zip(&writes).zip(outcomes) {
                if let Err(error) = &outcome {
                    world.note(&[10, node as u64], || {
                        format!("n{node} journal refuses: {error}")
                    });
                }
                if let (Write::Frames(frames), Ok(())) = (write, &outcome) {
                    world.checks.synced(node, frames);
                }
                process.follower.written(ticket, &outcome);
            }
            for _ in 0..TIDY_STEPS {
                if !matches!(process.journal.tidy(), Ok(true)) {
                    break;
                }
            }
            let lost = process.journal.take_lost();
            if !lost.is_empty() {
                process.follower.lost(process.journal.identity(), &lost);
            }
            world.do_follower(process);
        });
    }

    pub fn called(&mut self, process: &mut Process, from: usize, number: u64, message: Message) {
        let node = process.node;
        let message = match message {
            // They tell what they hold, and take the old epoch on.
            Message::Fence { stream, .. } if self.broken_by(Breakage::SkipFencing) => {
                Message::Ask { stream }
            }
            message => message,
        };
        let answer = match &message {
            Message::Fence { stream, epoch } if *stream == process.stream => {
                process.owner.fence(*epoch);
                let held = process.owner.held();
                self.do_owner(process);
                Some(Ok(Message::Held(held)))
            }
            Message::Ask { stream } if *stream == process.stream => {
                Some(Ok(Message::Held(process.owner.held())))
            }
            Message::Fetch { stream, ranges, .. } if *stream == process.stream => {
                let mut reader = process.log.reader(ranges.first().unwrap_or(1));
                let upto = process.log.last_durable();
                let picked =
                    otlake_replicate::drive::pick(&mut reader, ranges, Some(upto), FETCH_BYTES);
                Some(picked.map(|(frames, gone)| {
                    process.owner.lost(&gone);
                    Message::Frames {
                        stream: *stream,
                        frames,
                        gone,
                    }
                }))
            }
            Message::Fence { stream, .. } | Message::Ask { stream } => {
                let held = process.old.held(*stream);
                held.map(|held| held.map(Message::Held)).transpose()
            }
            Message::Fetch { stream, ranges, .. } => Some(self.fetch(process, *stream, ranges)),
            _ => None,
        };
        match answer {
            Some(Ok(message)) => self.send(node, from, Packet::Answer { number, message }),
            Some(Err(error)) => {
                self.note(&[11, node as u64], || {
                    format!("n{node} cannot answer: {error}")
                });
            }
            None => {
                let call = self.number();
                process.callers.insert(call, (from, number));
                process.follower.called(call, &message);
                self.do_follower(process);
            }
        }
    }

    fn fetch(
        &mut self,
        process: &mut Process,
        stream: otlake_base::StreamId,
        ranges: &otlake_replicate::Ranges,
    ) -> otlake_base::Result<Message> {
        if process.old.has(stream)? {
            let (frames, gone) = process.old.fetch(stream, ranges, FETCH_BYTES)?;
            return Ok(Message::Frames {
                stream,
                frames,
                gone,
            });
        }
        let fetched = process
            .journal
            .reader()
            .fetch(stream, ranges, FETCH_BYTES)?;
        if !fetched.damaged.is_empty() {
            let lost: Vec<_> = fetched.damaged.iter().map(|s| (stream, *s)).collect();
            process.journal.lost(&lost);
            process.follower.lost(process.journal.identity(), &lost);
            self.do_follower(process);
        }
        Ok(Message::Frames {
            stream,
            frames: fetched.frames,
            gone: fetched.gone,
        })
    }
}
