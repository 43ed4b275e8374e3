use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use otlake_base::Code;
use tokio::net::{TcpListener, TcpStream};

use crate::config::{
    CALL_BYTES, MAX_CALLS, MAX_CONNECTIONS_OF_ONE, MAX_MESSAGE_BYTES, PeerConfig, SMALL_CALL_BYTES,
};
use crate::connection::{client, server};
use crate::handshake::{Identity, dial, listen, welcome};
use crate::message::{Piece, TIMEOUT, read_error};
use crate::testing::{CARRIED, HELD, Node, SECRET, SOON, config, impatient, pair, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_get_each_its_own_answer_over_one_connection() {
    let (a, b) = pair().await;
    let calls = (0..100usize).map(|index| {
        let body = Bytes::from(vec![index as u8; index * 3_001]);
        let a = &a;
        let b = &b;
        async move { (a.echo(b, body.clone()).await.unwrap(), body) }
    });
    for (answer, body) in join_all(calls).await {
        assert_eq!(answer, body);
    }
    let text = b.metrics.encode();
    assert!(
        text.contains(r#"otlake_peer_connections{peer="a",direction="in"} 1"#),
        "{text}"
    );
    let text = a.metrics.encode();
    assert!(
        text.contains(r#"otlake_peer_calls_total{peer="b",outcome="ok"} 100"#),
        "{text}"
    );
    let bytes: usize = (0..100).map(|index| index * 3_001).sum();
    assert!(text.contains(&format!(
        r#"otlake_peer_sent_bytes_total{{peer="b"}} {bytes}"#
    )));
    assert!(text.contains(&format!(
        r#"otlake_peer_received_bytes_total{{peer="b"}} {bytes}"#
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_comes_back_with_its_code_and_message() {
    let (a, _b) = pair().await;
    for code in Code::ALL {
        let body = Bytes::from_static(code.as_str().as_bytes());
        let error = a.peers.call("b", "refuse", body, SOON).await.unwrap_err();
        assert_eq!((error.code, &*error.message), (*code, CARRIED));
    }
    let unknown = a.peers.call("b", "nothing", Bytes::new(), SOON).await;
    assert_eq!(unknown.unwrap_err().code, Code::PeerUnreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_greatest_size_passes_and_one_byte_more_does_not() {
    let (a, b) = pair().await;
    let largest = Bytes::from(vec![9; MAX_MESSAGE_BYTES]);
    assert!(a.echo(&b, largest.clone()).await.unwrap() == largest);
    let larger = Bytes::from(vec![9; MAX_MESSAGE_BYTES + 1]);
    let refused = a.echo(&b, larger).await.unwrap_err();
    assert_eq!(refused.code, Code::PeerTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_call_on_both_sides() {
    let (a, b) = pair().await;
    let short = Duration::from_millis(50);
    let late = a.peers.call("b", "wait", Bytes::new(), short).await;
    assert_eq!(late.unwrap_err().code, Code::PeerTimeout);
    until("the work ends", || b.hands.ended() == b.hands.begun()).await;
    // The connection is as good as before.
    assert_eq!(a.echo(&b, Bytes::from_static(b"on")).await.unwrap(), "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_travels_with_the_call() {
    let b = Node::start(config("b")).await;
    let own = Identity::new("a".into(), "test".into(), Some(SECRET)).unwrap();
    let mut stream = TcpStream::connect(b.peers.address()).await.unwrap();
    dial(&mut stream, &own, "b").await.unwrap();
    let (sender, connection) = client().handshake::<_, Piece>(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::post("http://peer/call/wait").header(TIMEOUT, 50_000);
    let mut sender = sender.ready().await.unwrap();
    let (response, _body) = sender
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let error = read_error(response.await.unwrap().headers()).unwrap();
    assert_eq!(error.code, Code::PeerTimeout);
    assert_eq!((b.hands.begun(), b.hands.ended()), (1, 1));
    driving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_ends_the_work() {
    let (a, b) = pair().await;
    let call = a.peers.call("b", "wait", Bytes::new(), SOON);
    let begun = until("the work begins", || b.hands.begun() == 1);
    tokio::select! {
        _ = call => panic!("nobody let it go"),
        () = begun => {}
    }
    until("the work ends", || b.hands.ended() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_refused_at_once() {
    let (a, b) = pair().await;
    let held: Vec<_> = (0..MAX_CALLS)
        .map(|_| {
            let peers = a.peers.clone();
            tokio::spawn(async move { peers.call("b", "wait", Bytes::new(), HELD).await })
        })
        .collect();
    until("all are there", || b.hands.begun() == MAX_CALLS).await;
    let refused = a.echo(&b, Bytes::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::PeerOverloaded);
    b.hands.go.add_permits(MAX_CALLS);
    for call in held {
        call.await.unwrap().unwrap();
    }
    a.echo(&b, Bytes::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_calls_beyond_the_room_are_refused_at_once_and_small_ones_pass() {
    let (a, b) = pair().await;
    let large = Bytes::from(vec![1; CALL_BYTES / 4]);
    let held: Vec<_> = (0..4)
        .map(|_| {
            let (peers, large) = (a.peers.clone(), large.clone());
            tokio::spawn(async move { peers.call("b", "wait", large, HELD).await })
        })
        .collect();
    until("all are there", || b.hands.begun() == 4).await;
    for _ in 0..100 {
        let refused = a.echo(&b, large.clone()).await.unwrap_err();
        assert_eq!(refused.code, Code::PeerOverloaded);
    }
    let small = Bytes::from(vec![2; SMALL_CALL_BYTES]);
    assert_eq!(a.echo(&b, small.clone()).await.unwrap(), small);
    b.hands.go.add_permits(4);
    for call in held {
        assert!(call.await.unwrap().unwrap() == large);
    }
    assert!(a.echo(&b, large.clone()).await.unwrap() == large);
}

/// The refusal can come before the body has begun to be sent: then there is nothing to send it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 32)]
async fn a_refusal_that_is_there_before_the_body_is_told_as_it_is() {
    let (a, b) = pair().await;
    let (peers, large) = (&a.peers, Bytes::from(vec![1; CALL_BYTES / 4]));
    let held: Vec<_> = (0..4)
        .map(|_| {
            let (peers, large) = (peers.clone(), large.clone());
            tokio::spawn(async move { peers.call("b", "wait", large, HELD).await })
        })
        .collect();
    until("all are there", || b.hands.begun() == 4).await;
    let callers = (0..64).map(|_| {
        let (peers, large) = (peers.clone(), large.clone());
        tokio::spawn(async move {
            for _ in 0..500 {
                let refused = peers
                    .call("b", "echo", large.clone(), HELD)
                    .await
                    .unwrap_err();
                assert_eq!(refused.code, Code::PeerOverloaded, "{}", refused.message);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    b.hands.go.add_permits(4);
    for call in held {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_fails_its_calls_at_once_and_is_found_when_it_is_back() {
    let (a, b) = pair().await;
    let call = a.peers.call("b", "wait", Bytes::new(), SOON);
    let dying = async {
        until("the work begins", || b.hands.begun() == 1).await;
        b.peers.close().await;
    };
    let (ended, ()) = tokio::join!(call, dying);
    assert_eq!(ended.unwrap_err().code, Code::PeerUnreachable);
    until("its work ends", || b.hands.ended() == 1).await;
    assert_eq!(b.hands.begun(), 1);

    let refused = a.echo(&b, Bytes::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::PeerUnreachable);

    let listen = b.peers.address();
    let again = Node::start(PeerConfig {
        listen,
        ..config("b")
    })
    .await;
    let mut tries = 0;
    while a.echo(&again, Bytes::new()).await.is_err() {
        tries += 1;
        assert!(tries < 1_000, "it is never found");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_told_to_both_whoever_made_it_and_one_that_was_ended_is_not() {
    let (a, b) = pair().await;
    let told = |node: &Node| {
        let (tell, told) = std::sync::mpsc::channel();
        node.peers
            .on_lost(Box::new(move |lost| tell.send(lost.to_owned()).unwrap()));
        told
    };
    let (by_a, by_b) = (told(&a), told(&b));
    a.echo(&b, Bytes::new()).await.unwrap();
    b.echo(&a, Bytes::new()).await.unwrap();
    a.peers.set_members(vec![]);
    // Both connections end, since the other node is no member of this one's any more.
    let told = tokio::task::spawn_blocking(move || [by_b.recv(), by_b.recv()]);
    assert_eq!(
        told.await.unwrap(),
        [Ok("a".to_owned()), Ok("a".to_owned())]
    );
    assert!(by_a.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_reached_is_not_dialled_for_each_call() {
    let a = Node::start_at(config("a"), impatient()).await;
    // A socket that takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    a.peers.set_members(vec![("b".into(), address)]);
    let calls = (0..50).map(|_| a.peers.call("b", "echo", Bytes::new(), SOON));
    for ended in join_all(calls).await {
        assert_eq!(ended.unwrap_err().code, Code::PeerUnreachable);
    }
    let accepted = silent.accept().await.map(drop);
    assert!(accepted.is_ok());
    let more = tokio::time::timeout(Duration::from_millis(10), silent.accept()).await;
    assert!(more.is_err(), "one attempt serves all who wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_why_and_counted() {
    let b = Node::start(config("b")).await;
    let cases = [
        (
            PeerConfig {
                secret: Some([8; 32]),
                ..config("a")
            },
            "secret",
        ),
        (
            PeerConfig {
                secret: None,
                ..config("a")
            },
            "secret",
        ),
        (
            PeerConfig {
                cluster: "other".into(),
                ..config("a")
            },
            "cluster",
        ),
    ];
    for (config, reason) in cases {
        let before = b.refused(reason);
        let a = Node::start(config).await;
        a.knows(&[&b]);
        let refused = a.echo(&b, Bytes::new()).await.unwrap_err();
        assert_eq!(refused.code, Code::PeerRefused, "{refused}");
        until("it is counted", || b.refused(reason) == before + 1).await;
    }
    // Another node listens where b is thought to be.
    let a = Node::start(config("a")).await;
    a.peers.set_members(vec![("c".into(), b.peers.address())]);
    let refused = a.peers.call("c", "echo", Bytes::new(), SOON).await;
    assert_eq!(refused.unwrap_err().code, Code::PeerRefused);
    until("it is counted", || b.refused("name") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_is_cut_off_both_ways() {
    let (a, b) = pair().await;
    a.echo(&b, Bytes::new()).await.unwrap();
    b.echo(&a, Bytes::new()).await.unwrap();
    let held = a.peers.call("b", "wait", Bytes::new(), SOON);
    let removing = async {
        until("the work begins", || b.hands.begun() == 1).await;
        b.knows(&[&b]);
    };
    let (held, ()) = tokio::join!(held, removing);
    assert_eq!(held.unwrap_err().code, Code::PeerUnreachable);
    // The first may still meet the connection that breaks; it is not taken back anew.
    let mut tries = 0;
    while b.refused("stranger") == 0 {
        let there = a.echo(&b, Bytes::new()).await.unwrap_err();
        assert_eq!(there.code, Code::PeerUnreachable);
        tries += 1;
        assert!(tries < 1_000, "it is never refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let back = b.echo(&a, Bytes::new()).await.unwrap_err();
    assert_eq!(back.code, Code::PeerUnreachable);
    until("both connections are closed", || {
        let closed = r#"otlake_peer_connections{peer="b",direction="in"} 0"#;
        a.metrics.encode().contains(closed)
    })
    .await;
    // It may come back.
    b.knows(&[&a, &b]);
    let mut tries = 0;
    while a.echo(&b, Bytes::new()).await.is_err() {
        tries += 1;
        assert!(tries < 1_000, "it is never let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_moves_is_reached_where_it_is() {
    let (a, b) = pair().await;
    a.echo(&b, Bytes::new()).await.unwrap();
    let moved = Node::start(config("b")).await;
    a.knows(&[&moved]);
    a.echo(&moved, Bytes::from_static(b"new")).await.unwrap();
    assert!(
        moved
            .metrics
            .encode()
            .contains(r#"otlake_peer_served_total{peer="a"} 1"#)
    );
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_other_side_fell_silent_is_given_up() {
    let a = Node::start_at(config("a"), impatient()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.peers
        .set_members(vec![("b".into(), listener.local_addr().unwrap())]);
    let own = Identity::new("b".into(), "test".into(), Some(SECRET)).unwrap();
    let silent = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        listen(&mut stream, &own).await.unwrap();
        welcome(&mut stream).await.unwrap();
        let mut connection = server().handshake::<_, Piece>(stream).await.unwrap();
        let request = connection.accept().await.unwrap().unwrap();
        // As a machine that lost its power: the socket stays, nothing answers.
        (connection, request)
    };
    let call = a.peers.call("b", "echo", Bytes::new(), SOON);
    let (ended, _kept) = tokio::join!(call, silent);
    assert_eq!(ended.unwrap_err().code, Code::PeerUnreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_holds_few_connections_of_another_and_the_newest_stay() {
    let b = Node::start(config("b")).await;
    let own = Identity::new("a".into(), "test".into(), Some(SECRET)).unwrap();
    let mut driving = Vec::new();
    for _ in 0..=MAX_CONNECTIONS_OF_ONE {
        let mut stream = TcpStream::connect(b.peers.address()).await.unwrap();
        dial(&mut stream, &own, "b").await.unwrap();
        let (sender, connection) = client().handshake::<_, Piece>(stream).await.unwrap();
        driving.push((sender, tokio::spawn(connection)));
    }
    until("the oldest is closed", || driving[0].1.is_finished()).await;
    assert!(
        driving[1..]
            .iter()
            .all(|(_, connection)| !connection.is_finished())
    );
    for (_, connection) in driving {
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_or_sent_after_close() {
    let (a, b) = pair().await;
    a.echo(&b, Bytes::new()).await.unwrap();
    a.peers.close().await;
    a.peers.close().await;
    let ended = a.echo(&b, Bytes::new()).await.unwrap_err();
    assert_eq!(ended.code, Code::PeerUnreachable);
    let ended = b.echo(&a, Bytes::new()).await.unwrap_err();
    assert_eq!(ended.code, Code::PeerUnreachable);
    assert!(TcpStream::connect(a.peers.address()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let a = Node::start(config("a")).await;
    let taken = PeerConfig {
        listen: a.peers.address(),
        ..config("b")
    };
    let nameless = PeerConfig {
        name: "".into(),
        ..config("b")
    };
    for (config, code) in [
        (taken, Code::NodePortTaken),
        (nameless, Code::ConfigInvalid),
    ] {
        let metrics = Arc::new(otlake_base::Metrics::new());
        let clock = Arc::new(otlake_base::SystemClock);
        let started = crate::Peers::start(config, crate::Services::new(), clock, metrics).await;
        assert_eq!(started.err().unwrap().code, code);
    }
}
