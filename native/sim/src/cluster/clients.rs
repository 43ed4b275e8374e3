//! Clients: each sends a record until it is acknowledged, the same bytes each time, and then the
//! next.

use std::collections::BTreeSet;

use otlake_base::StreamId;

use super::network::Packet;
use super::world::{Event, World};

/// Records of one client.
const RECORDS: u64 = 14;
/// Attempts at one node before another is tried.
const ATTEMPTS: u64 = 4;

pub struct Client {
    pub record: u64,
    left: u64,
    attempt: u64,
    attempts: BTreeSet<u64>,
    tried: u64,
    node: usize,
    /// What it was told: where its records are.
    pub token: Vec<((StreamId, u64), u64)>,
    pub done: bool,
}

impl World {
    pub fn start_clients(&mut self) {
        let count = 3 + self.chance.below(4) as usize;
        for client in 0..count {
            let node = self.chance.below(self.nodes.len() as u64) as usize;
            self.clients.push(Client {
                record: 1 + 1000 * client as u64,
                left: RECORDS,
                attempt: 0,
                attempts: BTreeSet::new(),
                tried: 0,
                node,
                token: Vec::new(),
                done: false,
            });
            let delay = self.within(200, 2_500);
            self.after(delay, Event::Client(client, 0));
            let delay = self.within(2_000, 5_000);
            self.after(delay, Event::Reader(client));
        }
    }

    /// A client sends, where it still waits for what it is woken for.
    pub fn client_acts(&mut self, client: usize, attempt: u64) {
        let number = self.number();
        let nodes = self.nodes.len() as u64;
        let other = self.chance.below(nodes) as usize;
        let of = &mut self.clients[client];
        if of.done || of.attempt != attempt {
            return;
        }
        of.tried += 1;
        if of.tried.is_multiple_of(ATTEMPTS) || !self.nodes[of.node].member {
            of.node = other;
        }
        of.attempt = number;
        of.attempts.insert(number);
        let (node, record) = (of.node, of.record);
        let wait = self.within(800, 2_500);
        self.after(wait, Event::Client(client, number));
        let (loss, doubled) = (self.network.loss, self.network.doubled);
        if self.chance.per_mille(loss) {
            return;
        }
        let packet = Packet::Request {
            client,
            attempt: number,
            record,
        };
        if self.chance.per_mille(doubled) {
            let delay = self.latency();
            self.after(delay, Event::Arrive(node, packet.clone()));
        }
        let delay = self.latency();
        self.after(delay, Event::Arrive(node, packet));
    }

    /// A node answers a client.
    pub fn answer(&mut self, client: usize, attempt: u64, stored: Option<(StreamId, u64)>) {
        let loss = self.network.loss;
        if !self.chance.per_mille(loss) {
            let delay = self.latency();
            self.after(delay, Event::Answer(client, attempt, stored));
        }
    }

    pub fn client_hears(&mut self, client: usize, attempt: u64, stored: Option<(StreamId, u64)>) {
        let retry = self.within(100, 600);
        let think = self.within(50, 1_600);
        let of = &mut self.clients[client];
        if of.done || !of.attempts.contains(&attempt) {
            return;
        }
        let Some(position) = stored else {
            if of.attempt == attempt {
                self.after(retry, Event::Client(client, attempt));
            }
            return;
        };
        of.token.push((position, of.record));
        of.attempts.clear();
        of.tried = 0;
        of.left -= 1;
        of.record += 1;
        of.attempt = u64::MAX;
        if of.left == 0 {
            of.done = true;
            return;
        }
        of.attempt = 0;
        self.after(think, Event::Client(client, 0));
    }
}
