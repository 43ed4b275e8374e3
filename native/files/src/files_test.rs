//! Data files of three nodes, over their sockets.

use std::fs;

use object_store::{Error, ObjectStoreExt, path::Path};
use otlake_base::Code;
use otlake_base::limits::{FILES_CHUNK_BYTES, FILES_INLINE_BYTES};

use crate::testing::{Nodes, bytes, eventually};
use crate::{Files, FilesPace};

fn key(name: &str) -> String {
    format!("spans/tenant=a/day=2026-01-01/{name}.parquet")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_file_is_on_two_disks_when_it_is_put_and_every_node_reads_it() {
    let nodes = Nodes::start().await;
    let sizes = [
        0,
        1,
        FILES_INLINE_BYTES,
        FILES_INLINE_BYTES + 1,
        2 * FILES_CHUNK_BYTES + 77,
    ];
    for size in sizes {
        let (key, content) = (key(&size.to_string()), bytes(size));
        nodes["n1"].put(&key, content.clone()).await.unwrap();
        let copies = nodes
            .running()
            .filter(|node| fs::read(node.copy(&key)).is_ok_and(|copy| copy == content));
        assert!(copies.count() >= 2, "{size} bytes");
        for node in nodes.running() {
            assert_eq!(node.get(&key).await.unwrap(), content);
            if size > 100 {
                let part = size as u64 - 50..size as u64 - 40;
                let at = Path::from(key.as_str());
                let read = node.store.get_range(&at, part.clone()).await.unwrap();
                assert_eq!(read, content.slice(part.start as usize..part.end as usize));
            }
            assert_eq!(node.list("spans").await[&key], size as u64);
        }
    }
    // In the end as many have it as should.
    eventually("all have a copy", || async {
        sizes.iter().all(|size| {
            let key = key(&size.to_string());
            nodes.running().all(|node| node.files.shelf.has(&key))
        })
    })
    .await;
    let n2 = nodes["n2"].metrics.encode();
    assert!(n2.contains("otlake_files_held 5"), "{n2}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_without_a_second_disk_nothing_is_taken_and_what_is_there_is_read_on() {
    let mut nodes = Nodes::start().await;
    nodes["n2"].put(&key("x"), bytes(1000)).await.unwrap();
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(&key("x")))
    })
    .await;
    nodes.stop("n3").await;
    nodes["n1"].put(&key("y"), bytes(1000)).await.unwrap();
    nodes.stop("n2").await;
    let refused = nodes["n1"].put(&key("z"), bytes(1000)).await.unwrap_err();
    assert!(refused.to_string().contains("have to have it"), "{refused}");
    assert_eq!(nodes["n1"].get(&key("x")).await.unwrap(), bytes(1000));
    // That nobody has it is not known while somebody is away.
    let unknown = nodes["n1"].get(&key("w")).await.unwrap_err();
    assert!(unknown.to_string().contains("n2, n3"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_copy_is_read_from_another_node_and_made_good() {
    let nodes = Nodes::start().await;
    let content = bytes(300_000);
    nodes["n1"].put(&key("x"), content.clone()).await.unwrap();
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(&key("x")))
    })
    .await;
    let path = nodes["n2"].copy(&key("x"));
    let mut flipped = fs::read(&path).unwrap();
    flipped[200_000] ^= 4;
    fs::write(&path, &flipped).unwrap();
    assert_eq!(nodes["n2"].get(&key("x")).await.unwrap(), content);
    let told = nodes["n2"].metrics.encode();
    let line = "otlake_corruption_detected_total{kind=\"copy\"} 1";
    assert!(told.contains(line), "{told}");
    eventually("the copy is whole again", || async {
        nodes["n2"].files.shelf.has(&key("x"))
    })
    .await;
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_deleted_while_a_node_was_away_is_listed_and_deleted_again() {
    let mut nodes = Nodes::start().await;
    nodes["n1"].put(&key("x"), bytes(10)).await.unwrap();
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(&key("x")))
    })
    .await;
    nodes.stop("n3").await;
    nodes["n1"].delete(&key("x")).await.unwrap();
    assert!(!nodes["n2"].copy(&key("x")).exists());
    assert!(nodes["n2"].list("spans").await.is_empty());
    nodes.come_back("n3").await;
    // The others remember, and tell it when it offers what it has.
    eventually("it is nowhere", || async {
        nodes.running().all(|node| !node.copy(&key("x")).exists())
    })
    .await;
    // Nobody remembers for ever: then it is listed like any other, and vacuum deletes it.
    nodes["n1"].put(&key("y"), bytes(10)).await.unwrap();
    // A copy that is on its way while the file is deleted comes into being all the same.
    eventually("all have a copy", || async {
        nodes.running().all(|node| node.files.shelf.has(&key("y")))
    })
    .await;
    nodes["n2"].delete(&key("y")).await.unwrap();
    for node in nodes.running() {
        assert!(!node.list("spans").await.contains_key(&key("y")));
        let gone = node.get(&key("y")).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_where_a_folder_holds_tables_of_a_node_by_itself_a_cluster_does_not_pass_over_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("tables/spans")).unwrap();
    let (disk, clock) = (
        otlake_base::disk::real(),
        std::sync::Arc::new(otlake_base::SystemClock),
    );
    let metrics = std::sync::Arc::new(otlake_base::Metrics::new());
    let pace = FilesPace::default();
    let refused = Files::open(
        disk.clone(),
        folder.path(),
        pace,
        clock.clone(),
        metrics.clone(),
    );
    assert_eq!(refused.unwrap_err().code, Code::ConfigInvalid);
    assert!(!Files::are_in(&*disk, folder.path()));
    disk.remove_folder(&folder.path().join("tables/spans"))
        .unwrap();
    Files::open(disk, folder.path(), pace, clock, metrics).unwrap();
}
