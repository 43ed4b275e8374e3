//! Several handles, and processes, on one folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use otlake_base::disk::real;
use otlake_base::{Code, FIRST_EPOCH, Metrics, Position, StreamId, SystemClock};
use otlake_shard::{WriteOptions, Written, write};

use crate::commit::{Addition, Outcome};
use crate::durable_store::DurableStore;
use crate::maintain::testing::{Ahead, HOUR, compact, context, rows};
use crate::records::{self, TABLE, at};
use crate::rows::Random;
use crate::{Catalog, DeltaTableHandle, InLog, Sharing, Snapshot, Standing};

async fn open_at(dir: &Path, clock: Arc<Ahead>) -> Arc<DeltaTableHandle> {
    let nothing: InLog = Arc::new(|_, _| None);
    let (metrics, sharing) = (Arc::new(Metrics::new()), Sharing::Shared);
    let handle = DeltaTableHandle::open(
        TABLE,
        dir.join(TABLE.name()),
        real(),
        clock,
        metrics,
        &nothing,
        sharing,
    );
    Arc::new(handle.await.unwrap())
}

pub(crate) async fn open(dir: &Path) -> Arc<DeltaTableHandle> {
    open_at(dir, Arc::default()).await
}

/// How often each row is in the table, by stream and sequence.
pub(crate) fn held(snapshot: &Snapshot) -> BTreeMap<(u64, u64), usize> {
    records::held(&*real(), &snapshot.root, &snapshot.files)
}

pub(crate) fn each_once(streams: &[u64], last: u64) -> BTreeMap<(u64, u64), usize> {
    records::each_once(streams.iter().map(|stream| (*stream, last)))
}

/// A flush as a flusher does it: what is in no file is written, then committed.
pub(crate) struct Flush {
    pub(crate) upto: Vec<Position>,
    pub(crate) addition: Addition,
}

pub(crate) async fn prepare(handle: &DeltaTableHandle, upto: Vec<Position>) -> Flush {
    prepare_at(handle, upto, FIRST_EPOCH).await
}

/// One of streams that are written at this epoch.
pub(crate) async fn prepare_at(
    handle: &DeltaTableHandle,
    upto: Vec<Position>,
    epoch: u64,
) -> Flush {
    let before = handle.snapshot();
    let marks = &before.watermarks;
    let records = records::records(&upto, |stream| marks.get(&stream).copied().unwrap_or(0));
    let files: Vec<Written> = match records.is_empty() {
        true => Vec::new(),
        false => write(TABLE, records, &before.root, &WriteOptions::default())
            .await
            .unwrap(),
    };
    handle.expect(&files);
    let marks = before.marks(&upto, |_| epoch);
    let addition = Addition {
        files,
        marks,
        tried: false,
    };
    Flush { upto, addition }
}

/// Commits it, and goes on until the table holds its rows.
async fn finish(handle: &DeltaTableHandle, flush: Flush) {
    let Flush { upto, mut addition } = flush;
    loop {
        let committed = handle.commit_one(addition).await.unwrap();
        if committed.outcome == Outcome::Held {
            assert!(upto.iter().all(|upto| committed.snapshot.covers(*upto)));
            return;
        }
        addition = prepare(handle, upto.clone()).await.addition;
    }
}

