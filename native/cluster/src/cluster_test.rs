//! Acknowledgements, drains and locks of real nodes, over their sockets.

use otlake_base::{Code, Signal, Table};
use otlake_replicate::{Quorum, Quorums};

use crate::requests::{logs, spans};
use crate::testing::{Nodes, eventually, once, retried};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_what_is_acknowledged_has_its_quorum_and_without_one_it_is_refused_before_the_log() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    let ack = nodes.deliver("n2", Signal::Traces, spans(0..10)).await;
    assert_eq!((ack.accepted, ack.rejected), (10, 0));
    let copies = ["n2", "n3"].map(|node| {
        let status = nodes[node].cluster.status();
        status["journal"]["records"].as_u64().expect("a number")
    });
    assert!(copies.iter().sum::<u64>() >= 1, "{copies:?}");
    nodes.vanish("n2").await;
    // One follower is enough.
    nodes.deliver("n1", Signal::Traces, spans(10..20)).await;
    nodes.vanish("n3").await;
    let owner = &nodes["n1"];
    eventually("the followers are known to be away", || async {
        let status = owner.cluster.status();
        let followers = status["followers"].as_array().expect("a list");
        followers
            .iter()
            .all(|follower| follower["connected"] == false)
    })
    .await;
    let before = (owner.processor.stats(), owner.processor.live().figures());
    for body in [spans(20..30), spans(20..30)] {
        let refused = nodes.send("n1", Signal::Traces, body).await;
        assert_eq!(refused.expect_err("no quorum").code, Code::ClusterQuorum);
    }
    let after = (owner.processor.stats(), owner.processor.live().figures());
    assert_eq!(before, after, "nothing of it is in the log, or in memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_tenant_that_asks_for_three_copies_is_refused_where_two_nodes_are_left_and_others_are_not()
 {
    let strict = Quorum {
        acks: 3,
        ..Quorum::DEFAULTS[0]
    };
    let quorums = Quorums::default().with(Signal::Traces, "strict".into(), strict);
    let mut nodes = Nodes::start(quorums).await;
    let deliver = async |nodes: &Nodes, numbers: std::ops::Range<u64>| {
        let send = || nodes.send_for("strict", "n2", Signal::Traces, spans(numbers.clone()));
        retried(send).await
    };
    assert_eq!(deliver(&nodes, 0..10).await.accepted, 10);
    let copies =
        ["n2", "n3"].map(|node| nodes[node].cluster.status()["journal"]["records"].clone());
    assert_eq!(copies, [1, 1], "each has it");
    nodes.vanish("n3").await;
    eventually("the follower is known to be away", || async {
        let status = nodes["n1"].cluster.status();
        let followers = status["followers"].as_array().expect("a list");
        followers
            .iter()
            .any(|follower| follower["connected"] == false)
    })
    .await;
    let refused = nodes
        .send_for("strict", "n2", Signal::Traces, spans(10..20))
        .await;
    assert_eq!(refused.expect_err("two are left").code, Code::ClusterQuorum);
    let ack = nodes.deliver("n2", Signal::Traces, spans(20..30)).await;
    assert_eq!(ack.accepted, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_brings_everything_to_files_and_leaves_nothing_to_recover() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    nodes.deliver("n3", Signal::Traces, spans(0..20)).await;
    nodes.deliver("n3", Signal::Logs, logs(0..20)).await;
    let stream = nodes["n1"].cluster.stream();
    retried(|| nodes["n1"].cluster.drain()).await;
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..20));
    assert_eq!(nodes.in_files("n3", Table::Logs).await, once(0..20));
    let refused = nodes.send("n1", Signal::Traces, spans(20..30)).await;
    assert_eq!(
        refused.expect_err("it has drained").code,
        Code::ClusterFenced
    );
    eventually("the seal is known", || async {
        nodes.state_of("n3", stream) == "sealed"
    })
    .await;
    // A second one finds it done.
    nodes["n1"].cluster.drain().await.expect("it is drained");
    nodes.owner = "n2";
    nodes.vanish("n1").await;
    let report = nodes.recover("n3", stream).await;
    assert_eq!((report.records, report.complete), (0, true));
    nodes.deliver("n3", Signal::Traces, spans(20..30)).await;
    assert_eq!(nodes.strong("n3", Table::Spans).await, once(0..30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_one_nodes_at_a_time_and_its_token_only_grows() {
    let nodes = Nodes::start(Quorum::DEFAULTS).await;
    let name = || "compaction".to_owned();
    let mut last = 0;
    for holder in ["n1", "n2", "n3", "n1"] {
        let token = retried(|| nodes[holder].cluster.lock(name(), 600_000)).await;
        assert!(token > last, "{token} after {last}");
        last = token;
        let other = if holder == "n2" { "n3" } else { "n2" };
        let refused = nodes[other].cluster.lock(name(), 600_000).await;
        assert_eq!(refused.expect_err("it is held").code, Code::MetadataRefused);
        retried(|| nodes[holder].cluster.unlock(name(), token)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_recover_what_it_writes_and_places_what_it_is_told_twice_once() {
    let nodes = Nodes::start(Quorum::DEFAULTS).await;
    let own = nodes["n2"].cluster.stream();
    let refused = nodes["n2"].cluster.recover(own).await;
    assert_eq!(refused.expect_err("its own").code, Code::ConfigInvalid);
    nodes.place();
    retried(|| {
        nodes["n3"]
            .cluster
            .configure("a/b".to_owned(), "[1]".to_owned())
    })
    .await;
    eventually("all nodes know it", || async {
        let known = |node: &str| nodes[node].cluster.metadata()["config"]["a/b"][0] == 1;
        ["n1", "n2", "n3"].into_iter().all(known)
    })
    .await;
}
