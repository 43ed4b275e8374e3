//! What becomes of a packet: lost, late, doubled, out of order; and links, which break.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otlake_base::StreamId;
use otlake_replicate::message::Message;

use super::world::{Event, World};
use crate::chance::Chance;
use crate::cuts::Cuts;

/// How long a link lives on when nothing comes through.
const LINK_PATIENCE: Duration = Duration::from_millis(1500);
/// How often links are looked at.
const LINK_LOOK: Duration = Duration::from_millis(500);
/// Of so many messages one goes through its bytes.
const ENCODED: u64 = 8;

/// What is sent.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A message of a link.
    Link {
        link: u64,
        message: Message,
    },
    /// A call under a number, and its answer.
    Call {
        from: usize,
        number: u64,
        message: Message,
    },
    Answer {
        number: u64,
        message: Message,
    },
    /// A client's request.
    Request {
        client: usize,
        attempt: u64,
        record: u64,
    },
    /// What is live, for a reader.
    AskLive {
        from: usize,
        number: u64,
    },
    Live {
        number: u64,
        from: usize,
        live: Live,
    },
}

/// What a node has in memory, for a reader.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The stream that it writes.
    pub stream: Option<StreamId>,
    /// Streams that it recovers, of which it has given everything out.
    pub recovered: Vec<StreamId>,
    pub rows: Vec<((StreamId, u64), u64)>,
}

pub struct Link {
    pub owner: usize,
    pub owner_of: u64,
    pub follower: usize,
    pub follower_of: u64,
    silent_since: Option<Duration>,
    /// When the last message arrives each way, where order is kept.
    last: [Duration; 2],
}

pub struct Network {
    pub cuts: Cuts,
    /// Nodes that do not reach the register.
    pub no_register: BTreeSet<usize>,
    pub loss: u64,
    pub doubled: u64,
    pub slow: u64,
    /// Links keep the order of their messages, as a connection does.
    ordered: bool,
    pub links: BTreeMap<u64, Link>,
    nodes: usize,
}

impl Network {
    pub fn new(chance: &mut Chance, nodes: usize) -> Network {
        Network {
            cuts: Cuts::default(),
            no_register: BTreeSet::new(),
            loss: 0,
            doubled: 0,
            slow: 0,
            ordered: chance.per_mille(500),
            links: BTreeMap::new(),
            nodes,
        }
    }

    pub fn heal(&mut self) {
        self.cuts.heal();
        self.no_register.clear();
        (self.loss, self.doubled, self.slow) = (0, 0, 0);
    }

    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.cuts.reaches(from, to)
    }

    /// Cuts a node off from one or most of the others, or them from it, or both.
    pub fn cut_off(&mut self, chance: &mut Chance, node: usize) {
        self.cuts.cut_off(chance, node, self.nodes);
    }
}

impl World {
    pub fn latency(&mut self) -> Duration {
        let slow = self.network.slow;
        if self.chance.per_mille(slow) {
            self.within(20, 2_000)
        } else {
            self.within(0, 3)
        }
    }

    /// Sends a packet from one node to another.
    pub fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let (loss, doubled) = (self.network.loss, self.network.doubled);
        if !self.network.reaches(from, to) || (from != to && self.chance.per_mille(loss)) {
            return;
        }
        if from != to && self.chance.per_mille(doubled) {
            let delay = self.latency() + self.within(0, 200);
            self.after(delay, Event::Arrive(to, packet.clone()));
        }
        let mut delay = if from == to {
            Duration::ZERO
        } else {
            self.latency()
        };
        if let Packet::Link { link, .. } = &packet
            && self.network.ordered
            && let Some(link) = self.network.links.get_mut(link)
        {
            let way = usize::from(link.owner == from);
            let at = (self.now + delay).max(link.last[way]);
            link.last[way] = at;
            delay = at - self.now;
        }
        self.after(delay, Event::Arrive(to, packet));
    }

    /// Sends a message over a link, from the end that `from` is.
    pub fn send_over(&mut self, from: usize, link: u64, message: Message) {
        let Some(ends) = self.network.links.get(&link) else {
            return;
        };
        let to = if ends.owner == from {
            ends.follower
        } else {
            ends.owner
        };
        let message = if self.chance.below(ENCODED) == 0 {
            Message::decode(message.encode()).expect("what was encoded is decoded")
        } else {
            message
        };
        self.send(from, to, Packet::Link { link, message });
    }

    /// Opens a link where both ends reach each other; gives its number.
    pub fn open_link(&mut self, owner: usize, follower: usize) -> Option<u64> {
        let there = &self.nodes[follower];
        let is_up = there.process.is_some() && !there.paused;
        let reaches =
            self.network.reaches(owner, follower) && self.network.reaches(follower, owner);
        if !is_up || !reaches {
            return None;
        }
        let number = self.number();
        let link = Link {
            owner,
            owner_of: self.nodes[owner].incarnation,
            follower,
            follower_of: self.nodes[follower].incarnation,
            silent_since: None,
            last: [Duration::ZERO; 2],
        };
        self.network.links.insert(number, link);
        Some(number)
    }

    /// Breaks links whose ends do not reach each other any more, or are gone.
    pub fn look_at_links(&mut self) {
        self.after(LINK_LOOK, Event::Links);
        let now = self.now;
        let mut broken = Vec::new();
        for (number, link) in &mut self.network.links {
            let gone = self.nodes[link.owner].incarnation != link.owner_of
                || self.nodes[link.follower].incarnation != link.follower_of;
            let cuts = &self.network.cuts;
            let silent = !cuts.reaches(link.owner, link.follower)
                || !cuts.reaches(link.follower, link.owner)
                || self.nodes[link.owner].paused
                || self.nodes[link.follower].paused;
            link.silent_since = match (silent, link.silent_since) {
                (false, _) => None,
                (true, None) => Some(now),
                (true, since) => since,
            };
            if gone
                || link
                    .silent_since
                    .is_some_and(|since| now > since + LINK_PATIENCE)
            {
                broken.push(*number);
            }
        }
        for number in broken {
            if let Some(link) = self.network.links.remove(&number) {
                for (node, of) in [
                    (link.owner, link.owner_of),
                    (link.follower, link.follower_of),
                ] {
                    let delay = self.within(0, 50);
                    self.after(delay, Event::Broken(node, of, number));
                }
            }
        }
    }
}
