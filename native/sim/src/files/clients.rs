//! Who uses the files, on every node: writers of data files and commits, readers, and jobs that write
//! checkpoints and delete what no version needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode, PutPayload, Result,
};
use otlake_base::Clock;
use otlake_base::invariant::Invariant;
use otlake_consensus::state::{checkpoint_version, commit_version};

use super::content::{
    Commit, Snapshot, TABLES, checkpoint_keys, commit_key, data, hint_key, log_of,
};
use super::world::World;

/// How long a writer waits until it commits what it has written, at most.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often it tries to commit on top of others.
const ATTEMPTS: u32 = 6;
/// How old files are that a commit has removed before they are deleted, at the least: no copy of them is
/// on its way any more.
const REMOVED_AGE: Duration = Duration::from_secs(60);
/// And those that no version names: no commit with them is on its way any more.
pub const ORPHAN_AGE: Duration = Duration::from_secs(150);

/// Times of a thousand that a whole log is read again.
const AGAIN: u64 = 100;

/// Begins everything that a node does with files.
pub fn begin(world: &Arc<World>, node: usize) {
    let place = Some(node);
    let world = || Arc::clone(world);
    let executor = Arc::clone(&world().executor);
    executor.spawn(place, writer(world(), node));
    executor.spawn(place, reader(world(), node));
    executor.spawn(place, jobs(world(), node));
}

fn is_quiet(world: &World) -> bool {
    *world.is_quiet.lock()
}

fn some_table(world: &World) -> &'static str {
    TABLES[world.below(TABLES.len() as u64) as usize]
}

async fn joined(world: &Arc<World>, node: usize) {
    while !world.has_joined(node) {
        world.executor.sleep(world.within(20, 200)).await;
    }
}

async fn writer(world: Arc<World>, node: usize) {
    if world.per_mille(500) {
        make(&world, node).await;
    }
    joined(&world, node).await;
    while !is_quiet(&world) {
        let table = some_table(&world);
        write(&world, node, table).await;
        world.executor.sleep(world.within(30, 1_800)).await;
    }
}

/// What a node does that opens its tables before it knows the others.
async fn make(world: &Arc<World>, node: usize) {
    let Some(store) = world.store(node) else {
        return;
    };
    for table in TABLES {
        let commit = Commit {
            id: world.number(),
            ..Commit::default()
        };
        if world.has_joined(node) {
            return;
        }
        // Whose is the table's is decided when they join.
        let made = put(&*store, &commit_key(table, 0), commit.to_bytes(), false).await;
        world.note(u64::from(made.is_ok()), || {
            format!("n{node} makes {table}: {made:?}")
        });
    }
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Bytes, replace: bool) -> Result<()> {
    let mode = match replace {
        true => PutMode::Overwrite,
        false => PutMode::Create,
    };
    let path = Path::from(key);
    let put = store.put_opts(&path, PutPayload::from(bytes), mode.into());
    put.await.map(drop)
}

async fn get(store: &dyn ObjectStore, key: &str, range: Option<GetRange>) -> Result<Bytes> {
    let options = GetOptions {
        range,
        ..GetOptions::default()
    };
    let got = store.get_opts(&Path::from(key), options).await?;
    got.bytes().await
}

async fn delete(store: &dyn ObjectStore, key: &str) -> Result<()> {
    let path = Path::from(key);
    let mut deleted = store.delete_stream(stream::once(async move { Ok(path) }).boxed());
    while deleted.try_next().await?.is_some() {}
    Ok(())
}

