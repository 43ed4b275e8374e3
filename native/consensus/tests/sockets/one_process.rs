use std::net::SocketAddr;
use std::sync::Arc;

use otlake_consensus::testing::{answered, eventually};
use otlake_consensus::{Answer, Command};

use crate::node::Node;

fn set(key: &str, value: u64) -> Command {
    Command::Configure {
        key: key.to_owned(),
        value: Some(value.to_string()),
        expect: None,
    }
}

/// Starts nodes that know each other and are all voters.
async fn together(folder: &std::path::Path, names: &[&str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(Node::start(name, folder).await);
    }
    let members: Vec<(Arc<str>, SocketAddr)> = nodes.iter().map(Node::member).collect();
    for node in &nodes {
        node.peers.set_members(members.clone());
    }
    nodes[0].group.bootstrap().await.unwrap();
    let voters: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
    for node in &nodes {
        node.group.set_voters(&voters, None).unwrap();
    }
    eventually("all vote, in Raft and in Paxos", || {
        nodes.iter().all(|node| {
            let status = node.group.status();
            status.voters.len() == names.len() && status.paxos_members.len() == names.len()
        })
    })
    .await;
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_and_five_nodes_over_sockets_agree_and_go_on_without_a_minority() {
    for names in [&["a", "b", "c"][..], &["a", "b", "c", "d", "e"]] {
        let folder = tempfile::tempdir().unwrap();
        let nodes = together(folder.path(), names).await;
        for (number, node) in nodes.iter().enumerate() {
            let proposal = || node.group.propose(set(&node.name, number as u64));
            let answer = answered("a proposal", proposal).await;
            assert!(matches!(answer, Answer::Configured { .. }));
        }
        let port = nodes[1].group.agreement();
        let token = answered("a lock", || port.lock("l", "b", 600_000)).await;
        // Those that are no members any more have no connections.
        let gone = names.len() / 2;
        let left: Vec<_> = nodes[gone..].iter().map(Node::member).collect();
        for node in &nodes[gone..] {
            node.peers.set_members(left.clone());
        }
        for node in &nodes[..gone] {
            node.peers.set_members(vec![node.member()]);
        }
        for node in &nodes[gone..] {
            answered("a later one", || node.group.propose(set("later", 1))).await;
            let state = answered("a read", || node.group.read()).await;
            assert_eq!(state.settings.len(), names.len() + 1);
            let port = node.group.agreement();
            let locks = answered("a read of locks", || port.read()).await;
            assert!(locks.locks.is_held("l", token));
        }
        assert!(nodes[0].group.propose(set("lost", 1)).await.is_err());
        for node in &nodes {
            node.close().await;
        }
    }
}
