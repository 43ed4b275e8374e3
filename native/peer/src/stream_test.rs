use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use otlake_base::Code;

use crate::config::{
    MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, MAX_STREAMS, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES,
};
use crate::testing::{pair, until};

/// A stream on which nothing goes for so long stands still.
const STILL: Duration = Duration::from_secs(1);

fn number(message: Option<Bytes>) -> u64 {
    u64::from_le_bytes(message.unwrap()[..].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_carries_messages_of_any_size_both_ways_in_order() {
    let (a, b) = pair().await;
    let (mut outgoing, mut incoming) = a
        .peers
        .open("b", "echo", Bytes::from_static(b"head"))
        .await
        .unwrap();
    let sizes = [
        0, 1, 4_095, 4_096, 400_000, 0, 1_048_572, 1_048_573, 9_000_000, 3,
    ];
    let sending = async {
        for (index, size) in sizes.into_iter().enumerate() {
            let message = Bytes::from(vec![index as u8; size]);
            outgoing.send(message).await.unwrap();
        }
        outgoing.finish().await.unwrap();
    };
    let receiving = async {
        assert_eq!(incoming.next().await.unwrap().unwrap(), "head");
        for (index, size) in sizes.into_iter().enumerate() {
            let message = incoming.next().await.unwrap().unwrap();
            assert_eq!(message, vec![index as u8; size]);
        }
        assert_eq!(incoming.next().await.unwrap(), None);
        assert_eq!(incoming.next().await.unwrap(), None);
    };
    tokio::join!(sending, receiving);
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_handed_over_in_parts_arrives_as_one() {
    let (a, _b) = pair().await;
    let opened = a.peers.open("b", "echo", Bytes::new()).await;
    let (mut outgoing, mut incoming) = opened.unwrap();
    assert_eq!(incoming.next().await.unwrap().unwrap(), "");
    // More parts than one vectored write takes, small ones and some of more than a frame.
    for sizes in [
        vec![],
        vec![0, 0],
        vec![1; 100],
        vec![9, 700_000, 0, 800_000, 3],
    ] {
        let parts: Vec<Bytes> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| Bytes::from(vec![at as u8; *size]))
            .collect();
        outgoing.send_parts(parts.clone()).await.unwrap();
        let message = incoming.next().await.unwrap().unwrap();
        assert!(message == parts.concat(), "{sizes:?}");
    }
    let half = Bytes::from(vec![0; MAX_MESSAGE_BYTES / 2 + 1]);
    let refused = outgoing.send_parts(vec![half.clone(), half]).await;
    assert_eq!(refused.unwrap_err().code, Code::PeerTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_holds_a_window_and_no_more_and_calls_pass_it() {
    let (a, b) = pair().await;
    let size = 256 * 1024;
    let message = Bytes::from(vec![1; size]);
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        streams.push(a.peers.open("b", "hold", Bytes::new()).await.unwrap());
    }
    let over = a.peers.open("b", "hold", Bytes::new()).await;
    assert_eq!(over.err().unwrap().code, Code::PeerOverloaded);

    let filling = streams.iter_mut().map(|(outgoing, _)| {
        let message = message.clone();
        async move {
            // One is let through, whatever the machine's pace.
            outgoing.send(message.clone()).await.unwrap();
            let mut count = 1;
            while tokio::time::timeout(STILL, outgoing.send(message.clone()))
                .await
                .is_ok_and(|sent| sent.is_ok())
            {
                count += 1;
            }
            count
        }
    });
    let sent: Vec<u64> = join_all(filling).await;
    // The window, what waits for it, and the message that is always let through.
    let most = (STREAM_WINDOW_BYTES as usize + SEND_BUFFER_BYTES) / size + 2;
    for count in &sent {
        assert!(*count <= most as u64, "{count} of {most}");
    }
    let large = Bytes::from(vec![5; 5_000_000]);
    assert_eq!(a.echo(&b, large.clone()).await.unwrap(), large);

    // They go on, and nothing is missing.
    b.hands.go.add_permits(1_000_000);
    for ((outgoing, mut incoming), count) in streams.into_iter().zip(sent) {
        outgoing.finish().await.unwrap();
        for _ in 0..count {
            assert_eq!(number(incoming.next().await.unwrap()), size as u64);
        }
        assert_eq!(incoming.next().await.unwrap(), None);
    }
    assert!(a.peers.open("b", "hold", Bytes::new()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_service_comes_behind_its_messages_with_its_code() {
    let (a, b) = pair().await;
    let (mut outgoing, mut incoming) = a.peers.open("b", "count", Bytes::new()).await.unwrap();
    for _ in 0..3 {
        outgoing.send(Bytes::from_static(b"abc")).await.unwrap();
    }
    outgoing.finish().await.unwrap();
    assert_eq!(number(incoming.next().await.unwrap()), 9);
    for _ in 0..2 {
        let error = incoming.next().await.unwrap_err();
        assert_eq!((error.code, &*error.message), (Code::LogFull, "counted"));
    }
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_dropped_is_not_taken_for_one_that_finished() {
    let (a, b) = pair().await;
    let (mut outgoing, mut incoming) = a.peers.open("b", "count", Bytes::new()).await.unwrap();
    outgoing.send(Bytes::from_static(b"abc")).await.unwrap();
    drop(outgoing);
    let error = incoming.next().await.unwrap_err();
    assert_eq!(error.code, Code::PeerUnreachable);
    assert!(error.message.contains("gave the stream up"), "{error}");
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_dropped_stops_the_service() {
    let (a, b) = pair().await;
    let head = Bytes::from(vec![1; 100_000]);
    let (outgoing, mut incoming) = a.peers.open("b", "pour", head.clone()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(incoming.next().await.unwrap().unwrap(), head);
    }
    drop((outgoing, incoming));
    until("the service ends", || b.hands.ended() == 1).await;
    assert_eq!(b.hands.begun(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_fails_on_both_sides_when_a_node_goes() {
    let (a, b) = pair().await;
    let head = Bytes::from(vec![1; 100_000]);
    let (_outgoing, mut incoming) = a.peers.open("b", "pour", head.clone()).await.unwrap();
    incoming.next().await.unwrap();
    a.peers.close().await;
    until("the service ends", || b.hands.ended() == 1).await;
    let last = loop {
        match incoming.next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(last.unwrap_err().code, Code::PeerUnreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_waits_for_something_else_ends_with_its_connection() {
    let (a, b) = pair().await;
    let _halves = a.peers.open("b", "hold", Bytes::new()).await.unwrap();
    until("the service begins", || b.hands.begun() == 1).await;
    b.knows(&[&b]);
    until("the service ends", || b.hands.ended() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_of_the_node_is_an_error_at_once() {
    let (a, b) = pair().await;
    let unknown = a.peers.open("b", "nothing", Bytes::new()).await.err();
    assert_eq!(unknown.unwrap().code, Code::PeerUnreachable);
    let head = Bytes::from(vec![0; MAX_HEAD_BYTES + 1]);
    let large = a.peers.open("b", "echo", head).await.err();
    assert_eq!(large.unwrap().code, Code::PeerTooLarge);
    let (mut outgoing, _incoming) = a.peers.open("b", "echo", Bytes::new()).await.unwrap();
    let large = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
    let refused = outgoing.send(large).await.unwrap_err();
    assert_eq!(refused.code, Code::PeerTooLarge);
    // Nothing of it was sent: the stream goes on.
    outgoing.send(Bytes::from_static(b"on")).await.unwrap();
    drop(b);
}
