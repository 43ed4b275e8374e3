//! Nodes that vanish or stand still, and what the others make of their streams.

use std::time::Duration;

use otlake_base::{Code, FIRST_EPOCH, Signal, Table};
use otlake_consensus::{Answer, Command};
use otlake_replicate::Quorum;
use tokio::time::sleep;

use crate::requests::{logs, points, spans};
use crate::testing::{LOGS_ALONE, Nodes, eventually, once};

/// A few beats of an owner.
const BEATS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_rows_of_an_owner_that_vanished_are_there_once_at_every_other_node() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    for first in (0..40).step_by(10) {
        let numbers = first..first + 10;
        nodes
            .deliver("n2", Signal::Traces, spans(numbers.clone()))
            .await;
        nodes
            .deliver("n1", Signal::Logs, logs(numbers.clone()))
            .await;
        nodes.deliver("n3", Signal::Metrics, points(numbers)).await;
        if first == 10 {
            nodes["n1"].processor.flush().await.expect("a flush");
        }
    }
    nodes.copied("n1").await;
    let stream = nodes["n1"].cluster.stream();
    nodes.owner = "n2";
    nodes.vanish("n1").await;
    let report = nodes.recover("n3", stream).await;
    assert!(report.records >= 6, "{report:?}");
    let tables = [
        Table::Spans,
        Table::Logs,
        Table::MetricsGauge,
        Table::MetricsSum,
    ];
    for table in tables {
        for node in ["n2", "n3"] {
            assert_eq!(
                nodes.strong(node, table).await,
                once(0..40),
                "{table:?} {node}"
            );
        }
        // A stream is sealed when all of it is in files.
        assert_eq!(nodes.in_files("n2", table).await, once(0..40), "{table:?}");
    }
    for table in Table::ALL {
        let snapshot = nodes["n2"].processor.tables().handle(table).refresh().await;
        let epoch = snapshot.expect("a look").standing(stream).epoch;
        assert!(epoch > 1, "{table:?} was fenced before the seal");
    }
    let again = nodes.recover("n2", stream).await;
    assert_eq!((again.records, again.complete), (0, true));
    // It comes back, and finds nothing to bring.
    nodes.come_back("n1").await;
    eventually("the old stream is at its end", || async {
        nodes["n1"].processor.earlier_streams().is_empty()
            && nodes.state_of("n1", stream).is_empty()
    })
    .await;
    for table in tables {
        assert_eq!(nodes.strong("n1", table).await, once(0..40), "{table:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_request_that_is_sent_again_before_while_or_after_it_is_recovered_is_stored_once() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    for first in [0, 10, 20] {
        let body = spans(first..first + 10);
        let ack = nodes.deliver("n1", Signal::Traces, body).await;
        assert_eq!(ack.accepted, 10);
        if first == 0 {
            nodes["n1"].processor.flush().await.expect("a flush");
        }
    }
    let stream = nodes["n1"].cluster.stream();
    nodes.owner = "n2";
    nodes.vanish("n1").await;
    // It is in files, whether anybody was told that it is acknowledged or not.
    let before = nodes.deliver("n3", Signal::Traces, spans(0..10)).await;
    let (_, within) = tokio::join!(
        nodes.recover("n3", stream),
        nodes.deliver("n3", Signal::Traces, spans(10..20))
    );
    let after = nodes.deliver("n3", Signal::Traces, spans(20..30)).await;
    for ack in [before, within, after] {
        assert_eq!((ack.accepted, ack.rejected), (10, 0));
    }
    for node in ["n2", "n3"] {
        assert_eq!(
            nodes.strong(node, Table::Spans).await,
            once(0..30),
            "{node}"
        );
        nodes[node].processor.flush().await.expect("a flush");
    }
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..30));
}

/// As when a client did not hear the answer of the old owner, which goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_request_that_is_sent_again_after_its_shards_have_moved_is_stored_once() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    nodes["n1"].processor.flush().await.expect("a flush");
    nodes.deliver("n1", Signal::Traces, spans(10..20)).await;
    nodes.copied("n1").await;
    // The owner tells with its next beat what is acknowledged.
    tokio::time::sleep(BEATS).await;
    for owner in ["n2", "n3"] {
        nodes.owner = owner;
        nodes.place();
        for first in [0, 10] {
            let ack = nodes
                .deliver("n1", Signal::Traces, spans(first..first + 10))
                .await;
            assert_eq!((ack.accepted, ack.rejected), (10, 0));
        }
    }
    // A node that starts again knows what it holds copies of, and what is in files.
    nodes["n2"].processor.flush().await.expect("a flush");
    let stream = nodes["n2"].cluster.stream();
    nodes.vanish("n2").await;
    nodes.owner = "n2";
    nodes.come_back("n2").await;
    nodes.recover("n2", stream).await;
    tokio::time::sleep(BEATS).await;
    nodes.deliver("n3", Signal::Traces, spans(10..20)).await;
    let found = nodes.strong("n1", Table::Spans).await;
    assert_eq!(found, once(0..20));
}

