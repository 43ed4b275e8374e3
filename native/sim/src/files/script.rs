//! The course of a run: faults, then none, and what must hold in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::invariant::Invariant;

use super::clients::{ORPHAN_AGE, data_files, look, read_data, read_log, vacuum};
use super::content::{TABLES, data};
use super::nemesis::nemesis;
use super::world::{COPIES, PACE, World};

/// How long everything is well before every file must be on as many disks as it should.
const HEALTHY: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(700);
/// How often a look is tried where everything is well.
const TRIES: usize = 20;
/// How long what is to be deleted may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// Runs it to its end.
pub async fn script(world: Arc<World>) {
    for node in world.members() {
        let delay = world.within(0, 400);
        world.start_after(node, delay);
    }
    let executor = Arc::clone(&world.executor);
    if world.per_mille(350) {
        faults(&world, false).await;
        if !is_made_good(&world).await {
            *world.is_over.lock() = true;
            return;
        }
        *world.is_healed.lock() = false;
    }
    faults(&world, true).await;
    executor.sleep(world.within(1_000, 5_000)).await;
    *world.is_quiet.lock() = true;
    let healed = executor.now();
    if settles(&world, false).await && everything_is_read(&world).await {
        settles(&world, true).await;
        let old = healed + ORPHAN_AGE + HEALTHY;
        executor.sleep(old.saturating_sub(executor.now())).await;
        nothing_deleted_comes_back(&world).await;
    }
    *world.is_over.lock() = true;
}

/// A time of faults, and everything is well again.
async fn faults(world: &Arc<World>, may_flip: bool) {
    let mut faulty = world.within(12_000, 40_000);
    if world.per_mille(250) {
        faulty += world.within(40_000, 90_000);
    }
    let until = world.executor.now() + faulty;
    let nemesis = nemesis(Arc::clone(world), until, may_flip);
    world.executor.spawn(None, nemesis);
    world.executor.sleep(faulty).await;
    world.heal();
}

/// Waits until a loss is made good, as whoever runs the nodes can tell: every node has looked since, and
/// has said once that nothing lacks a copy. What is written meanwhile lacks some for a moment.
async fn is_made_good(world: &Arc<World>) -> bool {
    let healed = world.executor.now();
    world.executor.sleep(2 * PACE.offer_all).await;
    let mut waits_for = world.members();
    loop {
        waits_for.retain(|node| world.lacks_copies(*node).is_some());
        let Some(lacking) = waits_for.first().and_then(|node| world.lacks_copies(*node)) else {
            return true;
        };
        if world.executor.now() > healed + HEALTHY {
            let what = format!("{lacking} {} s after all was well", HEALTHY.as_secs());
            world.violated(Invariant::I2NothingLost, what);
            return false;
        }
        world.executor.sleep(LOOK).await;
    }
}

/// Waits until every file has its copies. `whole`: until each of them is what was written.
async fn settles(world: &Arc<World>, whole: bool) -> bool {
    let until = world.executor.now() + HEALTHY;
    loop {
        let Some(unrest) = unrest(world, whole) else {
            return true;
        };
        if world.executor.now() > until {
            let what = format!(
                "no rest {} s after all was well: {unrest}",
                HEALTHY.as_secs()
            );
            world.violated(Invariant::I2NothingLost, what);
            return false;
        }
        world.executor.sleep(LOOK).await;
    }
}

/// What keeps the nodes from rest.
fn unrest(world: &World, whole: bool) -> Option<String> {
    let members = world.members();
    for node in &members {
        if !world.is_up(*node) {
            return Some(format!("n{node} is down"));
        }
        if !world.has_joined(*node) {
            return Some(format!("n{node} has not joined"));
        }
    }
    let files = world.told.lock().files.clone();
    for (key, file) in files {
        if !file.is_done || file.is_deleted {
            continue;
        }
        let wanted = if key.starts_with(TABLES[0]) {
            COPIES[0]
        } else {
            COPIES[1]
        };
        let is_copy = |copy: &Vec<u8>| match whole {
            true => *copy == data(&key, file.bytes),
            false => copy.len() as u64 == file.bytes,
        };
        let copies = members.iter().filter(|node| {
            let copy = world.copy(**node, &key);
            copy.as_ref().is_some_and(is_copy)
        });
        let (copies, wanted) = (copies.count(), wanted.min(members.len()));
        if copies < wanted {
            return Some(format!("{key} is on {copies} disks of {wanted}"));
        }
    }
    log_unrest(world, &members)
}

