//! An owner as tests drive it: what followers say and the time go in, what it wants is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Code, Metrics, Signal};

use crate::message::{Held, Holder, Message};
use crate::owner::{Output, Owner, OwnerConfig, Proposed};
use crate::testing::{STREAM, frame_for, ms, name, names};
use crate::{Ensemble, Quorums, Ranges};

/// An owner, and what it has wanted.
pub struct Driven {
    pub owner: Owner,
    pub now: Duration,
    pub done: Vec<(u64, Result<(), Code>)>,
    /// Readable and not done when they were.
    pub overdue: Vec<u64>,
    pub sent: Vec<(Arc<str>, Message)>,
    pub proposed: Vec<Ensemble>,
    pub reads: Vec<(Arc<str>, u64, u64)>,
    pub wanted: Vec<Arc<str>>,
    pub links: BTreeMap<Arc<str>, u64>,
    pub next: u64,
}

impl Driven {
    pub fn new(allow_degraded: bool, cache_bytes: usize) -> Driven {
        Driven::with(Quorums::default(), allow_degraded, cache_bytes)
    }

    pub fn with(quorums: Quorums, allow_degraded: bool, cache_bytes: usize) -> Driven {
        let config = OwnerConfig {
            stream: STREAM,
            quorums,
            allow_degraded,
            window_bytes: 1 << 20,
            cache_bytes,
        };
        Driven {
            owner: Owner::new(config, Arc::new(Metrics::strict())),
            now: ms(1000),
            done: Vec::new(),
            overdue: Vec::new(),
            sent: Vec::new(),
            proposed: Vec::new(),
            reads: Vec::new(),
            wanted: Vec::new(),
            links: BTreeMap::new(),
            next: 1,
        }
    }

    /// Registered, with spans on f1 and f2, metrics on f1, logs on f2.
    pub fn registered() -> Driven {
        let mut driven = Driven::new(false, 1 << 20);
        driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
        driven.greet("f1", 1);
        driven.greet("f2", 2);
        driven.commit();
        assert!(driven.owner.ready());
        driven
    }

    pub fn take(&mut self) {
        for output in self.owner.outputs() {
            match output {
                Output::Done { sequence, outcome } => {
                    self.done
                        .push((sequence, outcome.map_err(|error| error.code)));
                }
                Output::Overdue { sequence } => self.overdue.push(sequence),
                Output::Send { to, message, .. } => self.sent.push((to, message)),
                Output::Propose(ensemble) => self.proposed.push(ensemble),
                Output::Read { to, from, upto } => self.reads.push((to, from, upto)),
                Output::Connect(name) => self.wanted.push(name),
                Output::Disconnect(name) => self.wanted.retain(|other| *other != name),
                Output::Fenced(_) => {}
            }
        }
    }

    pub fn follow(&mut self, desired: [&[&str]; 3]) {
        self.owner.follow(desired.map(names), self.now);
        self.take();
    }

    pub fn hear(&mut self, from: &str, message: Message) {
        let link = self.links.get(from).copied().unwrap_or(0);
        self.owner.received(&name(from), link, message, self.now);
        self.take();
    }

    /// Opens a link, over which the follower tells that its journal holds these.
    pub fn greet_with(&mut self, from: &str, journal: u128, held: Ranges) {
        let link = self.links.values().max().copied().unwrap_or(0) + 1;
        self.links.insert(name(from), link);
        self.owner.connected(&name(from), link, self.now);
        self.hear(
            from,
            Message::Held(Held {
                stream: STREAM,
                holder: Holder::Journal(journal),
                epoch: 0,
                released: [0; 3],
                ranges: [held, Ranges::default(), Ranges::default()],
            }),
        );
    }

    pub fn greet(&mut self, from: &str, journal: u128) {
        self.greet_with(from, journal, Ranges::default());
    }

    pub fn leave(&mut self, of: &str) {
        let link = self.links[&name(of)];
        self.owner.disconnected(&name(of), link);
    }

    pub fn admits(&self, tenant: &str, signal: Signal) -> Result<(), Code> {
        let admitted = self.owner.admit(signal, tenant, self.now);
        admitted.map_err(|error| error.code)
    }

    pub fn commit(&mut self) {
        self.owner.settled(Proposed::Committed, self.now);
        self.take();
    }

    pub fn append(&mut self, signal: Signal) -> u64 {
        self.append_for("default", signal)
    }

    pub fn append_for(&mut self, tenant: &str, signal: Signal) -> u64 {
        let sequence = self.next;
        self.next += 1;
        let frame = frame_for(tenant, signal, sequence);
        self.owner.appended(vec![frame], self.now);
        self.take();
        sequence
    }

    /// Records that the log has in one group.
    pub fn append_group(&mut self, signal: Signal, count: u64) {
        let frames = (self.next..self.next + count)
            .map(|sequence| frame_for("default", signal, sequence))
            .collect();
        self.next += count;
        self.owner.appended(frames, self.now);
        self.take();
    }

    pub fn durable(&mut self, from: &str, journal: u128, first: u64, last: u64) {
        let ranges = Ranges::of(first, last);
        let stream = STREAM;
        self.hear(
            from,
            Message::Durable {
                stream,
                journal,
                ranges,
            },
        );
    }

    pub fn alive(&mut self, from: &str, journal: u128) {
        self.knows(from, journal, [0; 3]);
    }

    pub fn knows(&mut self, from: &str, journal: u128, released: [u64; 3]) {
        let (stream, sent) = (STREAM, self.now.as_nanos() as u64);
        self.hear(
            from,
            Message::Alive {
                stream,
                journal,
                sent,
                released,
            },
        );
    }

    pub fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 50 {
            self.now += ms(50);
            self.owner.tick(self.now);
            self.take();
        }
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        let ok = self.done.iter().filter(|(_, outcome)| outcome.is_ok());
        ok.map(|(sequence, _)| *sequence).collect()
    }

    /// Sequences that were sent to a follower, in order, since the last call.
    pub fn sent_to(&mut self, to: &str) -> Vec<u64> {
        let mut sequences = Vec::new();
        self.sent.retain(|(name, message)| match message {
            Message::Append { frames, .. } if &**name == to => {
                sequences.extend(frames.iter().map(|frame| frame.header().sequence));
                false
            }
            _ => true,
        });
        sequences
    }
}
