use std::sync::Arc;

use otlake_base::{Code, StreamId};

use crate::command::{Answer, Command};
use crate::state::{Followers, StreamState};
use crate::testing::{Nodes, eventually};

fn configure(key: &str, value: u64) -> Command {
    Command::Configure {
        key: key.to_owned(),
        value: Some(value.to_string()),
        expect: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_and_each_reads_what_any_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 1);
    nodes.found(&["a", "b", "c"]).await;
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        let group = &nodes.running[name];
        let answer = group.propose(configure(name, number as u64)).await.unwrap();
        assert!(matches!(answer, Answer::Configured { .. }), "{answer:?}");
        for reader in nodes.running.values() {
            let state = reader.read().await.unwrap();
            assert_eq!(&*state.settings[name].value, number.to_string());
        }
    }
    let stream = StreamId(7);
    let register = Command::RegisterStream {
        stream,
        owner: Arc::from("a"),
        followers: Followers::default(),
        acks: [1; 3],
    };
    nodes.running["b"].propose(register).await.unwrap();
    let state = nodes.running["c"].read().await.unwrap();
    assert_eq!(state.streams[&stream].state, StreamState::Open);
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_the_leader_is_gone_and_after_all_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 2);
    nodes.found(&["a", "b", "c"]).await;
    nodes.running["a"].propose(configure("k", 1)).await.unwrap();
    let leader = nodes.led().await;
    nodes.stop(&leader).await;
    let other = Arc::clone(nodes.running.values().next().unwrap());
    other.propose(configure("k", 2)).await.unwrap();
    assert_eq!(&*other.read().await.unwrap().settings["k"].value, "2");
    nodes.close().await;
    for name in ["a", "b", "c"] {
        nodes.start(name).await.unwrap();
    }
    for group in nodes.running.values() {
        assert_eq!(&*group.read().await.unwrap().settings["k"].value, "2");
    }
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_reach_the_leader_proposes_through_one_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 4);
    nodes.found(&["a", "b", "c"]).await;
    nodes.running["a"].propose(configure("k", 0)).await.unwrap();
    let leader = nodes.led().await;
    let apart = nodes.running.keys().find(|name| **name != leader).unwrap();
    let apart = Arc::clone(apart);
    nodes
        .network
        .part(&[Arc::clone(&leader)], &[Arc::clone(&apart)]);
    for number in 1..=5 {
        let answer = nodes.running[&apart].propose(configure("k", number)).await;
        assert!(
            matches!(answer, Ok(Answer::Configured { .. })),
            "{answer:?}"
        );
        let state = nodes.running[&leader].read().await.unwrap();
        assert_eq!(&*state.settings["k"].value, number.to_string());
    }
    nodes.network.heal();
    let state = nodes.running[&apart].read().await.unwrap();
    assert_eq!(&*state.settings["k"].value, "5");
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_is_a_group_and_is_so_again_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 3);
    let group = nodes.start("a").await.unwrap();
    let usual = nodes.timing;
    nodes.timing.request_ms = 500;
    let error = nodes
        .start("b")
        .await
        .unwrap()
        .propose(Command::Tick)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::MetadataUnavailable);
    nodes.timing = usual;
    group.bootstrap().await.unwrap();
    group.bootstrap().await.unwrap();
    group.propose(configure("k", 1)).await.unwrap();
    let id = group.group();
    assert_eq!(group.local().group, id.unwrap());
    nodes.close().await;
    let group = nodes.start("a").await.unwrap();
    assert_eq!(group.group(), id);
    assert_eq!(&*group.read().await.unwrap().settings["k"].value, "1");
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_does_so_by_the_groups_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 4);
    nodes.found(&["a", "b", "c"]).await;
    let acquire = |holder: &str| Command::AcquireLease {
        name: "spans".to_owned(),
        holder: holder.to_owned(),
        ttl_ms: 3_600_000,
    };
    let Answer::Leased { token, .. } = nodes.running["a"].propose(acquire("a")).await.unwrap()
    else {
        panic!("the lease was free");
    };
    let refused = nodes.running["b"].propose(acquire("b")).await.unwrap();
    assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
    // From here on it is held for a moment only.
    let renew = Command::RenewLease {
        name: "spans".to_owned(),
        token,
        ttl_ms: 700,
    };
    let renewed = nodes.running["a"].propose(renew).await.unwrap();
    assert!(!matches!(renewed, Answer::Refused(_)), "{renewed:?}");
    let group = Arc::clone(&nodes.running["c"]);
    eventually("the lease expires", || group.local().leases.held.is_empty()).await;
    let again = nodes.running["b"].propose(acquire("b")).await.unwrap();
    assert!(matches!(again, Answer::Leased { token: next, .. } if next > token));
    nodes.close().await;
}
