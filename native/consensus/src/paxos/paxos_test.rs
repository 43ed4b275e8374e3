use std::sync::Arc;

use crate::agreement::{AgreementAnswer, AgreementCommand, AgreementPort, Decision};
use crate::testing::{Nodes, eventually};

fn prepare(participant: &str) -> AgreementCommand {
    AgreementCommand::Prepare {
        transaction: "t".to_owned(),
        participant: participant.to_owned(),
        note: None,
    }
}

fn begin(ttl_ms: u64) -> AgreementCommand {
    AgreementCommand::Begin {
        transaction: "t".to_owned(),
        coordinator: "a".to_owned(),
        participants: ["spans", "logs"].map(str::to_owned).into(),
        ttl_ms,
    }
}

/// Has a transaction begun that one participant is prepared for, or both; what is decided of it is not
/// yet.
async fn begun(coordinator: &dyn AgreementPort, all: bool) {
    let mut ttl_ms = 1_500;
    loop {
        coordinator.propose(begin(ttl_ms)).await.unwrap();
        let mut prepared = coordinator.propose(prepare("spans")).await.unwrap();
        if all {
            prepared = coordinator.propose(prepare("logs")).await.unwrap();
        }
        if matches!(prepared, AgreementAnswer::Transaction(_)) {
            return;
        }
        // On a busy machine its time can be over before.
        finish(coordinator).await;
        ttl_ms *= 2;
    }
}

async fn finish(port: &dyn AgreementPort) {
    for participant in ["spans", "logs"] {
        let finish = AgreementCommand::Finish {
            transaction: "t".to_owned(),
            participant: participant.to_owned(),
        };
        port.propose(finish).await.unwrap().granted().unwrap();
    }
}

async fn all_in(nodes: &Nodes, members: usize) {
    eventually("Paxos has the voters as members", || {
        nodes.running.values().all(|group| {
            let status = group.status();
            status.paxos_members.len() == members && status.paxos_leader.is_some()
        })
    })
    .await;
}

async fn leader(nodes: &Nodes) -> Arc<str> {
    let known = || {
        nodes
            .running
            .values()
            .find_map(|group| group.status().paxos_leader)
    };
    eventually("Paxos has a leader", || known().is_some()).await;
    known().expect("it is known")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_has_one_holder_among_nodes_and_survives_all_starting_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 21);
    nodes.found(&["a", "b", "c"]).await;
    all_in(&nodes, 3).await;
    let port = |nodes: &Nodes, name: &str| nodes.running[name].agreement();
    let first = port(&nodes, "a").lock("l", "a", 60_000).await.unwrap();
    assert!(port(&nodes, "b").lock("l", "b", 60_000).await.is_err());
    nodes.close().await;
    for name in ["a", "b", "c"] {
        nodes.start(name).await.unwrap();
    }
    assert!(port(&nodes, "c").lock("l", "c", 60_000).await.is_err());
    port(&nodes, "b").unlock("l", first).await.unwrap();
    let second = port(&nodes, "c").lock("l", "c", 60_000).await.unwrap();
    assert!(second > first);
    for group in nodes.running.values() {
        let state = group.agreement().read().await.unwrap();
        assert!(state.locks.is_held("l", second));
    }
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_has_locks_and_takes_them_along_as_the_group_grows_and_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 22);
    nodes.found(&["a"]).await;
    let token = nodes.running["a"]
        .agreement()
        .lock("l", "a", 3_600_000)
        .await
        .unwrap();
    for name in ["b", "c", "d"] {
        nodes.start(name).await.unwrap();
    }
    let all = ["a", "b", "c", "d"];
    nodes.vote(&["a", "b", "c"], &all).await;
    eventually("three members", || {
        nodes.running["a"].status().paxos_members.len() == 3
    })
    .await;
    // A node that does not vote has them through the others.
    let learner = nodes.running["d"].agreement();
    assert!(learner.read().await.unwrap().locks.is_held("l", token));
    assert!(learner.lock("l", "d", 1000).await.is_err());
    let other = learner.lock("m", "d", 3_600_000).await.unwrap();
    assert!(other > token);
    nodes.vote(&["b", "c", "d"], &["b", "c", "d"]).await;
    nodes.stop("a").await;
    eventually("other members", || {
        let members = nodes.running["d"].status().paxos_members;
        members == ["b", "c", "d"].map(Arc::from)
    })
    .await;
    let state = nodes.running["d"].agreement().read().await.unwrap();
    assert!(state.locks.is_held("l", token) && state.locks.is_held("m", other));
    nodes.vote(&["c"], &["c", "d"]).await;
    eventually("one member", || {
        nodes.running["c"].status().paxos_members.len() == 1
    })
    .await;
    let port = nodes.running["c"].agreement();
    assert!(port.lock("n", "c", 1000).await.unwrap() > other);
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_coordinator_is_gone_ends_the_same_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 23);
    nodes.found(&["a", "b", "c"]).await;
    all_in(&nodes, 3).await;
    for (all, expected) in [(true, Decision::Committed), (false, Decision::Aborted)] {
        all_in(&nodes, 3).await;
        let leader = leader(&nodes).await;
        let coordinator = nodes.running[&leader].agreement();
        begun(&*coordinator, all).await;
        nodes.stop(&leader).await;
        let others: Vec<_> = nodes
            .running
            .values()
            .map(|group| group.agreement())
            .collect();
        for port in &others {
            eventually("it is decided", || {
                let state = port.local();
                let transaction = state.transactions.get("t");
                transaction.is_some_and(|it| it.decision.is_some())
            })
            .await;
            assert_eq!(port.local().transactions["t"].decision, Some(expected));
        }
        let late = others[0].propose(AgreementCommand::Commit {
            transaction: "t".to_owned(),
        });
        let agreed = matches!(late.await.unwrap(), AgreementAnswer::Transaction(_));
        assert_eq!(agreed, all);
        finish(&*others[0]).await;
        assert!(others[1].read().await.unwrap().transactions.is_empty());
        nodes.start(&leader).await.unwrap();
    }
    nodes.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_that_is_away_or_cut_off_changes_nothing_and_comes_back_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), 24);
    nodes.found(&["a", "b", "c"]).await;
    all_in(&nodes, 3).await;
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
    let mut last = 0;
    for away in &names {
        let others: Vec<Arc<str>> = names.iter().filter(|name| *name != away).cloned().collect();
        nodes.network.part(std::slice::from_ref(away), &others);
        for round in 0..5 {
            let port = nodes.running[&others[round % 2]].agreement();
            let token = port
                .lock(&format!("{away}{round}"), "x", 600_000)
                .await
                .unwrap();
            assert!(token > last);
            last = token;
        }
        nodes.network.heal();
        nodes.network.disturb(100, 10);
        let back = nodes.running[away].agreement();
        assert_eq!(back.read().await.unwrap().locks.last_token, last);
        nodes.network.disturb(0, 0);
    }
    nodes.close().await;
}
