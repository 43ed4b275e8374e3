//! Copies that are made good: nodes that are lost, empty and new.

use std::fs;
use std::time::Duration;

use crate::testing::{NODES, Nodes, PACE, bytes, eventually};
use crate::{FilesPace, FilesView};

fn key(name: usize) -> String {
    format!("spans/tenant=a/day=2026-01-01/{name}.parquet")
}

fn under_replicated(node: &crate::testing::Node) -> i64 {
    node.metrics.files.under_replicated.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_node_that_lost_its_disk_gets_every_file_again() {
    let mut nodes = Nodes::start().await;
    for name in 0..20 {
        let node = NODES[name % 3];
        nodes[node]
            .put(&key(name), bytes(5_000 * name))
            .await
            .unwrap();
    }
    nodes.stop("n2").await;
    fs::remove_dir_all(nodes.folder("n2").join("files")).unwrap();
    for name in 20..30 {
        nodes["n1"].put(&key(name), bytes(100)).await.unwrap();
    }
    eventually("it is known what lacks a copy", || async {
        under_replicated(&nodes["n1"]) == 30
    })
    .await;
    // Everything is read meanwhile.
    for name in 0..20 {
        assert_eq!(
            nodes["n3"].get(&key(name)).await.unwrap(),
            bytes(5_000 * name)
        );
    }
    nodes.come_back("n2").await;
    eventually("it has all", || async {
        (0..30).all(|name| nodes["n2"].copy(&key(name)).exists())
    })
    .await;
    eventually("nothing lacks a copy", || async {
        nodes.running().all(|node| under_replicated(node) == 0)
    })
    .await;
    for name in 0..20 {
        assert_eq!(
            fs::read(nodes["n2"].copy(&key(name))).unwrap(),
            bytes(5_000 * name)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_takes_its_part_and_those_that_have_a_copy_too_many_let_it_go() {
    let pace = FilesPace {
        extra: Duration::ZERO,
        ..PACE
    };
    let mut nodes = Nodes::start_at(pace).await;
    for name in 0..24 {
        nodes["n1"].put(&key(name), bytes(1_000)).await.unwrap();
    }
    nodes.run("n4").await;
    nodes.place();
    nodes.joined().await;
    let view = FilesView {
        members: ["n1", "n2", "n3", "n4"]
            .map(|name| (name.into(), true))
            .into(),
        slots: Vec::new(),
    };
    eventually("each is where it belongs, and nowhere else", || async {
        (0..24).all(|name| {
            let holders = view.holders(&key(name), 3);
            let names = ["n1", "n2", "n3", "n4"];
            let has = |node: &str| nodes[node].files.shelf.has(&key(name));
            names
                .iter()
                .all(|node| has(node) == holders.iter().any(|holder| **holder == **node))
        })
    })
    .await;
    let moved = (0..24).filter(|name| nodes["n4"].files.shelf.has(&key(*name)));
    assert!((6..24).contains(&moved.count()));
    for name in 0..24 {
        for node in nodes.running() {
            assert_eq!(node.get(&key(name)).await.unwrap(), bytes(1_000));
        }
    }
}
