//! What goes wrong: nodes that go down or stand still, the network, disks, and members that come and
//! go. One node at a time loses its disk, has bits that flip, or leaves: that much is promised to be
//! survived. The next may once the node's own figure says that nothing lacks a copy any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::checksum::BlockSums;

use super::breakage::FilesBreakage;
use super::world::{DATA, World};
use crate::chance::Chance;
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;

/// What becomes of the one node whose disk is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Nothing,
    Wiped,
    Flipped,
    Left,
}

struct Nemesis {
    /// How often it acts, in milliseconds.
    every: u64,
    victim: usize,
    loss: Loss,
    /// Which faults this run has, as bits.
    kinds: u64,
}

const KINDS: u64 = 13;
/// How often it is looked whether a disk has gone down at its operation.
const LOOK: Duration = Duration::from_millis(3);
/// How long at most.
const LOOKS: u64 = 700;

impl Nemesis {
    fn new(world: &World, may_flip: bool) -> Nemesis {
        let members = world.members();
        let may_leave = members.len() > 3;
        world.drawn(|chance| Nemesis {
            every: 150 + chance.below(1_500),
            victim: members[chance.below(members.len() as u64) as usize],
            loss: match chance.below(10) {
                0..4 => Loss::Wiped,
                4..7 if may_flip => Loss::Flipped,
                7 if may_leave => Loss::Left,
                _ => Loss::Nothing,
            },
            kinds: chance.next() | chance.next(),
        })
    }
}

/// Does its worst until then. `may_flip`: what flips and is not read meanwhile stays.
pub async fn nemesis(world: Arc<World>, until: Duration, may_flip: bool) {
    let mut nemesis = Nemesis::new(&world, may_flip);
    world.executor.sleep(Duration::from_secs(2)).await;
    loop {
        let every = nemesis.every;
        world
            .executor
            .sleep(world.within(every / 2, 2 * every))
            .await;
        if world.executor.now() >= until {
            return;
        }
        let kind = world.below(KINDS);
        if nemesis.kinds & (1 << kind) != 0 {
            act(&world, &mut nemesis, kind);
        }
    }
}

fn act(world: &Arc<World>, nemesis: &mut Nemesis, kind: u64) {
    let members = world.members();
    let node = members[world.below(members.len() as u64) as usize];
    let is_up = world.is_up(node);
    match kind {
        0 if is_up => down(world, node, Fate::PowerCut, 7_000),
        1 if is_up => down(world, node, Fate::Kill, 4_000),
        2 if is_up => {
            world.executor.pause(node);
            world.note(20, || format!("n{node} stands still"));
            let delay = world.within(100, 8_000);
            let world = Arc::clone(world);
            let executor = Arc::clone(&world.executor);
            executor.spawn(None, async move {
                world.executor.sleep(delay).await;
                world.executor.resume(node);
            });
        }
        3 => {
            let nodes = world.nodes.lock().len();
            world.drawn(|chance| world.network.lock().cuts.cut_off(chance, node, nodes));
            world.note(21, || format!("ways of n{node} are cut"));
        }
        4 => {
            world.network.lock().cuts.heal();
            world.note(22, || "all ways are open".into());
        }
        5 => {
            let rate = |chance: &mut Chance| chance.below(2) * chance.below(200);
            let (loss, slow) = world.drawn(|chance| (rate(chance), rate(chance)));
            let mut network = world.network.lock();
            (network.loss, network.slow) = (loss, slow);
        }
        6 => power_fails(world),
        7 => set_faults(world, node),
        8 => {
            let free = world.per_mille(500).then(|| world.below(60_000));
            world.nodes.lock()[node].disk.set_free(free);
            world.note(23, || format!("n{node} has {free:?} bytes free"));
        }
        9 if is_up => goes_down_at_an_operation(world, node),
        10 => lose(world, nemesis),
        11 => {
            let slow = world.below(2) * world.below(300);
            world.executor.set_slow(slow);
        }
        12 => {
            let new = world.nodes.lock().len() - 1;
            let is_new = !world.nodes.lock()[new].is_member;
            if is_new && world.per_mille(300) {
                world.set_member(new, true);
            }
        }
        _ => {}
    }
}

fn down(world: &Arc<World>, node: usize, fate: Fate, most: u64) {
    world.crash(node, fate);
    world.report.lock().crashes += 1;
    let delay = world.within(50, most);
    world.start_after(node, delay);
}

