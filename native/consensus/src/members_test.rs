use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::Code;

use crate::command::Command;
use crate::config::MetadataConfig;
use crate::testing::{Nodes, eventually};
use crate::wire::RAFT;

fn set(key: u64, value: u64) -> Command {
    Command::Configure {
        key: format!("k{key}"),
        value: Some(value.to_string()),
        expect: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_under_load_without_a_lost_or_doubled_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 5);
    nodes.found(&["a"]).await;
    for name in ["b", "c", "d", "e"] {
        nodes.start(name).await.unwrap();
    }
    let going = Arc::new(AtomicBool::new(true));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (group, going) = (Arc::clone(&nodes.running["a"]), Arc::clone(&going));
        let acknowledged = Arc::clone(&acknowledged);
        tokio::spawn(async move {
            while going.load(Ordering::Relaxed) {
                let next = acknowledged.load(Ordering::Relaxed) + 1;
                // Each is set only on top of the one before: a lost or doubled one stops it.
                group.propose(set(next % 50, next)).await.unwrap();
                acknowledged.store(next, Ordering::Relaxed);
            }
        })
    };
    let all = ["a", "b", "c", "d", "e"];
    for voters in [
        &["a", "b", "c"][..],
        &all,
        &["c", "d", "e"],
        &["a"],
        &["a", "b", "e"],
    ] {
        nodes.vote(voters, &all).await;
    }
    nodes.vote(&["a", "b", "e"], &["a", "b", "e"]).await;
    eventually("more were acknowledged than there are keys", || {
        acknowledged.load(Ordering::Relaxed) > 50
    })
    .await;
    going.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    let last = acknowledged.load(Ordering::Relaxed);
    for name in ["a", "b", "e"] {
        let state = nodes.running[name].read().await.unwrap();
        for value in last.saturating_sub(49).max(1)..=last {
            let key = format!("k{}", value % 50);
            assert_eq!(&*state.settings[&key].value, value.to_string());
        }
        assert_eq!(state.revision, last);
    }
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_far_behind_gets_a_snapshot_and_may_vote_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 6);
    nodes.found(&["a"]).await;
    let group = Arc::clone(&nodes.running["a"]);
    for value in 0..300 {
        // Some 4 MB in all: the snapshot takes several pieces.
        let command = Command::Configure {
            key: format!("k{}", value % 80),
            value: Some(format!("\"{}\"", "x".repeat(50_000 + value))),
            expect: None,
        };
        group.propose(command).await.unwrap();
    }
    group.snapshot().await.unwrap();
    eventually("a snapshot", || group.status().snapshot >= 300).await;
    group.purge(group.status().snapshot).await.unwrap();
    eventually("the log is cut", || nodes.running["a"].log_length() < 50).await;
    for name in ["b", "c"] {
        nodes.start(name).await.unwrap();
    }
    nodes.vote(&["a", "b", "c"], &["a", "b", "c"]).await;
    assert!(
        nodes.running["c"].status().snapshot >= 300,
        "it came by snapshot"
    );
    let state = nodes.running["c"].read().await.unwrap();
    let same = *state.settings == *nodes.running["a"].read().await.unwrap().settings;
    assert!(same && state.settings.len() == 80 && state.group != 0);
    // It has it on disk.
    nodes.stop("c").await;
    nodes.start("c").await.unwrap();
    assert_eq!(nodes.running["c"].local().settings.len(), 80);
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_made_and_the_log_is_cut_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 7);
    nodes.timing.snapshot_every_ms = 300;
    nodes.timing.log_kept_ms = 600;
    nodes.found(&["a"]).await;
    let group = Arc::clone(&nodes.running["a"]);
    for value in 0..100 {
        group.propose(set(1, value)).await.unwrap();
    }
    eventually("the log is cut up to a snapshot of all", || {
        group.status().snapshot >= 100 && group.log_length() < 10
    })
    .await;
    nodes.stop("a").await;
    let group = nodes.start("a").await.unwrap();
    assert_eq!(&*group.read().await.unwrap().settings["k1"].value, "99");
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_store_does_not_vote_and_joins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 8);
    nodes.found(&["a", "b", "c"]).await;
    let writer = Arc::clone(&nodes.running["a"]);
    writer.propose(set(1, 1)).await.unwrap();
    nodes.stop("c").await;
    std::fs::remove_dir_all(nodes.folder("c")).unwrap();
    // Alone with a node that has forgotten everything, no majority is to be had.
    nodes.stop("b").await;
    nodes.start("c").await.unwrap();
    let lonely = tokio::time::timeout(Duration::from_secs(2), writer.propose(set(2, 2))).await;
    assert!(
        !matches!(lonely, Ok(Ok(_))),
        "a store that is lost acknowledged something"
    );
    nodes.start("b").await.unwrap();
    nodes.vote(&["a", "b", "c"], &["a", "b", "c"]).await;
    eventually("the lost node has everything", || {
        let state = nodes.running["c"].local();
        state.settings.contains_key("k1")
    })
    .await;
    writer.propose(set(3, 3)).await.unwrap();
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_group_is_refused_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 9);
    nodes.found(&["a"]).await;
    let other = nodes.start("b").await.unwrap();
    other.bootstrap().await.unwrap();
    let (a, b) = (Arc::from("a"), Arc::<str>::from("b"));
    let group = Arc::clone(&nodes.running["a"]);
    group
        .set_voters(std::slice::from_ref(&a), Some(&[a.clone(), b.clone()]))
        .unwrap();
    eventually("the reason is told", || {
        group
            .status()
            .refused
            .get(&b)
            .is_some_and(|why| why.contains("another group"))
    })
    .await;
    assert_eq!(group.status().learners, []);
    // And a store of another group than the node is told to be in.
    nodes.stop("b").await;
    let config = MetadataConfig {
        group: group.group(),
        ..MetadataConfig::new("b", nodes.folder("b"))
    };
    let doors = crate::Doors::default();
    let start = crate::MetadataGroup::start(
        config,
        nodes.network.wire(&b),
        &doors,
        Arc::new(otlake_base::SystemClock),
        Arc::default(),
    );
    let error = start.await.err().unwrap();
    assert_eq!(error.code, Code::MetadataForeign);
    let error = crate::MetadataGroup::start(
        MetadataConfig::new("x", nodes.folder("b")),
        nodes.network.wire(&b),
        &doors,
        Arc::new(otlake_base::SystemClock),
        Arc::default(),
    );
    assert_eq!(
        error.await.err().unwrap().code,
        Code::MetadataForeign,
        "another node's store"
    );
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_hears_does_not_depose_the_leader_when_it_is_heard_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 10);
    // Longer than a busy machine has the leader stand still: it is not deposed for that.
    nodes.timing.election_ms = 1_000;
    nodes.found(&["a", "b", "c"]).await;
    let leader = nodes.led().await;
    let lost: Arc<str> = ["a", "b", "c"]
        .into_iter()
        .find(|name| **name != *leader)
        .unwrap()
        .into();
    let others: Vec<Arc<str>> = nodes
        .running
        .keys()
        .filter(|name| **name != lost)
        .cloned()
        .collect();
    let term = nodes.running[&leader].status().term;
    nodes.network.part(std::slice::from_ref(&lost), &others);
    eventually("it asks both others again and again to vote for it", || {
        nodes.network.lost(&lost, RAFT) >= 4
    })
    .await;
    nodes.network.heal();
    nodes.running[&lost].propose(set(1, 1)).await.unwrap();
    let status = nodes.running[&leader].status();
    assert!(status.leads && status.term == term, "{status:?}");
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_for_a_number_of_voters_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 11);
    let group = nodes.start("a").await.unwrap();
    for names in [&[][..], &["a", "b"], &["a", "b", "c", "d"]] {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let error = group.set_voters(&names, None).unwrap_err();
        assert_eq!(error.code, Code::MetadataInvalid);
    }
    nodes.close().await;
}
