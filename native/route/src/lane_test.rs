use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use otlake_base::{Code, Result, Signal};
use otlake_receive::Ack;
use parking_lot::Mutex;

use crate::bundle::{BUNDLE_BYTES, BUNDLE_SLICES};
use crate::lane::{MAX_SLICES, MAX_SLICES_BYTES, UNDER_WAY};
use crate::lane_testing::{HEAD, Node, Streams, pair, sends, until};

/// As many messages as may be under way, each with a slice that waits.
async fn busy(a: &Arc<Node>, b: &Node) -> Vec<tokio::task::JoinHandle<Result<Ack>>> {
    let mut sent = Vec::new();
    for number in 0..UNDER_WAY {
        sent.extend(sends(a, 1, |_| vec![0; 10]).await);
        // It does not wait for those before it.
        until("it is there", || b.owner.given() == number + 1).await;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_goes_at_once_while_few_are_under_way_and_those_that_wait_go_together() {
    let (a, b) = pair(Streams::Served).await;
    let first = busy(&a, &b).await;
    let mut waiting = Vec::new();
    for number in 0..10 {
        let (a, body) = (a.clone(), vec![0; 11 + number]);
        let mut asked = Box::pin(async move { a.send(&body).await });
        assert!(futures::poll!(&mut asked).is_pending());
        waiting.push(asked);
    }
    b.owner.go.add_permits(100);
    for (number, sent) in first.into_iter().enumerate() {
        assert_eq!(sent.await.unwrap().unwrap().accepted, 10, "{number}");
    }
    for (number, answer) in join_all(waiting).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().accepted, 11 + number as u64);
    }
    assert_eq!(b.owner.given(), UNDER_WAY + 10);
    let messages = a.messages();
    assert!(
        messages < (UNDER_WAY + 10) as u64,
        "{messages} messages for {} slices",
        UNDER_WAY + 10
    );
    assert_eq!(b.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_all_signals_and_tenants_go_together_and_each_has_its_own_outcome() {
    let (a, b) = pair(Streams::Served).await;
    let blocking = busy(&a, &b).await;
    let refusals = [
        Code::LogFull,
        Code::ClusterFenced,
        Code::ClusterQuorum,
        Code::OtlpMalformed,
        Code::IngestOverloaded,
    ];
    let mut wanted = Vec::new();
    for (number, code) in refusals.into_iter().enumerate() {
        for signal in Signal::ALL {
            wanted.push((signal, format!("tenant-{number}"), Some(code)));
            wanted.push((signal, format!("tenant-{number}"), None));
        }
    }
    let sent = wanted.iter().map(|(signal, tenant, code)| {
        let body = match code {
            Some(code) => format!("refuse {}", code.as_str()),
            None => format!("stored of {tenant}"),
        };
        let a = &a;
        async move { a.send_as(*signal, tenant, body.as_bytes()).await }
    });
    let sent = join_all(sent);
    let go = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        b.owner.go.add_permits(1_000);
    };
    // What is no slice is told so, and the others of its message are stored.
    let none = async {
        let to: Arc<str> = "b".into();
        let answered = a.lanes.send(&to, Bytes::from_static(b"?")).await;
        answered.unwrap_err().code
    };
    let (outcomes, (), none) = tokio::join!(sent, go, none);
    assert_eq!(none, Code::PeerProtocol);
    for ((_, tenant, code), outcome) in wanted.iter().zip(outcomes) {
        match code {
            Some(code) => {
                let error = outcome.unwrap_err();
                assert_eq!((error.code, &*error.message), (*code, "told to refuse"));
            }
            None => assert_eq!(outcome.unwrap().accepted, 10 + tenant.len() as u64),
        }
    }
    for sent in blocking {
        sent.await.unwrap().unwrap();
    }
    let given = b.owner.given.lock();
    let of: HashSet<(u8, Arc<str>)> = given
        .iter()
        .map(|(of, to, ..)| (*of as u8, to.clone()))
        .collect();
    assert_eq!(of.len(), 1 + 3 * refusals.len());
    let connections: HashSet<u64> = given
        .iter()
        .map(|(_, _, connection, _)| *connection)
        .collect();
    assert_eq!(connections.len(), 1);
    assert!((a.messages() as usize) < wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_leave_in_the_order_in_which_they_were_sent_in_messages_of_bounded_size() {
    let recorded = Arc::new(Mutex::default());
    let (a, _b) = pair(Streams::Recorded(recorded.clone())).await;
    let mut sent = Vec::new();
    for number in 0..400u64 {
        let a = a.clone();
        // Sizes of all kinds, below and beyond what fits together.
        let body = [
            &number.to_le_bytes()[..],
            &vec![0; (number as usize * 7_919) % 90_000],
        ]
        .concat();
        let mut asked = Box::pin(async move { a.send(&body).await });
        // It gets its place when it is first asked for, and can be answered before that returns.
        match futures::poll!(&mut asked) {
            Poll::Ready(answer) => drop(answer.unwrap()),
            Poll::Pending => sent.push(asked),
        }
        if number % 50 == 49 {
            for answer in join_all(std::mem::take(&mut sent)).await {
                answer.unwrap();
            }
        }
    }
    let recorded = recorded.lock();
    let bytes = |message: &Vec<Bytes>| message.iter().map(Bytes::len).sum::<usize>();
    assert!(
        recorded
            .iter()
            .all(|message| message.len() <= BUNDLE_SLICES)
    );
    assert!(
        recorded
            .iter()
            .all(|message| bytes(message) <= BUNDLE_BYTES)
    );
    let of = |slice: &Bytes| u64::from_le_bytes(slice[HEAD..HEAD + 8].try_into().unwrap());
    let numbers: Vec<u64> = recorded.iter().flatten().map(of).collect();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_slow_does_not_hold_up_those_that_went_with_it_or_come_later() {
    let (a, b) = pair(Streams::Served).await;
    let slow = sends(&a, UNDER_WAY + 3, |_| vec![0; 10]).await;
    until("all are there, late", || b.owner.given() == UNDER_WAY + 3).await;
    for _ in 0..20 {
        assert_eq!(a.send(b"free").await.unwrap().accepted, 4);
    }
    assert!(slow.iter().all(|slow| !slow.is_finished()));
    b.owner.go.add_permits(UNDER_WAY + 3);
    for slow in slow {
        slow.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_owner_is_bounded_and_whoever_goes_makes_room() {
    let (a, b) = pair(Streams::Served).await;
    let sent = sends(&a, MAX_SLICES, |_| vec![0; 10]).await;
    until("all are there", || b.owner.given() == MAX_SLICES).await;
    let refused = a.send(b"free").await.unwrap_err();
    assert_eq!(refused.code, Code::PeerOverloaded);
    for sent in &sent {
        sent.abort();
    }
    for sent in sent {
        assert!(sent.await.unwrap_err().is_cancelled());
    }
    // The owner holds them still, and says so.
    let refused = a.send(b"free").await.unwrap_err();
    assert_eq!(refused.code, Code::PeerOverloaded);
    b.owner.go.add_permits(MAX_SLICES);
    until("they are stored", || b.owner.ended() == MAX_SLICES).await;
    // The owner's answers come one by one, and each makes room.
    let mut tries = 0;
    while a.send(b"free").await.is_err() {
        tries += 1;
        assert!(tries < 4_000, "there is never room again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let large = |_| vec![0; BUNDLE_BYTES / 2];
    let fit = MAX_SLICES_BYTES / (BUNDLE_BYTES / 2 + 1_000);
    let sent = sends(&a, fit, large).await;
    until("they are there", || b.owner.given() >= MAX_SLICES + fit).await;
    let refused = a.send(&vec![0; BUNDLE_BYTES - 100]).await.unwrap_err();
    assert_eq!(refused.code, Code::PeerOverloaded);
    b.owner.go.add_permits(fit);
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_slice_is_a_call_of_its_own() {
    let (a, b) = pair(Streams::Served).await;
    b.owner.go.add_permits(2);
    let ack = a.send(&vec![1; BUNDLE_BYTES]).await.unwrap();
    assert_eq!(ack.accepted, BUNDLE_BYTES as u64);
    assert_eq!((b.calls(), a.messages()), (1, 0));
    let ack = a.send(&vec![1; BUNDLE_BYTES - 100]).await.unwrap();
    assert_eq!(ack.accepted, BUNDLE_BYTES as u64 - 100);
    assert_eq!((b.calls(), a.messages()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_release_that_knows_no_such_stream_gets_calls() {
    let (a, b) = pair(Streams::Unknown).await;
    let sent = sends(&a, 20, |number| vec![0; number]).await;
    until("all are there", || b.owner.given() == 20).await;
    b.owner.go.add_permits(20);
    for (number, sent) in sent.into_iter().enumerate() {
        assert_eq!(sent.await.unwrap().unwrap().accepted, number as u64);
    }
    assert_eq!(b.calls(), 20);
    assert_eq!(a.messages(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_a_fault_to_try_again_for_all_that_was_sent_and_is_opened_anew() {
    let (a, b) = pair(Streams::Served).await;
    let sent = sends(&a, 30, |_| vec![0; 10]).await;
    until("all are there", || b.owner.given() == 30).await;
    b.peers.close().await;
    for sent in sent {
        let error = sent.await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::PeerUnreachable, "{error}");
    }
    // What the owner was at is dropped where it stood.
    until("it is dropped", || b.owner.ended() == 30).await;
    let error = a.send(b"free").await.unwrap_err();
    assert_eq!(error.code, Code::PeerUnreachable);

    let again = Node::start("b", Streams::Served).await;
    let of = |node: &Node| (node.peers.name().clone(), node.peers.address());
    for node in [&a, &again] {
        node.peers.set_members(vec![of(&a), of(&again)]);
    }
    a.send(b"free").await.unwrap();
    let before = a.messages();
    // By calls for a while, and then over a stream again.
    for _ in 0..1_000 {
        a.send(b"free").await.unwrap();
        if a.messages() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no stream was opened anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_ends_the_stream_fails_what_it_was_sent_and_the_rest_goes_by_calls() {
    let (a, b) = pair(Streams::Broken).await;
    b.owner.go.add_permits(1_000);
    let sent = sends(&a, 40, |_| vec![0; 10]).await;
    let (mut stored, mut failed) = (0, 0);
    for sent in sent {
        match sent.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.message, "it broke");
                failed += 1;
            }
        }
    }
    assert_eq!(stored + failed, 40);
    assert_eq!(b.calls(), stored);
    assert!(failed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_whose_client_has_gone_before_it_was_sent_is_not_sent() {
    let (a, b) = pair(Streams::Served).await;
    let first = busy(&a, &b).await;
    for _ in 0..5 {
        // It waits for the others as soon as it is asked for, and is dropped at once.
        let mut gone = Box::pin(a.send(b"gone"));
        assert!(futures::poll!(&mut gone).is_pending());
    }
    b.owner.go.add_permits(100);
    a.send(b"last").await.unwrap();
    for first in first {
        first.await.unwrap().unwrap();
    }
    let given = b.owner.given.lock();
    assert!(given.iter().all(|(.., body)| &body[..] != b"gone"));
}