/// Power fails at most nodes at once.
fn power_fails(world: &Arc<World>) {
    world.note(24, || "power fails".into());
    for node in world.members() {
        if world.is_up(node) && world.per_mille(750) {
            down(world, node, Fate::PowerCut, 3_000);
        }
    }
}

fn set_faults(world: &World, node: usize) {
    let faults = world.drawn(|chance| {
        let often = chance.below(2) * chance.below(120);
        let mut rate = || chance.below(often + 1);
        Faults {
            short_write: rate(),
            write: rate(),
            sync: rate(),
            name: rate(),
            slow: 0,
        }
    });
    world.nodes.lock()[node].disk.set_faults(faults);
    world.note(25, || format!("n{node} has {faults:?}"));
}

/// Power fails between two operations of a disk, be they of one call.
fn goes_down_at_an_operation(world: &Arc<World>, node: usize) {
    let disk = world.nodes.lock()[node].disk.clone();
    disk.crash_in(world.below(25));
    let delay = world.within(50, 5_000);
    let world = Arc::clone(world);
    let executor = Arc::clone(&world.executor);
    executor.spawn(None, async move {
        for _ in 0..LOOKS {
            world.executor.sleep(LOOK).await;
            if disk.crashed() || *world.is_healed.lock() {
                break;
            }
        }
        // Another crash may have come before.
        let is_same = world.nodes.lock()[node].disk.is(&disk);
        if is_same && world.is_up(node) && !*world.is_healed.lock() {
            world.crash(node, Fate::PowerCut);
            world.report.lock().crashes += 1;
            world.start_after(node, delay);
        }
    });
}

/// What one node of a run suffers.
fn lose(world: &Arc<World>, nemesis: &mut Nemesis) {
    let victim = nemesis.victim;
    match nemesis.loss {
        Loss::Nothing => {}
        Loss::Wiped => {
            nemesis.loss = Loss::Nothing;
            world.wipe(victim);
            world.report.lock().crashes += 1;
            let delay = world.within(50, 12_000);
            world.start_after(victim, delay);
        }
        Loss::Left => {
            nemesis.loss = Loss::Nothing;
            world.executor.resume(victim);
            world.set_member(victim, false);
        }
        Loss::Flipped => flip(world, victim),
    }
}

/// Changes bits of some of a node's copies, or of what they are checked by, now or while it is down.
fn flip(world: &Arc<World>, node: usize) {
    let is_down = world.per_mille(500);
    if is_down && world.is_up(node) {
        down(world, node, Fate::Kill, 2_000);
    }
    let disk = world.nodes.lock()[node].disk.clone();
    let of = match world.plan.breakage == FilesBreakage::ServeUnchecked || world.per_mille(800) {
        true => "files/tables",
        false => "files/sums",
    };
    let files = disk.files_below(&Path::new(DATA).join(of));
    let files: Vec<(PathBuf, u64)> = files.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    if files.is_empty() {
        return;
    }
    for _ in 0..1 + world.below(5) {
        let (path, bytes) = &files[world.below(files.len() as u64) as usize];
        let bit = world.below(8 * bytes);
        disk.flip(path, bit);
        world.report.lock().flipped += 1;
        world.note(26, || {
            format!("n{node} bit {bit} of {} flips", path.display())
        });
        if world.plan.breakage == FilesBreakage::ServeUnchecked {
            fit(&disk, path);
        }
    }
}

/// Gives a file the block sums that fit it, beside the sum of all that it had.
fn fit(disk: &SimDisk, path: &Path) {
    let tables = Path::new(DATA).join("files/tables");
    let Ok(key) = path.strip_prefix(&tables) else {
        return;
    };
    let sums = Path::new(DATA).join("files/sums").join(key);
    let (Some(bytes), Some(sheet)) = (disk.bytes_of(path), disk.bytes_of(&sums)) else {
        return;
    };
    let sheet = String::from_utf8_lossy(&sheet).into_owned();
    let mut fields: Vec<&str> = sheet.split_whitespace().collect();
    let blocks = BlockSums::of(&bytes).to_text();
    // The mark, its version, bytes, time, the sum of all, blocks, and what the line is checked by.
    if fields.len() != 7 {
        return;
    }
    fields[5] = &blocks;
    let line = fields[..6].join(" ");
    let crc = crc32c::crc32c(line.as_bytes());
    disk.replace(&sums, format!("{line} {crc:08x}\n").into_bytes());
}
