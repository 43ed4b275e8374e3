//! What an owner wants done, as the replicator does it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use otlake_base::{Position, Result};
use otlake_log::OnDurable;

use super::replicator::{Replicator, State};
use super::service::blocking;
use crate::ensemble::Ensemble;
use crate::owner::{Output, Proposed};

/// Bytes that are read back from the log at once, for one follower.
const CATCHUP_BYTES: usize = 2 * 1024 * 1024;
/// How long a read of the log that failed waits.
const READ_RETRY: Duration = Duration::from_millis(500);

impl State {
    /// Who waits for a record, where it is the next.
    fn next_waiting(&mut self, sequence: u64) -> Option<OnDurable> {
        let is_next = self
            .waiting
            .front()
            .is_some_and(|(first, _)| *first == sequence);
        is_next
            .then(|| self.waiting.pop_front())
            .flatten()
            .map(|(_, waiting)| waiting)
    }
}

impl Replicator {
    /// Does what the owner wants. Another thread that is at it does this one's, too.
    pub(super) fn work(&self) {
        loop {
            let Some(working) = self.working.try_lock() else {
                return;
            };
            loop {
                let outputs = self.state.lock().owner.outputs();
                if outputs.is_empty() {
                    break;
                }
                for output in outputs {
                    self.act(output);
                }
            }
            drop(working);
            // What came between the look and the unlocking was left to this thread.
            if !self.state.lock().owner.has_outputs() {
                return;
            }
        }
    }

    fn act(&self, output: Output) {
        match output {
            Output::Overdue { sequence } => self.overdue(sequence),
            Output::Done { sequence, outcome } => self.done(sequence, outcome),
            Output::Send { to, link, message } => self.links.send(&to, link, message),
            Output::Connect(name) => self.links.open(name, &self.runtime),
            Output::Disconnect(name) => {
                self.links.end(&name);
                self.readers.lock().remove(&name);
            }
            Output::Read { to, from, upto } => self.read(to, from, upto),
            Output::Propose(ensemble) => self.propose(ensemble),
            Output::Fenced(epoch) => {
                tracing::error!(
                    target: "otlake::replicate", stream = %self.log.stream(), epoch,
                    "another node has taken over this node's stream"
                );
                self.fenced.send_replace(Some(epoch));
            }
        }
    }

    /// Makes a record readable whose quorum is late. Whoever stores it asks when it is acknowledged.
    fn overdue(&self, sequence: u64) {
        let waiting = {
            let mut state = self.state.lock();
            let waiting = state.next_waiting(sequence);
            if waiting.is_some() {
                state.overdue.insert(sequence, None);
            }
            waiting
        };
        if let Some(on_durable) = waiting {
            on_durable(Ok(self.reached(sequence)));
        }
    }

    fn done(&self, sequence: u64, outcome: Result<()>) {
        let (overdue, waiting) = {
            let mut state = self.state.lock();
            match state.overdue.remove(&sequence) {
                Some(told) => (told, None),
                None => (None, state.next_waiting(sequence)),
            }
        };
        match (overdue, waiting) {
            (Some(told), _) => told(outcome),
            (None, Some(on_durable)) => on_durable(outcome.map(|()| self.reached(sequence))),
            (None, None) => {}
        }
    }

    /// Whoever sees a position also sees that everything up to it is readable.
    fn reached(&self, sequence: u64) -> Position {
        self.last_done.store(sequence, Ordering::Release);
        let stream = self.log.stream();
        Position { stream, sequence }
    }

    fn read(&self, to: Arc<str>, from: u64, upto: u64) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.runtime.spawn(async move {
            let reader = this.readers.lock().remove(&to);
            let mut reader = reader
                .filter(|reader| reader.next() == from)
                .unwrap_or_else(|| this.log.reader(from));
            let read = blocking(move || {
                let chunk = reader.read(Some(upto), CATCHUP_BYTES)?;
                Ok((chunk, reader))
            })
            .await;
            match read {
                Ok((chunk, reader)) => {
                    let next = reader.next();
                    this.readers.lock().insert(Arc::clone(&to), reader);
                    this.with(|owner, now| owner.read(&to, chunk.frames, &chunk.lost, next, now));
                }
                Err(error) => {
                    tracing::warn!(target: "otlake::replicate", %error, "the log is not read back");
                    tokio::time::sleep(READ_RETRY).await;
                    this.with(|owner, now| owner.read(&to, Vec::new(), &[], from, now));
                }
            }
        });
    }

    fn propose(&self, ensemble: Ensemble) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        self.runtime.spawn(async move {
            let stream = this.log.stream();
            let changed = this
                .registry
                .change(stream, crate::owner::FIRST_EPOCH, &ensemble)
                .await;
            let proposed = changed.unwrap_or_else(|error| {
                tracing::warn!(target: "otlake::replicate", %error, "an ensemble is proposed again");
                Proposed::Unknown
            });
            this.with(|owner, now| owner.settled(proposed, now));
            if proposed == Proposed::Committed {
                this.ready.send_replace(true);
            }
        });
    }
}