/// There are no copies: who owns a shard now can know from the owner before alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_shards_new_owner_asks_the_one_before_what_it_has_stored() {
    let mut quorum = Quorum::DEFAULTS;
    (quorum[1].copies, quorum[1].acks) = (1, 1);
    let mut nodes = Nodes::start(quorum).await;
    nodes.deliver("n3", Signal::Metrics, points(0..10)).await;
    for owner in ["n3", "n2", "n1"] {
        nodes.owner = owner;
        nodes.place();
        let ack = nodes.deliver("n2", Signal::Metrics, points(0..10)).await;
        // In two tables.
        assert_eq!((ack.accepted, ack.rejected), (20, 0), "{owner}");
        let stream = nodes["n1"].cluster.stream().to_string();
        assert!(ack.session.is_some_and(|session| session.contains(&stream)));
        nodes.deliver("n3", Signal::Metrics, points(10..20)).await;
    }
    let found = nodes.strong("n2", Table::MetricsGauge).await;
    assert_eq!(found, once(0..20));
}

/// Log records are acknowledged at one copy: of those that it took last nobody else has any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i9_an_owner_that_wakes_after_its_stream_was_sealed_brings_what_it_alone_has_once() {
    let mut nodes = Nodes::start(LOGS_ALONE).await;
    nodes.deliver("n1", Signal::Logs, logs(0..10)).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    nodes["n1"].processor.flush().await.expect("a flush");
    nodes.deliver("n1", Signal::Traces, spans(10..20)).await;
    nodes.copied("n1").await;
    nodes.part("n1");
    nodes.deliver("n1", Signal::Logs, logs(10..20)).await;
    nodes.deliver("n1", Signal::Logs, logs(20..30)).await;
    let stream = nodes["n1"].cluster.stream();
    nodes.owner = "n2";
    nodes.place();
    nodes.recover("n3", stream).await;
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..20));
    assert_eq!(nodes.in_files("n3", Table::Logs).await, once(0..10));
    // It goes on, and has not heard anything: the tables tell it.
    let owner = &nodes["n1"];
    assert!(owner.processor.live().figures().rows > 0);
    owner
        .processor
        .flush()
        .await
        .expect("what is not its own is let go of");
    assert_eq!(nodes.in_files("n3", Table::Logs).await, once(0..10));
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..20));
    assert!(owner.cluster.status()["fenced"].as_u64().is_some());
    let refused = nodes.send("n1", Signal::Logs, logs(30..40)).await;
    refused.expect_err("nothing of the stream is acknowledged any more");
    // It starts anew, as the fence asks for.
    nodes.vanish("n1").await;
    nodes.come_back("n1").await;
    eventually("the old stream is at its end", || async {
        nodes["n1"].processor.earlier_streams().is_empty()
            && nodes.state_of("n1", stream).is_empty()
    })
    .await;
    for _ in 0..2 {
        for node in ["n1", "n2", "n3"] {
            assert_eq!(nodes.strong(node, Table::Logs).await, once(0..30), "{node}");
            assert_eq!(
                nodes.strong(node, Table::Spans).await,
                once(0..20),
                "{node}"
            );
        }
        nodes["n1"].processor.flush().await.expect("a flush");
    }
    assert_eq!(nodes.in_files("n2", Table::Logs).await, once(0..30));
}

/// As when it was cut off, was taken for dead, and is heard again before the others are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i9_a_stream_is_recovered_whole_while_its_owner_runs() {
    let mut nodes = Nodes::start(LOGS_ALONE).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    nodes.deliver("n2", Signal::Traces, spans(10..20)).await;
    nodes.copied("n1").await;
    let stream = nodes["n1"].cluster.stream();
    let fence = Command::FenceStream {
        stream,
        epoch: FIRST_EPOCH + 1,
        by: "n3".into(),
    };
    let fenced = nodes["n3"].cluster.group().propose(fence).await;
    assert!(matches!(fenced, Ok(Answer::Stream(_))), "{fenced:?}");
    nodes.owner = "n2";
    nodes.place();
    nodes.recover("n3", stream).await;
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..20));
    nodes.deliver("n3", Signal::Traces, spans(10..20)).await;
    assert_eq!(nodes.strong("n3", Table::Spans).await, once(0..20));
}

