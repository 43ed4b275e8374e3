//! What goes wrong: nodes that go down or stand still, the network, disks, and members that come and
//! go.

use std::path::Path;
use std::time::Duration;

use super::world::{Event, World};
use crate::chance::{Chance, draw};
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;

/// What a run does to its cluster.
pub struct Nemesis {
    /// How long it is at it.
    pub faulty: Duration,
    /// How often it acts.
    every: u64,
    /// The one node whose disk loses something.
    victim: usize,
    may_wipe: bool,
    may_flip: bool,
    /// Times of a thousand that power fails right behind an acknowledgement.
    power: u64,
    /// Which faults this run has, as bits.
    kinds: u64,
}

const KINDS: u64 = 12;

impl Nemesis {
    pub fn new(chance: &mut Chance, nodes: usize) -> Nemesis {
        Nemesis {
            faulty: Duration::from_millis(8_000 + chance.below(14_000)),
            every: 200 + chance.below(1_500),
            victim: chance.below(nodes as u64) as usize,
            may_wipe: chance.per_mille(400),
            may_flip: chance.per_mille(300),
            power: chance.below(3) * chance.below(40),
            kinds: chance.next() | chance.next(),
        }
    }
}

impl World {
    pub fn nemesis_acts(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let every = self.nemesis.every;
        let delay = self.within(every / 2, 2 * every);
        self.after(delay, Event::Nemesis);
        let kind = self.chance.below(KINDS);
        if self.nemesis.kinds & (1 << kind) == 0 {
            return;
        }
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        let is_up = self.nodes[node].process.is_some();
        match kind {
            0 | 1 if is_up => {
                let fate = if kind == 0 {
                    Fate::PowerCut
                } else {
                    Fate::Kill
                };
                self.crash(node, fate);
                self.report.crashes += 1;
                let delay = self.within(50, 7_000);
                self.after(delay, Event::Start(node));
            }
            2 if is_up && !self.nodes[node].paused => {
                self.nodes[node].paused = true;
                self.note(&[20, node as u64], || format!("n{node} stands still"));
                let delay = self.within(100, 8_000);
                self.after(delay, Event::Resume(node));
            }
            3 => {
                self.network.cut_off(&mut self.chance, node);
                let cut = self.network.cuts.ways().clone();
                self.note(&[21, node as u64], || format!("ways are cut: {cut:?}"));
            }
            4 => {
                self.network.cuts.heal();
                self.note(&[22], || "all ways are open".into());
            }
            5 => {
                self.network.loss = self.chance.below(2) * self.chance.below(250);
                self.network.doubled = self.chance.below(2) * self.chance.below(250);
                self.network.slow = self.chance.below(2) * self.chance.below(250);
            }
            6 => {
                let was_reached = self.network.no_register.insert(node);
                self.note(&[28, node as u64], || {
                    format!("n{node} loses the register: {was_reached}")
                });
                if !was_reached {
                    self.network.no_register.remove(&node);
                }
            }
            7 => {
                let often = self.chance.below(120);
                let mut rate = || self.chance.below(often + 1);
                let faults = Faults {
                    short_write: rate(),
                    write: rate(),
                    sync: rate(),
                    name: rate(),
                    slow: 0,
                };
                self.nodes[node].disk.set_faults(faults);
            }
            8 => {
                let free = match self.nodes[node].disk.free() {
                    Some(_) => None,
                    None => Some(self.chance.below(12_000)),
                };
                self.note(&[23, node as u64], || {
                    format!("n{node} has {free:?} bytes free")
                });
                self.nodes[node].disk.set_free(free);
            }
            9 => {
                let is_member = !self.nodes[node].member;
                let others = self.member_names().len();
                if is_member || others > 2 {
                    self.nodes[node].member = is_member;
                    self.note(&[24, node as u64], || {
                        format!("n{node} is a member: {is_member}")
                    });
                }
            }
            10 if self.nemesis.may_flip => self.flip(),
            11 if self.nemesis.may_wipe => self.wipe(),
            _ => {}
        }
    }

    /// Right behind an acknowledgement is when most can be lost of what was not fsynced.
    pub fn may_lose_power(&mut self, node: usize) {
        let power = self.nemesis.power;
        if self.healed.is_none() && self.chance.per_mille(power) {
            let delay = self.within(0, 6);
            self.after(delay, Event::PowerLoss(node));
        }
    }

    /// Power fails at a node and at some of the others, most of which come back before it does.
    pub fn power_fails(&mut self, node: usize) {
        if self.healed.is_some() {
            return;
        }
        for other in 0..self.nodes.len() {
            let fails = other == node || self.chance.per_mille(500);
            if !fails || self.nodes[other].process.is_none() {
                continue;
            }
            let delay = match other == node || self.chance.per_mille(350) {
                true => self.within(100, 9_000),
                false => self.within(50, 1_500),
            };
            if other != node && other == self.nemesis.victim && self.nemesis.may_wipe {
                self.wipe();
            } else {
                self.crash(other, Fate::PowerCut);
                self.report.crashes += 1;
            }
            self.after(delay, Event::Start(other));
        }
    }

    /// Changes a bit somewhere on the victim's disk.
    fn flip(&mut self) {
        let node = self.nemesis.victim;
        let at = &mut self.nodes[node];
        let files: Vec<_> = at.disk.files_below(Path::new("/data"));
        let files: Vec<_> = files.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        if files.is_empty() {
            return;
        }
        let (path, _) = &files[self.chance.below(files.len() as u64) as usize];
        let bytes = at.disk.bytes_of(path).unwrap_or_default();
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        if used == 0 {
            return;
        }
        let bit = self.chance.below(8 * used as u64);
        at.disk.flip(path, bit);
        at.damaged = true;
        let path = path.clone();
        self.report.flipped += 1;
        self.note(&[25, node as u64, bit], || {
            format!("n{node} bit {bit} of {} flips", path.display())
        });
    }

    /// Takes the victim's disk away, once.
    fn wipe(&mut self) {
        let node = self.nemesis.victim;
        self.nemesis.may_wipe = false;
        self.crash(node, Fate::PowerCut);
        self.report.crashes += 1;
        let clock = self.nodes[node].disk.clock();
        let at = &mut self.nodes[node];
        let seed = draw(self.seed, &[b"another disk", &node.to_le_bytes()]);
        at.disk = SimDisk::new(seed, clock);
        at.damaged = true;
        at.wiped_at = Some(self.now);
        at.stored.clear();
        self.note(&[26, node as u64], || format!("n{node} loses its disk"));
        let delay = self.within(50, 6_000);
        self.after(delay, Event::Start(node));
    }

    /// Everything is well from now on.
    pub fn heal(&mut self) {
        self.healed = Some(self.now);
        self.note(&[27], || "everything is well".into());
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.set_faults(Faults::default());
            self.nodes[node].disk.set_free(None);
            self.nodes[node].member = true;
            self.resume(node);
            if self.nodes[node].process.is_none() {
                self.after(Duration::ZERO, Event::Start(node));
            }
        }
        self.after(Duration::from_secs(1), Event::Rest);
    }
}
