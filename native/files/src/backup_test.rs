//! What a backup of one of three nodes asks it for.

use std::fs;
use std::sync::Arc;

use otlake_base::checksum::Checked;
use otlake_base::disk::real;
use otlake_base::{Code, Metrics, SystemClock};

use crate::records::{TABLE, at};
use crate::tables_test::{flush, open};
use crate::testing::{Node, Nodes, bytes, eventually};
use crate::{Files, FilesPace, check_copy};

const COMMITS: u64 = 5;

fn commit(version: u64) -> String {
    format!("{}/_delta_log/{version:020}.json", TABLE.name())
}

fn flip(node: &Node, key: &str) {
    let path = node.copy(key);
    let mut flipped = fs::read(&path).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(path, flipped).unwrap();
}

/// Asked for again while the metadata group has no leader, as whoever is told to try again does.
async fn held_logs(node: &Node, table: Option<&str>) -> Vec<(String, Vec<String>)> {
    loop {
        match node.files.hold_logs(table).await {
            Err(error) if error.code == Code::MetadataUnavailable => {}
            held => return held.unwrap(),
        }
    }
}

/// Whether a node's copy is there and whole.
fn is_whole(node: &Node, key: &str) -> bool {
    let sums = node.folder.join("files/sums").join(key);
    let sums = fs::read_to_string(sums).unwrap_or_default();
    check_copy(&*real(), &node.copy(key), &sums).unwrap() == Checked::Whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn i2_i6_a_nodes_disk_has_all_of_the_tables_logs_as_of_when_it_was_asked_and_whole() {
    let nodes = Nodes::start().await;
    let n1 = open(&nodes["n1"]).await;
    for sequence in 1..=COMMITS {
        flush(&n1, &[at(1, sequence)]).await;
        // Each was told as done before: it is there, however far behind the node is.
        let held = held_logs(&nodes["n2"], Some(TABLE.name())).await;
        assert_eq!(held.len(), 1);
        let (table, names) = &held[0];
        assert_eq!(table, TABLE.name());
        let newest = n1.table.snapshot().version;
        assert!(names.contains(&format!("{newest:020}.json")), "{names:?}");
        for name in names {
            let key = format!("{table}/_delta_log/{name}");
            assert!(is_whole(&nodes["n2"], &key), "{key}");
        }
    }
    for version in [0, 2] {
        flip(&nodes["n2"], &commit(version));
        let held = held_logs(&nodes["n2"], None).await;
        assert!(held.iter().any(|(table, _)| table == TABLE.name()));
        assert!(is_whole(&nodes["n2"], &commit(version)));
    }
    let none = held_logs(&nodes["n2"], Some("nothing")).await;
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_data_file_that_a_node_lacks_or_has_damaged_is_lent_whole() {
    let nodes = Nodes::start().await;
    let (key, content) = ("spans/tenant=a/day=2026-01-01/x.parquet", bytes(300_000));
    nodes["n1"].put(key, content.clone()).await.unwrap();
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(key))
    })
    .await;
    let n2 = &nodes["n2"];
    assert_eq!(n2.files.lend(key).await.unwrap(), None);
    for damage in ["flipped", "gone"] {
        match damage {
            "flipped" => flip(n2, key),
            _ => fs::remove_file(n2.copy(key)).unwrap(),
        }
        let lent = n2.files.lend(key).await.unwrap().expect(damage);
        assert!(lent.path.starts_with(n2.folder.join("files")));
        assert_eq!(fs::read(&lent.path).unwrap(), content);
        let checked = check_copy(&*real(), &lent.path, &lent.sheet).unwrap();
        assert_eq!(checked, Checked::Whole);
        // It is no copy, and nobody's business but the asker's.
        assert!(
            !n2.list("spans")
                .await
                .keys()
                .any(|key| key.contains(".part"))
        );
        fs::remove_file(&lent.path).unwrap();
        eventually("its own copy is whole again", || async {
            n2.files.shelf.has(key)
        })
        .await;
        assert!(is_whole(n2, key));
    }
    let nowhere = n2
        .files
        .lend("spans/tenant=a/day=2026-01-01/y.parquet")
        .await;
    let nowhere = nowhere.unwrap_err();
    assert_eq!(nowhere.code, Code::TableIo);
    assert!(nowhere.message.contains("y.parquet: no node"), "{nowhere}");
    for name in [
        "../x.parquet",
        "spans/_delta_log/00000000000000000000.json",
        "",
    ] {
        let refused = n2.files.lend(name).await.unwrap_err();
        assert_eq!(refused.code, Code::ConfigInvalid, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_file_is_told_by_what_is_on_the_disks() {
    let mut nodes = Nodes::start().await;
    let key = "spans/tenant=a/day=2026-01-01/x.parquet".to_owned();
    let keys = [
        key.clone(),
        "spans/tenant=a/day=2026-01-01/y.parquet".to_owned(),
    ];
    nodes["n1"].put(&key, bytes(1000)).await.unwrap();
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(&key))
    })
    .await;
    let found = nodes["n3"].files.holders(&keys).await.unwrap();
    assert_eq!(found.silent, Vec::<String>::new());
    let names = |nodes: &[Arc<str>]| {
        let mut names: Vec<String> = nodes.iter().map(|name| name.to_string()).collect();
        names.sort();
        names.join(" ")
    };
    let (wanted, having) = &found.files[0];
    assert_eq!((*wanted, names(having).as_str()), (3, "n1 n2 n3"));
    assert_eq!(found.files[1], (3, Vec::new()));
    // A disk that lost it without its node's doing.
    fs::remove_file(nodes["n2"].copy(&key)).unwrap();
    let found = nodes["n1"].files.holders(&keys).await.unwrap();
    assert_eq!(names(&found.files[0].1), "n1 n3");
    nodes.stop("n3").await;
    let found = nodes["n1"].files.holders(&keys).await.unwrap();
    assert_eq!(names(&found.files[0].1), "n1");
    assert_eq!(found.silent, ["n3"]);
}

#[tokio::test]
async fn a_node_that_has_not_joined_holds_nothing_for_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let pace = FilesPace::default();
    let files = Files::open(real(), folder.path(), pace, clock, metrics).unwrap();
    let key = "spans/tenant=a/day=2026-01-01/x.parquet".to_owned();
    for refused in [
        files.hold_logs(None).await.map(drop).unwrap_err(),
        files.lend(&key).await.map(drop).unwrap_err(),
        files
            .holders(std::slice::from_ref(&key))
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(refused.code, Code::NodeState);
    }
}