/// Which file of a log is not on every node.
fn log_unrest(world: &World, members: &[usize]) -> Option<String> {
    let state = Arc::clone(&world.register.lock().state);
    for (folder, log) in &*state.files {
        let commits = log.commits.iter();
        let commits = commits.map(|(version, file)| (format!("{version:020}.json"), file));
        let names = log.names.iter().map(|(name, file)| (name.clone(), file));
        for (name, file) in commits.chain(names) {
            for node in members {
                let copy = world.copy(*node, &format!("{folder}/{name}"));
                if copy.is_none_or(|copy| copy.len() as u64 != file.bytes) {
                    return Some(format!("n{node} lacks {folder}/{name}"));
                }
            }
        }
    }
    None
}

/// Every node shows every table, and reads all of it.
async fn everything_is_read(world: &Arc<World>) -> bool {
    for node in world.members() {
        for table in TABLES {
            let mut snapshot = None;
            for _ in 0..TRIES {
                snapshot = look(world, node, table).await;
                if snapshot.is_some() || world.is_broken() {
                    break;
                }
                world.executor.sleep(LOOK).await;
            }
            let Some(snapshot) = snapshot else {
                let what = format!("n{node} does not show {table} where all is well");
                world.violated(Invariant::I2NothingLost, what);
                return false;
            };
            if !read_log(world, node, table).await {
                let what = format!("n{node} does not read the log of {table} where all is well");
                world.violated(Invariant::I2NothingLost, what);
                return false;
            }
            for key in kept_files(world, table).union(&snapshot.live) {
                let is_read = read_data(world, node, key, true).await;
                // A job that was under way may have deleted it.
                let is_deleted = world.file_told(key).is_some_and(|file| file.is_deleted);
                if !is_read && !is_deleted {
                    let what = format!("n{node} does not read {key} where all is well");
                    world.violated(Invariant::I2NothingLost, what);
                    return false;
                }
            }
        }
    }
    true
}

/// The files of a table that were told as done and are not deleted, whether a version needs them or not.
fn kept_files(world: &World, table: &str) -> BTreeSet<String> {
    let told = world.told.lock();
    let kept = told.files.iter().filter(|(key, file)| {
        file.is_done && !file.is_deleted && key.starts_with(&format!("{table}/"))
    });
    kept.map(|(key, _)| key.clone()).collect()
}

/// After a vacuum no node lists what no version needs, and none does later.
async fn nothing_deleted_comes_back(world: &Arc<World>) {
    for table in TABLES {
        let members = world.members();
        let node = members[world.below(members.len() as u64) as usize];
        if vacuum(world, node, table).await.is_none() {
            let what = format!("n{node} does not vacuum {table} where all is well");
            world.violated(Invariant::I10DiskFault, what);
            return;
        }
    }
    world.executor.sleep(GONE).await;
    for node in world.members() {
        for table in TABLES {
            let (Some(snapshot), Some(files)) = (
                look(world, node, table).await,
                data_files(world, node, table).await,
            ) else {
                let what = format!("n{node} does not list {table} where all is well");
                world.violated(Invariant::I10DiskFault, what);
                return;
            };
            let listed: BTreeSet<String> = files.into_iter().map(|(key, _)| key).collect();
            if let Some(key) = listed.difference(&snapshot.live).next() {
                let what = format!("n{node} lists {key}, which was deleted");
                world.violated(Invariant::I3Once, what);
                return;
            }
            if let Some(key) = snapshot.live.difference(&listed).next() {
                let what = format!("n{node} does not list {key}, which {table} needs");
                world.violated(Invariant::I2NothingLost, what);
                return;
            }
        }
    }
}