/// Every order of two sequences of so many steps: true where the first takes one.
fn interleavings(first: usize, second: usize) -> Vec<Vec<bool>> {
    if first + second == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (left, is_first) in [(first, true), (second, false)] {
        if left > 0 {
            let rest = match is_first {
                true => interleavings(first - 1, second),
                false => interleavings(first, second - 1),
            };
            all.extend(rest.into_iter().map(|mut rest| {
                rest.insert(0, is_first);
                rest
            }));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i9_two_nodes_that_flush_the_same_stream_in_any_order_double_and_lose_nothing() {
    let plans = [
        [vec![at(1, 2)], vec![at(1, 5), at(2, 2)]],
        [vec![at(1, 3), at(2, 1)], vec![at(1, 5), at(2, 5)]],
    ];
    let orders = interleavings(4, 4);
    assert_eq!(orders.len(), 70);
    for order in orders {
        let dir = tempfile::tempdir().unwrap();
        let handles = [open(dir.path()).await, open(dir.path()).await];
        let mut steps = [0, 0];
        let mut begun: [Option<Flush>; 2] = [None, None];
        for is_first in &order {
            let node = usize::from(!is_first);
            match begun[node].take() {
                None => {
                    let upto = plans[node][steps[node]].clone();
                    begun[node] = Some(prepare(&handles[node], upto).await);
                }
                Some(flush) => {
                    finish(&handles[node], flush).await;
                    steps[node] += 1;
                }
            }
        }
        finish(&handles[0], prepare(&handles[0], vec![at(2, 5)]).await).await;
        let all = each_once(&[1, 2], 5);
        for handle in [&handles[0], &handles[1], &open(dir.path()).await] {
            let now = handle.refresh().await.unwrap();
            assert_eq!(held(&now), all, "{order:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_table_takes_nothing_of_an_epoch_before_the_one_that_took_its_stream_over() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, other) = (open(dir.path()).await, open(dir.path()).await);
    finish(&owner, prepare(&owner, vec![at(1, 2)]).await).await;
    let late = prepare(&owner, vec![at(1, 3), at(2, 1)]).await.addition;
    let file = owner.root.join(&late.files[0].file.path);
    let stream = at(1, 0).stream;
    let fenced = other.fence(stream, 2).await.unwrap();
    assert_eq!((fenced.version, rows(&fenced)), (2, 4));
    let standing = |watermark, epoch| Standing {
        watermark,
        epoch,
        written: 2,
    };
    assert_eq!(fenced.standing(stream), standing(2, 2));
    // Again it changes nothing, and nothing is behind it any more.
    assert_eq!(other.fence(stream, 2).await.unwrap().version, 2);
    let refused = owner.commit_one(late).await.unwrap();
    assert_eq!(refused.outcome, Outcome::Fenced);
    assert_eq!((refused.snapshot.version, file.exists()), (2, false));
    // The one who took it over goes on, also past what the owner alone has.
    let flush = prepare_at(&other, vec![at(1, 4)], 2).await.addition;
    assert_eq!(
        other.commit_one(flush).await.unwrap().outcome,
        Outcome::Held
    );
    let covered = prepare(&owner, vec![at(1, 3)]).await.addition;
    assert_eq!(
        owner.commit_one(covered).await.unwrap().outcome,
        Outcome::Fenced,
        "that the watermark covers it does not say that its rows are there"
    );
    // And is fenced in its turn, by one that is faster.
    let own = prepare_at(&other, vec![at(1, 6)], 2).await.addition;
    owner.fence(stream, 3).await.unwrap();
    assert_eq!(
        other.commit_one(own).await.unwrap().outcome,
        Outcome::Fenced
    );
    // Also where the other has not looked since it raised the epoch itself.
    assert_eq!(
        open(dir.path())
            .await
            .fence(stream, 3)
            .await
            .unwrap()
            .standing(stream)
            .epoch,
        3
    );
    let error = other.fence(stream, 2).await.expect_err("it is at 3");
    assert_eq!(error.code, Code::ClusterFenced);
    // Another stream is not touched by it.
    finish(&owner, prepare(&owner, vec![at(2, 1)]).await).await;
    for handle in [&owner, &other, &open(dir.path()).await] {
        let now = handle.refresh().await.unwrap();
        assert_eq!(now.standing(stream), standing(4, 3));
        assert_eq!(now.standing(at(2, 0).stream).epoch, FIRST_EPOCH);
        let mut all = each_once(&[1], 4);
        all.extend(each_once(&[2], 1));
        assert_eq!(held(&now), all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i9_an_owner_and_whoever_takes_its_stream_over_write_each_row_once_in_any_order() {
    // The owner: two flushes, of two steps each. The other: a fence, and a flush of two steps.
    for order in interleavings(4, 3) {
        let dir = tempfile::tempdir().unwrap();
        let (owner, other) = (open(dir.path()).await, open(dir.path()).await);
        let stream = at(1, 0).stream;
        let mut begun: [Option<Flush>; 2] = [None, None];
        let (mut upto, mut fenced_at) = (0, None);
        for is_owner in &order {
            let node = usize::from(!is_owner);
            match (node, begun[node].take()) {
                (0, None) => {
                    upto += 3;
                    begun[0] = Some(prepare(&owner, vec![at(1, upto)]).await);
                }
                (0, Some(flush)) => {
                    let committed = owner.commit_one(flush.addition).await.unwrap();
                    let refused = fenced_at.is_some();
                    assert_eq!(committed.outcome == Outcome::Fenced, refused, "{order:?}");
                }
                (_, None) if fenced_at.is_none() => {
                    let now = other.fence(stream, 2).await.unwrap();
                    fenced_at = Some(now.standing(stream).watermark);
                }
                (_, None) => begun[1] = Some(prepare_at(&other, vec![at(1, 6)], 2).await),
                (_, Some(flush)) => {
                    // Nobody moves the watermark that was read with the fence.
                    let committed = other.commit_one(flush.addition).await.unwrap();
                    assert_eq!(committed.outcome, Outcome::Held, "{order:?}");
                }
            }
        }
        let now = other.refresh().await.unwrap();
        assert_eq!(now.standing(stream).written, fenced_at.unwrap());
        assert_eq!(held(&now), each_once(&[1], 6), "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_against_another_watermark_does_nothing_and_its_files_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).await, open(dir.path()).await);
    let early = prepare(&one, vec![at(1, 4)]).await;
    finish(&two, prepare(&two, vec![at(1, 2)]).await).await;
    let path = two.root.join(&early.addition.files[0].file.path);
    assert!(path.exists());
    let mut tried = early.addition.clone();
    tried.tried = true;
    // What may have landed before is not deleted by a commit that finds no use for it.
    assert_eq!(one.commit_one(tried).await.unwrap().outcome, Outcome::Stale);
    assert!(path.exists());
    let stale = one.commit_one(early.addition).await.unwrap();
    assert_eq!(stale.outcome, Outcome::Stale);
    assert!(!path.exists());
    assert_eq!((stale.snapshot.version, rows(&stale.snapshot)), (1, 4));
    // One stream of two is at its base; the other is not.
    let mixed = prepare(&one, vec![at(1, 4), at(2, 4)]).await;
    finish(&two, prepare(&two, vec![at(2, 4)]).await).await;
    assert_eq!(
        one.commit_one(mixed.addition).await.unwrap().outcome,
        Outcome::Stale
    );
    finish(&one, prepare(&one, vec![at(1, 4), at(2, 4)]).await).await;
    assert_eq!(held(&one.snapshot()), each_once(&[1, 2], 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_of_several_writers_are_one_commit_and_each_is_told_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await;
    let first = prepare(&handle, vec![at(1, 2)]).await.addition;
    let same = prepare(&handle, vec![at(1, 2)]).await.addition;
    let other = prepare(&handle, vec![at(2, 1)]).await.addition;
    let overlapping = prepare(&handle, vec![at(1, 3)]).await.addition;
    let unneeded = handle.root.join(&same.files[0].file.path);
    let all = vec![first.clone(), same, other, overlapping, first];
    let (snapshot, outcomes) = handle.commit_all(all).await.unwrap();
    let (held_one, stale) = (Outcome::Held, Outcome::Stale);
    assert_eq!(outcomes, [held_one, held_one, held_one, stale, held_one]);
    assert_eq!(snapshot.version, 1);
    assert!(!unneeded.exists());
    let expected = BTreeMap::from([((1, 1), 2), ((1, 2), 2), ((2, 1), 2)]);
    assert_eq!(held(&snapshot), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_open_an_empty_folder_at_once_one_makes_each_table() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let opens = (0..6).map(|_| {
            let dir = dir.path().to_owned();
            tokio::spawn(async move { open(&dir).await })
        });
        let mut ids = BTreeSet::new();
        for open in opens.collect::<Vec<_>>() {
            let handle = open.await.unwrap();
            assert_eq!(handle.snapshot().version, 0);
            let delta = handle.committer.lock().await;
            ids.insert(delta.snapshot().unwrap().metadata().id().to_owned());
        }
        assert_eq!(ids.len(), 1);
        let log = fs::read_dir(dir.path().join(TABLE.name()).join("_delta_log")).unwrap();
        let names: Vec<_> = log.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["00000000000000000000.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_has_written_and_not_committed_is_left_alone_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(dir.path()).await;
    let waiting = prepare(&one, vec![at(1, 1)]).await;
    let file = one.root.join(&waiting.addition.files[0].file.path);
    let staged = file.with_file_name(".0b7a2a0c-5f5e-4b6e-9b5b-0d6d6f1f2a11.tmp");
    fs::write(&staged, b"half").unwrap();
    let clock = Arc::new(Ahead::default());
    let two = open_at(dir.path(), Arc::clone(&clock)).await;
    assert!(file.exists() && staged.exists());
    clock.by(23 * HOUR);
    two.vacuum(HOUR, &context(None)).await.unwrap();
    assert!(file.exists() && staged.exists());
    // Its writer would have given it up by then.
    assert!(one.waiting_age() < 23 * HOUR);
    finish(&one, waiting).await;
    let crashed = prepare(&two, vec![at(1, 2)]).await;
    clock.by(2 * HOUR);
    two.refresh().await.unwrap();
    two.vacuum(HOUR, &context(None)).await.unwrap();
    assert!(file.exists() && !staged.exists());
    finish(&two, crashed).await;
    assert_eq!(held(&two.snapshot()), each_once(&[1], 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn merges_and_vacuums_of_two_nodes_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Ahead::default());
    let one = open_at(dir.path(), Arc::clone(&clock)).await;
    let two = open_at(dir.path(), Arc::clone(&clock)).await;
    let mut merged = 0;
    for round in 1..=4 {
        for sequence in (round - 1) * 4 + 1..=round * 4 {
            finish(&one, prepare(&one, vec![at(1, sequence)]).await).await;
        }
        two.refresh().await.unwrap();
        let (a, b) = (context(None), context(None));
        let (a, b) = tokio::join!(compact(&one, &a), compact(&two, &b));
        merged += [a, b]
            .into_iter()
            .filter_map(|compacted| compacted.unwrap())
            .filter(|compacted| compacted.files > 0)
            .count();
        clock.by(2 * HOUR);
        let (a, b) = (context(None), context(None));
        let (a, b) = tokio::join!(one.vacuum(HOUR, &a), two.vacuum(HOUR, &b));
        a.unwrap();
        b.unwrap();
        for handle in [&one, &two] {
            let now = handle.refresh().await.unwrap();
            assert_eq!(held(&now), each_once(&[1], round * 4));
        }
    }
    assert!(merged >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i6_checkpoints_of_two_nodes_at_one_version_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).await, open(dir.path()).await);
    for sequence in 1..=8 {
        finish(&one, prepare(&one, vec![at(1, sequence)]).await).await;
        let (mut a, mut b) = (one.committer.lock().await, two.committer.lock().await);
        two.refresh_delta(&mut b).await.unwrap();
        tokio::join!(one.try_checkpoint(&mut a), two.try_checkpoint(&mut b));
        drop((a, b));
        let third = open(dir.path()).await;
        assert_eq!(held(&third.snapshot()), each_once(&[1], sequence));
        let log = third.root.join("_delta_log");
        for (file, _) in crate::verify::log_files(&*real(), &third.root).unwrap() {
            // The hint alone may be of the one and its sums of the other.
            if !file.ends_with("_last_checkpoint") {
                let checked = crate::verify::check_log_file(&*real(), &file).unwrap();
                assert_eq!(checked, otlake_base::checksum::Checked::Whole, "{file:?}");
            }
        }
        let checkpoint = log.join(format!("{sequence:020}.checkpoint.parquet"));
        assert!(checkpoint.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_commit_is_followed_commit_by_commit_as_a_load_would_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).await, open(dir.path()).await);
    for sequence in 1..=6 {
        let upto = vec![at(1, sequence), at(2, sequence)];
        finish(&one, prepare(&one, upto).await).await;
    }
    assert_eq!(two.snapshot().version, 0);
    let three = two.refresh_to(3).await.unwrap();
    assert_eq!(three.version, 6);
    compact(&one, &context(None)).await.unwrap().unwrap();
    let followed = two.refresh().await.unwrap();
    let loaded = open(dir.path()).await.snapshot();
    assert_eq!(followed.version, 7);
    assert_eq!(followed.watermarks, loaded.watermarks);
    assert_eq!(
        format!("{:?}", followed.files),
        format!("{:?}", loaded.files)
    );
    let error = two.refresh_to(8).await.expect_err("it is not there");
    assert_eq!(error.code, otlake_base::Code::TableIo);
    // Its own commits stand on what it has followed.
    finish(&two, prepare(&two, vec![at(3, 1)]).await).await;
    assert_eq!(two.snapshot().version, 8);
    // One raised an epoch meanwhile; the other follows that, too.
    let taken = at(2, 0).stream;
    one.fence(taken, 2).await.unwrap();
    let followed = two.refresh().await.unwrap();
    assert_eq!(followed.version, 9);
    assert_eq!(
        followed.taken_over,
        open(dir.path()).await.snapshot().taken_over
    );
    assert_eq!(followed.standing(taken).written, 6);
    // One that was away until the log's entries had expired finds the newest version all the same.
    let late = open(dir.path()).await;
    for sequence in 2..=4 {
        finish(&one, prepare(&one, vec![at(3, sequence)]).await).await;
    }
    let mut delta = one.committer.lock().await;
    one.try_checkpoint(&mut delta).await;
    drop(delta);
    for version in 0..=11 {
        fs::remove_file(one.root.join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let reached = late.refresh().await.unwrap();
    assert_eq!((reached.version, rows(&reached)), (12, 32));
    assert_eq!(reached.watermarks, one.snapshot().watermarks);
    assert_eq!(reached.standing(taken).epoch, 2);
    assert_eq!(
        open(dir.path()).await.snapshot().taken_over,
        reached.taken_over
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_stores_that_create_one_name_exactly_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for name in 0..20 {
        let creations = (0..8).map(|writer: u8| {
            let store = DurableStore::new(real(), Arc::new(Metrics::new()));
            let path = root.join(format!("{name}.json"));
            tokio::spawn(async move {
                let path = object_store::path::Path::from_absolute_path(path).unwrap();
                let content = Bytes::from(vec![writer; 1_000]);
                let create = PutOptions::from(PutMode::Create);
                let put = store.put_opts(&path, PutPayload::from(content), create);
                match put.await {
                    Ok(_) => Some((
                        writer,
                        store.get(&path).await.unwrap().bytes().await.unwrap(),
                    )),
                    Err(object_store::Error::AlreadyExists { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let mut winners = Vec::new();
        for creation in creations.collect::<Vec<_>>() {
            winners.extend(creation.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        let (writer, content) = &winners[0];
        assert!(content.len() == 1_000 && content.iter().all(|byte| byte == writer));
    }
}

/// The streams that both processes flush, and the last sequence of each.
const STREAMS: [u64; 3] = [1, 2, 3];
const LAST: u64 = 30;
const FOLDER: &str = "OTLAKE_TEST_SHARED_FOLDER";
const SEED: &str = "OTLAKE_TEST_SHARED_SEED";

/// One process of two: flushes parts of every stream until the table holds all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is run by `i3_two_processes_on_one_folder_double_and_lose_nothing`"]
async fn a_process_that_flushes() {
    let (Ok(dir), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else {
        panic!("{FOLDER} and {SEED} are not set");
    };
    let mut random = Random(seed.parse().unwrap());
    let nothing: InLog = Arc::new(|_, _| None);
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let catalog = Catalog::open_on(
        real(),
        Path::new(&dir),
        clock,
        metrics,
        &nothing,
        Sharing::Shared,
    );
    let handle = catalog.await.unwrap().table(TABLE);
    loop {
        let now = handle.snapshot();
        let mut upto = Vec::new();
        for stream in STREAMS {
            let (stream, base) = (StreamId(u128::from(stream)), at(stream, 0));
            let base = now.watermarks.get(&base.stream).copied().unwrap_or(0);
            let sequence = (base + random.below(4)).min(LAST);
            if sequence > base {
                upto.push(Position { stream, sequence });
            }
        }
        if !upto.is_empty() {
            finish(&handle, prepare(&handle, upto).await).await;
        }
        match random.below(6) {
            0 => drop(compact(&handle, &context(None)).await.unwrap()),
            1 => drop(
                handle
                    .vacuum(Duration::from_secs(60), &context(None))
                    .await
                    .unwrap(),
            ),
            2 => drop(handle.refresh().await.unwrap()),
            _ => {}
        }
        let now = handle.snapshot();
        if STREAMS
            .into_iter()
            .all(|stream| now.covers(at(stream, LAST)))
        {
            break;
        }
    }
}

#[test]
fn i3_two_processes_on_one_folder_double_and_lose_nothing() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse::<u64>().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    for round in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let start = |process: u64| -> Child {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "shared_test::a_process_that_flushes",
                    "--ignored",
                ])
                .env(FOLDER, dir.path())
                .env(SEED, (seed * 1_000 + round * 10 + process).to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut processes = [start(1), start(2)];
        for process in &mut processes {
            assert!(process.wait().unwrap().success(), "round {round}");
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let now = runtime.block_on(open(dir.path())).snapshot();
        assert_eq!(held(&now), each_once(&STREAMS, LAST), "round {round}");
    }
}