async fn list(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<ObjectMeta>> {
    store.list(Some(&Path::from(prefix))).try_collect().await
}

/// Something did not succeed, as it may where something is wrong.
fn refused(world: &World, node: usize, what: &str, error: &Error) {
    world.report.lock().refused += 1;
    world.note(10, || format!("n{node} {what}: {error}"));
}

fn some_size(world: &World) -> u64 {
    match world.below(40) {
        0 => 1_100_000,
        1..4 => 60_000 + world.below(90_000),
        4 => world.below(2),
        _ => world.below(4_000),
    }
}

async fn write(world: &Arc<World>, node: usize, table: &'static str) {
    let Some(store) = world.store(node) else {
        return;
    };
    let begun = world.executor.now();
    let mut added = Vec::new();
    for _ in 0..1 + world.below(2) {
        let number = world.number();
        let day = 1 + number % 3;
        let key = format!("{table}/tenant=a/day=2026-01-0{day}/{number:06}.parquet");
        let bytes = some_size(world);
        let wipes = world.told.lock().wipes;
        world.put_begins(&key, bytes);
        match put(&*store, &key, data(&key, bytes), true).await {
            Ok(()) => {
                world.note(11, || format!("n{node} has written {key}, {bytes} bytes"));
                world.put_done(&key, wipes);
                added.push(key);
            }
            Err(error) => refused(world, node, "does not write", &error),
        }
    }
    if !added.is_empty() {
        commit(world, node, (table, added), begun).await;
    }
}

async fn commit(
    world: &Arc<World>,
    node: usize,
    (table, added): (&'static str, Vec<String>),
    begun: Duration,
) {
    for _ in 0..ATTEMPTS {
        let (Some(snapshot), Some(store)) = (look(world, node, table).await, world.store(node))
        else {
            return;
        };
        let live: Vec<&String> = snapshot.live.iter().collect();
        let removed = match live.len() as u64 {
            0..4 => Vec::new(),
            count => (0..world.below(3))
                .map(|_| live[world.below(count) as usize].clone())
                .collect(),
        };
        let commit = Commit {
            id: world.number(),
            added: added.clone(),
            removed,
            filler: match world.below(20) {
                0 => 80_000,
                _ => world.below(300) as usize,
            },
        };
        if world.executor.now() > begun + PATIENCE {
            return;
        }
        let (version, content) = (snapshot.next, commit.to_bytes());
        let key = commit_key(table, version);
        match put(&*store, &key, content.clone(), false).await {
            Ok(()) => {
                world.note(12, || format!("n{node} has committed {key}"));
                world.report.lock().merged += commit.removed.len() as u64;
                world.won(table, version, &content);
                return;
            }
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => {
                refused(world, node, "does not commit", &error);
                return;
            }
        }
    }
}

/// A table as a node has it; none where it cannot tell.
pub async fn look(world: &Arc<World>, node: usize, table: &'static str) -> Option<Snapshot> {
    let store = world.store(node)?;
    let must_see = world.must_see(table);
    let listed = match list(&*store, &log_of(table)).await {
        Ok(listed) => listed,
        Err(error) => {
            refused(world, node, "does not list a log", &error);
            return None;
        }
    };
    let names: BTreeSet<String> = listed
        .iter()
        .filter_map(|meta| meta.location.filename().map(str::to_owned))
        .collect();
    let commits = names.iter().filter_map(|name| commit_version(name));
    let commits: BTreeSet<u64> = commits.collect();
    let next = commits.last().map_or(0, |last| last + 1);
    if next < must_see {
        let what = format!(
            "n{node} sees {table} up to {next}, and {} was told as done, or seen, before",
            must_see - 1
        );
        world.violated(Invariant::I2NothingLost, what);
        return None;
    }
    let mut checkpoints = names.iter().rev().filter_map(|name| {
        let version = checkpoint_version(name)?;
        names
            .contains(&format!(".{name}.crc32c"))
            .then_some(version)
    });
    // Mostly only what is new is read.
    let read = world.read.lock().get(&(node, table)).cloned();
    let mut snapshot = read.filter(|_| !world.per_mille(AGAIN)).unwrap_or_default();
    if let Some(version) = checkpoints.next()
        && snapshot.next <= version
    {
        let [key, _] = checkpoint_keys(table, version);
        match get(&*store, &key, None).await {
            Ok(bytes) => {
                world.seen_name(table, &key, &bytes);
                snapshot = Snapshot::of_checkpoint(version, &bytes);
            }
            Err(error) => {
                refused(world, node, "does not read a checkpoint", &error);
                return None;
            }
        }
    }
    for version in snapshot.next..next {
        if !commits.contains(&version) {
            world.commit_absent(node, table, version);
            return None;
        }
        match get(&*store, &commit_key(table, version), None).await {
            Ok(bytes) => {
                world.seen(table, version, &bytes);
                Commit::apply(&bytes, &mut snapshot);
                snapshot.next = version + 1;
            }
            Err(Error::NotFound { .. }) => {
                world.commit_absent(node, table, version);
                return None;
            }
            Err(error) => {
                refused(world, node, "does not read a commit", &error);
                return None;
            }
        }
    }
    world.read.lock().insert((node, table), snapshot.clone());
    Some(snapshot)
}

/// What a node shows of a table by itself has no gap, and nothing that was not agreed on.
async fn look_alone(world: &Arc<World>, node: usize, table: &'static str) {
    let Some(store) = world.store(node) else {
        return;
    };
    let Ok(listed) = list(&*store, &log_of(table)).await else {
        return;
    };
    let names = listed.iter().filter_map(|meta| meta.location.filename());
    let commits: BTreeSet<u64> = names.filter_map(commit_version).collect();
    if world.has_joined(node) {
        return;
    }
    if let (Some(first), Some(last)) = (commits.first(), commits.last())
        && last - first + 1 != commits.len() as u64
    {
        let what = format!("n{node} by itself shows {table} with a gap: {commits:?}");
        world.violated(Invariant::I2NothingLost, what);
    }
    // Whose version 0 is the table's is not decided yet.
    for version in commits.into_iter().filter(|version| *version > 0) {
        if let Ok(bytes) = get(&*store, &commit_key(table, version), None).await {
            world.seen(table, version, &bytes);
        }
    }
}

async fn reader(world: Arc<World>, node: usize) {
    for table in TABLES {
        if !world.has_joined(node) {
            look_alone(&world, node, table).await;
        }
    }
    joined(&world, node).await;
    while !is_quiet(&world) {
        let table = some_table(&world);
        if let Some(snapshot) = look(&world, node, table).await {
            let live: Vec<String> = snapshot.live.into_iter().collect();
            for _ in 0..3.min(live.len()) {
                let key = &live[world.below(live.len() as u64) as usize];
                let is_whole = world.per_mille(500);
                read_data(&world, node, key, is_whole).await;
            }
        }
        world.executor.sleep(world.within(20, 1_500)).await;
    }
}

/// Reads a data file, or a part of it; whether that was to be had.
pub async fn read_data(world: &Arc<World>, node: usize, key: &str, is_whole: bool) -> bool {
    let (Some(store), Some(file)) = (world.store(node), world.file_told(key)) else {
        return false;
    };
    let range = match is_whole || file.bytes == 0 {
        true => None,
        false => {
            let from = world.below(file.bytes);
            Some(from..from + 1 + world.below(file.bytes - from))
        }
    };
    let from = range.as_ref().map_or(0, |range| range.start);
    let expected = range
        .as_ref()
        .map_or(file.bytes, |range| range.end - range.start);
    match get(&*store, key, range.map(GetRange::Bounded)).await {
        Ok(bytes) if bytes.len() as u64 != expected => {
            let what = format!("n{node} gives {} bytes of {expected} of {key}", bytes.len());
            world.violated(Invariant::I6Detected, what);
            false
        }
        Ok(bytes) => {
            world.data_read(node, key, (from, &bytes));
            true
        }
        Err(Error::NotFound { .. }) => {
            world.data_absent(node, key);
            false
        }
        Err(error) => {
            refused(world, node, "does not read", &error);
            false
        }
    }
}

async fn jobs(world: Arc<World>, node: usize) {
    joined(&world, node).await;
    while !is_quiet(&world) {
        world.executor.sleep(world.within(2_000, 15_000)).await;
        let table = some_table(&world);
        match world.per_mille(500) {
            true => checkpoint(&world, node, table).await,
            false => vacuum(&world, node, table).await.is_some(),
        };
    }
}

/// Writes a checkpoint, and deletes commits that it stands for; whether all of that succeeded.
async fn checkpoint(world: &Arc<World>, node: usize, table: &'static str) -> bool {
    let (Some(snapshot), Some(store)) = (look(world, node, table).await, world.store(node)) else {
        return false;
    };
    let Some(version) = snapshot.next.checked_sub(1) else {
        return false;
    };
    let [file, sums] = checkpoint_keys(table, version);
    let hint = Bytes::from(format!("newest {version}"));
    let puts = [
        (file, snapshot.to_bytes(), false),
        (sums, Bytes::from(format!("sums {version}")), false),
        (hint_key(table), hint, true),
    ];
    for (key, bytes, replace) in puts {
        match put(&*store, &key, bytes, replace).await {
            Ok(()) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => {
                refused(world, node, "does not write a checkpoint", &error);
                return false;
            }
        }
    }
    world.report.lock().jobs += 1;
    let Some(upto) = version.checked_sub(3).filter(|_| world.per_mille(600)) else {
        return true;
    };
    world.deletes_commits(table, upto);
    match delete(&*store, &commit_key(table, upto)).await {
        Ok(()) => true,
        Err(error) => {
            refused(world, node, "does not delete commits", &error);
            false
        }
    }
}

/// Deletes files that no version needs; the keys that are left, where all of that succeeded.
pub async fn vacuum(
    world: &Arc<World>,
    node: usize,
    table: &'static str,
) -> Option<BTreeSet<String>> {
    let (snapshot, store) = (look(world, node, table).await?, world.store(node)?);
    let now = super::world::wall(world).unix_nano();
    let mut left = BTreeSet::new();
    for (key, modified) in data_files(world, node, table).await? {
        let age = Duration::from_nanos(now.saturating_sub(modified));
        let is_old = match snapshot.removed.contains(&key) {
            true => age > REMOVED_AGE,
            false => age > ORPHAN_AGE,
        };
        if snapshot.live.contains(&key) || !is_old {
            left.insert(key);
            continue;
        }
        world.deletes(&key);
        if let Err(error) = delete(&*store, &key).await {
            refused(world, node, "does not delete", &error);
            return None;
        }
        world.note(13, || format!("n{node} has deleted {key}"));
        world.report.lock().deleted += 1;
    }
    world.report.lock().jobs += 1;
    Some(left)
}

/// A table's data files as a node lists them, and when each was written, in ns; none where it cannot.
pub async fn data_files(
    world: &Arc<World>,
    node: usize,
    table: &'static str,
) -> Option<Vec<(String, u64)>> {
    let store = world.store(node)?;
    let listed = match list(&*store, table).await {
        Ok(listed) => listed,
        Err(error) => {
            refused(world, node, "does not list a table", &error);
            return None;
        }
    };
    let files = listed.into_iter().filter_map(|meta| {
        let key = meta.location.to_string();
        let modified = meta.last_modified.timestamp_nanos_opt()?;
        let is_data = !key.contains("_delta_log");
        is_data.then_some((key, u64::try_from(modified).unwrap_or(0)))
    });
    Some(files.collect())
}

/// Reads every file of a table's log that a node lists; whether all were to be had.
pub async fn read_log(world: &Arc<World>, node: usize, table: &'static str) -> bool {
    let Some(store) = world.store(node) else {
        return false;
    };
    let listed = match list(&*store, &log_of(table)).await {
        Ok(listed) => listed,
        Err(error) => {
            refused(world, node, "does not list a log", &error);
            return false;
        }
    };
    for meta in listed {
        let key = meta.location.to_string();
        match get(&*store, &key, None).await {
            Ok(bytes) => match meta.location.filename().and_then(commit_version) {
                Some(version) => world.seen(table, version, &bytes),
                None if key.ends_with("_last_checkpoint") => {}
                None => world.seen_name(table, &key, &bytes),
            },
            Err(error) => {
                refused(world, node, "does not read a file of a log", &error);
                return false;
            }
        }
    }
    true
}