/// A node that was cut off takes all others for dead, and asks for their streams as soon as it reaches the
/// metadata group again, which is before it hears of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_node_that_was_cut_off_takes_over_no_stream_of_nodes_that_are_well() {
    let mut nodes = Nodes::start(Quorum::DEFAULTS).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    let stream = nodes["n1"].cluster.stream();
    // Whether it reaches the owner already, or another node that does.
    for reaches in [true, false] {
        nodes.mistake("n3", "n1", reaches);
        let recovering = nodes["n3"].cluster.recover(stream);
        let hears = async {
            sleep(BEATS).await;
            nodes.place();
        };
        let (refused, ()) = tokio::join!(recovering, hears);
        assert_eq!(refused.expect_err("it is there").code, Code::ClusterFenced);
        assert_eq!(nodes.state_of("n2", stream), "open");
    }
    nodes.deliver("n2", Signal::Traces, spans(10..20)).await;
    assert_eq!(nodes.strong("n3", Table::Spans).await, once(0..20));
    // One that others have taken over meanwhile does not even ask.
    let fence = Command::FenceStream {
        stream: nodes["n3"].cluster.stream(),
        epoch: FIRST_EPOCH + 1,
        by: "n2".into(),
    };
    let fenced = nodes["n2"].cluster.group().propose(fence).await;
    assert!(matches!(fenced, Ok(Answer::Stream(_))), "{fenced:?}");
    nodes.mistake("n3", "n1", true);
    let refused = nodes["n3"].cluster.recover(stream).await;
    assert_eq!(refused.expect_err("it is fenced").code, Code::ClusterFenced);
    nodes.vanish("n3").await;
    nodes.come_back("n3").await;
    // What the members go on to take for dead is, whatever still answers there.
    nodes.owner = "n2";
    nodes.place();
    for name in ["n2", "n3"] {
        nodes.mistake(name, "n1", true);
    }
    let report = nodes.recover("n3", stream).await;
    assert!(report.records >= 2, "{report:?}");
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..20));
}

/// What never had its quorum is in its owner's log alone, and is not kept of the stream. Its owner has
/// it in the window of resends all the same when it starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i2_what_was_not_kept_of_a_stream_is_stored_when_it_is_sent_again() {
    let mut nodes = Nodes::start(LOGS_ALONE).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    nodes.copied("n1").await;
    // Where it knows that nobody hears it, it refuses before its log has anything.
    loop {
        nodes.part_unaware("n1");
        let refused = nodes.send("n1", Signal::Traces, spans(10..20)).await;
        let refused = refused.expect_err("nobody else has it");
        assert_eq!(refused.code, Code::ClusterQuorum);
        if nodes["n1"].cluster.status()["pending"] == 1 {
            break;
        }
        nodes.heal("n1");
        nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    }
    let stream = nodes["n1"].cluster.stream();
    nodes.owner = "n2";
    nodes.place();
    nodes.vanish("n1").await;
    nodes.recover("n3", stream).await;
    assert_eq!(nodes.in_files("n3", Table::Spans).await, once(0..10));
    nodes.owner = "n1";
    nodes.come_back("n1").await;
    nodes.deliver("n3", Signal::Traces, spans(10..20)).await;
    nodes.deliver("n3", Signal::Traces, spans(0..10)).await;
    for node in ["n1", "n2", "n3"] {
        let found = nodes.strong(node, Table::Spans).await;
        assert_eq!(found, once(0..20), "{node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_node_that_starts_again_before_anybody_recovers_it_recovers_itself() {
    let mut nodes = Nodes::start(LOGS_ALONE).await;
    nodes.deliver("n1", Signal::Logs, logs(0..10)).await;
    nodes.deliver("n1", Signal::Traces, spans(0..10)).await;
    nodes["n1"].processor.flush().await.expect("a flush");
    nodes.deliver("n1", Signal::Logs, logs(10..20)).await;
    nodes.deliver("n1", Signal::Traces, spans(10..20)).await;
    let stream = nodes["n1"].cluster.stream();
    nodes.vanish("n1").await;
    nodes.come_back("n1").await;
    assert_eq!(nodes["n1"].processor.earlier_streams(), [stream]);
    let report = nodes.recover("n1", stream).await;
    assert_eq!(
        report.records, 2,
        "its own log has those that no file holds"
    );
    nodes.deliver("n2", Signal::Logs, logs(20..30)).await;
    for node in ["n1", "n3"] {
        assert_eq!(nodes.strong(node, Table::Logs).await, once(0..30), "{node}");
        assert_eq!(
            nodes.strong(node, Table::Spans).await,
            once(0..20),
            "{node}"
        );
    }
    eventually("the old stream is at its end", || async {
        nodes["n1"].processor.earlier_streams().is_empty()
    })
    .await;
}
