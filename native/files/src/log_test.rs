//! Tables' logs of three nodes, over their sockets.

use std::collections::BTreeMap;
use std::fs;

use object_store::Error;
use otlake_consensus::limits::KEPT_COMMITS;

use crate::log::standing;
use crate::shelf::Held;
use crate::testing::{NODES, Nodes, commit, eventually};

const LOG: &str = "spans/_delta_log";

fn checkpoint(version: u64) -> [String; 2] {
    let name = format!("{version:020}.checkpoint.parquet");
    [format!("{LOG}/{name}"), format!("{LOG}/.{name}.crc32c")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_of_all_who_give_a_commits_name_one_succeeds_and_all_see_the_same() {
    let nodes = Nodes::start().await;
    for version in 0..12 {
        let key = commit(version);
        let attempts = NODES.map(|name| {
            let (node, key) = (&nodes[name], key.clone());
            async move {
                (
                    name,
                    node.create(&key, &format!("{version} of {name}")).await,
                )
            }
        });
        let outcomes = futures::future::join_all(attempts).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, put)| put.is_ok());
        assert_eq!(won.len(), 1, "version {version}");
        for (_, put) in lost {
            let error = put.unwrap_err();
            assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        }
        let content = format!("{version} of {}", won[0].0);
        for node in nodes.running() {
            assert_eq!(node.get(&key).await.unwrap(), content);
            // As soon as it is told as done, a look anywhere has it.
            assert_eq!(node.list(LOG).await.len() as u64, version + 1);
        }
    }
    let listed = nodes["n1"].list(LOG).await;
    for node in nodes.running() {
        assert_eq!(node.list(LOG).await, listed);
        // The version that is free is not there, and none but it can be given.
        let absent = node.get(&commit(12)).await.unwrap_err();
        assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
        let gap = node.create(&commit(14), "x").await.unwrap_err();
        assert!(gap.to_string().contains("12"), "{gap}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_commits_go_on_without_a_node_and_it_has_all_of_them_when_it_comes_back_even_empty() {
    let mut nodes = Nodes::start().await;
    for version in 0..5 {
        nodes["n1"]
            .create(&commit(version), "before")
            .await
            .unwrap();
    }
    nodes.stop("n3").await;
    for version in 5..10 {
        let node = if version % 2 == 0 { "n1" } else { "n2" };
        nodes[node]
            .create(&commit(version), "without")
            .await
            .unwrap();
    }
    nodes.come_back("n3").await;
    assert_eq!(nodes["n3"].list(LOG).await.len(), 10);
    assert_eq!(nodes["n3"].get(&commit(7)).await.unwrap(), "without");
    // The whole disk but for how it voted is lost.
    nodes.stop("n1").await;
    fs::remove_dir_all(nodes.folder("n1").join("files")).unwrap();
    nodes["n2"].create(&commit(10), "without").await.unwrap();
    nodes.come_back("n1").await;
    assert_eq!(nodes["n1"].list(LOG).await.len(), 11);
    eventually("it has all on its own disk", || async {
        (0..11).all(|version| nodes["n1"].copy(&commit(version)).exists())
    })
    .await;
    nodes["n1"].create(&commit(11), "again").await.unwrap();
    assert_eq!(nodes["n2"].get(&commit(11)).await.unwrap(), "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_all_nodes_can_stop_at_once_and_each_shows_what_it_had_before_it_has_joined() {
    let mut nodes = Nodes::start().await;
    for version in 0..4 {
        nodes["n1"].create(&commit(version), "x").await.unwrap();
    }
    eventually("all have all", || async {
        nodes.running().all(|node| node.copy(&commit(3)).exists())
    })
    .await;
    for name in NODES {
        nodes.stop(name).await;
    }
    nodes.run("n2").await;
    let alone = &nodes["n2"];
    assert_eq!(alone.list(LOG).await.len(), 4);
    assert_eq!(alone.get(&commit(3)).await.unwrap(), "x");
    let early = alone.create(&commit(4), "y").await.unwrap_err();
    assert!(early.to_string().contains("has not joined"), "{early}");
    let again = alone.create(&commit(0), "y").await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
    for name in ["n1", "n3"] {
        nodes.run(name).await;
    }
    nodes.place();
    nodes.joined().await;
    nodes["n2"].create(&commit(4), "y").await.unwrap();
    assert_eq!(nodes["n3"].list(LOG).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_every_node_makes_for_itself_is_the_first_ones() {
    let mut nodes = Nodes::start().await;
    for name in NODES {
        nodes.stop(name).await;
    }
    for name in NODES {
        nodes.run(name).await;
        let own = format!("made by {name}");
        nodes[name].create(&commit(0), &own).await.unwrap();
        assert_eq!(nodes[name].get(&commit(0)).await.unwrap(), own);
        assert_eq!(nodes[name].list(LOG).await.len(), 1);
    }
    nodes.place();
    nodes.joined().await;
    let made = nodes["n1"].get(&commit(0)).await.unwrap();
    assert!(made.starts_with(b"made by n"));
    for node in nodes.running() {
        assert_eq!(node.get(&commit(0)).await.unwrap(), made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_log_that_the_group_does_not_know_is_kept_and_its_node_stays_apart() {
    let mut nodes = Nodes::start().await;
    for version in 0..3 {
        nodes["n1"].create(&commit(version), "x").await.unwrap();
    }
    for name in NODES {
        nodes.stop(name).await;
        fs::remove_dir_all(nodes.folder(name).join("metadata")).unwrap();
    }
    for name in NODES {
        nodes.run(name).await;
    }
    nodes["n1"].group.bootstrap().await.unwrap();
    nodes.place();
    eventually("it says so", || async {
        let why = nodes["n1"].files.obstacle();
        why.is_some_and(|why| why.contains("does not know"))
    })
    .await;
    assert!(nodes["n1"].copy(&commit(2)).exists());
    assert_eq!(nodes["n1"].get(&commit(2)).await.unwrap(), "x");
    assert!(nodes["n1"].create(&commit(3), "y").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_commits_go_on_every_node_and_a_hint_is_what_was_put_last() {
    let mut nodes = Nodes::start().await;
    for version in 0..8 {
        nodes["n1"].create(&commit(version), "x").await.unwrap();
    }
    let refused = nodes["n1"].delete(&commit(2)).await;
    assert!(refused.is_err(), "nothing stands for it");
    for name in checkpoint(5) {
        nodes["n2"].create(&name, "a checkpoint").await.unwrap();
        let again = nodes["n3"].create(&name, "another").await.unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
    }
    let hint = format!("{LOG}/_last_checkpoint");
    for (name, text) in [("n1", "5"), ("n2", "5 again"), ("n3", "5 at last")] {
        nodes[name].put(&hint, text).await.unwrap();
        for node in nodes.running() {
            assert_eq!(node.get(&hint).await.unwrap(), text);
        }
    }
    nodes.stop("n3").await;
    nodes["n1"].delete(&commit(4)).await.unwrap();
    nodes.come_back("n3").await;
    let mut left: Vec<String> = (5..8).map(commit).collect();
    left.extend(checkpoint(5));
    left.push(hint);
    left.sort();
    for node in nodes.running() {
        assert_eq!(node.list(LOG).await.into_keys().collect::<Vec<_>>(), left);
        let gone = node.get(&commit(3)).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    }
    eventually("their files are gone", || async {
        nodes.running().all(|node| !node.copy(&commit(4)).exists())
    })
    .await;
    assert!(nodes.running().all(|node| node.copy(&commit(5)).exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_commit_is_fetched_from_another_node_and_never_shown() {
    let mut nodes = Nodes::start().await;
    for version in 0..3 {
        nodes["n1"]
            .create(&commit(version), "the content")
            .await
            .unwrap();
    }
    eventually("all have all", || async {
        nodes.running().all(|node| node.copy(&commit(2)).exists())
    })
    .await;
    let path = nodes["n2"].copy(&commit(1));
    fs::write(&path, "the c0ntent").unwrap();
    assert_eq!(nodes["n2"].get(&commit(1)).await.unwrap(), "the content");
    assert_eq!(fs::read(&path).unwrap(), b"the content");
    // Before it has joined a node shows what is whole.
    for name in NODES {
        nodes.stop(name).await;
    }
    fs::write(&path, "the c0ntent").unwrap();
    nodes.run("n2").await;
    assert_eq!(nodes["n2"].list(LOG).await.len(), 1);
    let hidden = nodes["n2"].get(&commit(2)).await.unwrap_err();
    assert!(matches!(hidden, Error::NotFound { .. }), "{hidden}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_commit_that_the_group_tells_no_more_is_read_from_whoever_has_it() {
    let nodes = Nodes::start().await;
    let older = 5;
    for version in 0..KEPT_COMMITS + older {
        let content = format!("content {version}");
        nodes["n1"]
            .create(&commit(version), &content)
            .await
            .unwrap();
    }
    for version in [older, older + 1] {
        for key in checkpoint(version) {
            nodes["n1"].create(&key, "a checkpoint").await.unwrap();
        }
    }
    eventually("all have all", || async {
        let last = commit(KEPT_COMMITS + older - 1);
        nodes.running().all(|node| node.copy(&last).exists())
    })
    .await;
    let state = nodes["n2"].group.read().await.unwrap();
    assert_eq!(state.files[LOG].first(), older);
    // Of the two others one does not answer, and it is not known yet that it is away.
    nodes["n1"].peers.close().await;
    for version in 0..older {
        let path = nodes["n2"].copy(&commit(version));
        let content = format!("content {version}");
        fs::write(&path, content.replace('c', "k")).unwrap();
        assert_eq!(nodes["n2"].get(&commit(version)).await.unwrap(), content);
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn what_a_node_shows_by_itself_is_a_log_without_a_gap() {
    let held = |is_damaged| Held {
        bytes: 1,
        sum: None,
        is_damaged,
    };
    let log = |names: &[&str]| -> BTreeMap<String, Held> {
        let names = names.iter().map(|name| {
            let (name, is_damaged) = match name.strip_suffix('!') {
                Some(name) => (name, true),
                None => (*name, false),
            };
            let (version, rest) = name.split_once('.').unwrap_or(("", name));
            let dot = if version.starts_with('_') { "." } else { "" };
            let version: u64 = version.trim_start_matches('_').parse().unwrap_or(0);
            (format!("{dot}{version:020}.{rest}"), held(is_damaged))
        });
        names.collect()
    };
    let shown = |names: &[&str]| -> Vec<String> {
        let shown = standing(&log(names)).into_iter();
        let short = shown.map(|name| {
            let dot = if name.starts_with('.') { "_" } else { "" };
            let (version, rest) = name.trim_start_matches('.').split_once('.').unwrap();
            format!("{dot}{}.{rest}", version.parse::<u64>().unwrap())
        });
        short.collect()
    };
    let (file, sums) = ("3.checkpoint.parquet", "_3.checkpoint.parquet.crc32c");
    assert_eq!(shown(&[]), [""; 0]);
    assert_eq!(shown(&["0.json", "1.json", "3.json"]), ["0.json", "1.json"]);
    assert_eq!(shown(&["1.json", "2.json"]), [""; 0]);
    assert_eq!(shown(&["0.json", "1.json!", "2.json"]), ["0.json"]);
    let whole = ["2.json", file, sums, "4.json", "6.json"];
    assert_eq!(shown(&whole), [file, sums, "4.json"]);
    assert_eq!(shown(&["3.json", file, sums]), [file, sums, "3.json"]);
    // A checkpoint without its sums, or a damaged one, is none.
    assert_eq!(shown(&["0.json", file, "4.json"]), ["0.json"]);
    let broken = format!("{file}!");
    assert_eq!(shown(&[&broken, sums, "0.json"]), ["0.json"]);
}
