//! Tables of three nodes without a common folder: the catalog as it is, over the nodes' own disks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::checksum::Checked;
use otlake_base::disk::{Disk, read, real};
use otlake_base::{FIRST_EPOCH, Metrics, Position, SystemClock};
use otlake_catalog::verify::{check_log_file, log_files};
use otlake_catalog::{Addition, Catalog, DeltaTableHandle, InLog, Outcome, Sharing};
use otlake_shard::{WriteOptions, write};

use crate::records::{TABLE, at, each_once, held, records};
use crate::testing::{NODES, Node, Nodes, eventually};

/// The stream that all nodes flush, beside one of their own.
const SHARED: u64 = 0;
/// Attempts of one flush before the test gives up.
const ATTEMPTS: usize = 200;

pub(crate) struct Opened {
    disk: Arc<dyn Disk>,
    pub(crate) table: Arc<DeltaTableHandle>,
}

pub(crate) async fn open(node: &Node) -> Opened {
    let (disk, path) = (node.bucket.disk(real()), node.bucket.path());
    let nothing: InLog = Arc::new(|_, _| None);
    let catalog = Catalog::open_on(
        Arc::clone(&disk),
        &path,
        Arc::new(SystemClock),
        Arc::new(Metrics::strict()),
        &nothing,
        Sharing::Shared,
    );
    let table = catalog.await.expect("the tables open").table(TABLE);
    Opened { disk, table }
}

/// Flushes these streams as a flusher does, until the table holds their records.
pub(crate) async fn flush(node: &Opened, upto: &[Position]) {
    let options = WriteOptions {
        disk: Arc::clone(&node.disk),
        ..WriteOptions::default()
    };
    for _ in 0..ATTEMPTS {
        let before = node.table.snapshot();
        let marks = &before.watermarks;
        let records = records(upto, |stream| marks.get(&stream).copied().unwrap_or(0));
        let files = match records.is_empty() {
            true => Vec::new(),
            false => match write(TABLE, records, &before.root, &options).await {
                Ok(files) => files,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        node.table.expect(&files);
        let addition = Addition {
            files,
            marks: before.marks(upto, |_| FIRST_EPOCH),
            tried: false,
        };
        match node.table.commit_one(addition).await {
            Ok(committed) if committed.outcome == Outcome::Held => return,
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("a flush did not succeed in {ATTEMPTS} attempts");
}

async fn flush_at_once(nodes: &BTreeMap<&str, Opened>, sequences: std::ops::RangeInclusive<u64>) {
    let flushing = nodes.iter().map(|(name, node)| {
        let sequences = sequences.clone();
        async move {
            let own = name[1..].parse().expect("a number");
            for sequence in sequences {
                flush(node, &[at(own, sequence), at(SHARED, sequence)]).await;
            }
        }
    });
    futures::future::join_all(flushing).await;
}

async fn check(node: &Opened, upto: &BTreeMap<u64, u64>) {
    let snapshot = node.table.refresh().await.expect("a look");
    let wanted = each_once(upto.iter().map(|(stream, upto)| (*stream, *upto)));
    let disk = Arc::clone(&node.disk);
    tokio::task::spawn_blocking(move || {
        assert_eq!(held(&*disk, &snapshot.root, &snapshot.files), wanted);
        for (path, _) in log_files(&*disk, &snapshot.root).unwrap() {
            // The hint and its sums can be of two writers; readers do without.
            if !path.ends_with("_last_checkpoint") {
                let checked = check_log_file(&*disk, &path).unwrap();
                assert_eq!(checked, Checked::Whole, "{}", path.display());
            }
        }
    })
    .await
    .expect("a thread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn i2_i3_i9_nodes_without_a_common_folder_lose_and_double_nothing_when_one_loses_its_disk() {
    let mut nodes = Nodes::start().await;
    let mut opened = BTreeMap::new();
    for name in NODES {
        opened.insert(name, open(&nodes[name]).await);
    }
    flush_at_once(&opened, 1..=12).await;
    let mut upto: BTreeMap<u64, u64> = (0..=3).map(|stream| (stream, 12)).collect();
    for node in opened.values() {
        check(node, &upto).await;
    }
    opened.remove("n3");
    nodes.stop("n3").await;
    // More commits than lie between two checkpoints: the node that comes back reads from one.
    flush_at_once(&opened, 13..=34).await;
    fs::remove_dir_all(nodes.folder("n3").join("files")).unwrap();
    nodes.come_back("n3").await;
    opened.insert("n3", open(&nodes["n3"]).await);
    for stream in 0..=2 {
        upto.insert(stream, 34);
    }
    for node in opened.values() {
        check(node, &upto).await;
    }
    let there = |name: &str| {
        let names = fs::read_dir(nodes[name].copy("logs/_delta_log")).unwrap();
        let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.contains("checkpoint.parquet"))
            .count()
    };
    assert!(there("n1") >= 2, "there is a checkpoint and its sums");
    flush_at_once(&opened, 35..=37).await;
    for stream in 0..=3 {
        upto.insert(stream, 37);
    }
    for node in opened.values() {
        check(node, &upto).await;
    }
    let snapshot = opened["n1"].table.refresh().await.expect("a look");
    eventually("every file is on two disks", || async {
        snapshot.files.iter().all(|file| {
            let key = format!("{}/{}", TABLE.name(), file.path);
            let holders = nodes.running().filter(|node| node.files.shelf.has(&key));
            holders.count() >= 2
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_table_that_was_opened_before_its_node_joined_is_the_others_once_it_is_opened_anew() {
    let mut nodes = Nodes::start().await;
    let n1 = open(&nodes["n1"]).await;
    flush(&n1, &[at(1, 3)]).await;
    nodes.stop("n2").await;
    fs::remove_dir_all(nodes.folder("n2").join("files")).unwrap();
    nodes.run("n2").await;
    let n2 = open(&nodes["n2"]).await;
    assert_eq!(
        (n2.table.snapshot().version, n2.table.snapshot().files.len()),
        (0, 0)
    );
    nodes.place();
    nodes.joined().await;
    let snapshot = n2.table.reopen().await.unwrap();
    assert!(snapshot.version >= 1 && snapshot.covers(at(1, 3)));
    let ids = [&n1, &n2].map(|node| {
        let path = node
            .table
            .snapshot()
            .root
            .join("_delta_log/00000000000000000000.json");
        read(&*node.disk, &path)
    });
    let [first, second] = ids.map(|id| id.expect("the first commit"));
    assert_eq!(first, second);
    flush(&n2, &[at(2, 1)]).await;
    check(&n1, &BTreeMap::from([(1, 3), (2, 1)])).await;
}
