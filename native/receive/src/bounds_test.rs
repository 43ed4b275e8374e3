//! Bounds of memory, time and connections (I5), seen from clients that push against them.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::ReceiverConfig;
use crate::body::Pace;
use crate::grpc_test::{TRACES, call, framed};
use crate::http_test::{JSON, PROTOBUF, post};
use crate::status::RETRY_INFO;
use crate::testing::{PATIENCE, config, gzip, request, start, start_at, zstd};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn head(length: usize) -> Vec<u8> {
    format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

async fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream
}

/// Everything the server sends until it closes, which it does soon.
async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    let _ = read.expect("the server closes the connection");
    all
}

#[tokio::test]
async fn i5_a_connection_without_a_request_is_closed() {
    let pace = Pace {
        headers: Duration::from_millis(300),
        ..Pace::default()
    };
    let (_fake, receiver) = start_at(pace).await;
    let (http, grpc) = (receiver.http_addr().unwrap(), receiver.grpc_addr().unwrap());
    for (address, first) in [
        (http, &b""[..]),
        (http, b"PO"),
        (http, b"PRI * HT"),
        (http, PREFACE),
        (http, b"POST /v1/traces HTTP/1.1\r\nho"),
        (grpc, b""),
        (grpc, b"PRI * HT"),
        (grpc, PREFACE),
    ] {
        until_closed(connect(address, first).await).await;
    }
}

#[tokio::test]
async fn i5_a_body_that_stalls_or_trickles_is_refused_for_now() {
    let pace = Pace {
        idle: Duration::from_millis(300),
        bytes_per_second: 10_000,
        ..Pace::default()
    };
    let (fake, receiver) = start_at(pace).await;
    let address = receiver.http_addr().unwrap();
    let stalled = connect(address, &head(90_000)).await;
    let answer = String::from_utf8_lossy(&until_closed(stalled).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("retry-after: 2\r\n"), "{answer}");

    let (mut reader, mut writer) = connect(address, &head(90_000)).await.into_split();
    let trickle = async {
        loop {
            let _ = writer.write_all(b"x").await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = timeout(PATIENCE, reader.read_exact(&mut answer)) => {
            read.expect("the body is not waited for").unwrap();
        }
        () = trickle => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 429");
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn i5_a_body_at_a_steady_pace_is_taken_however_long_it_is() {
    // A busy machine may stand still for a while.
    let pace = Pace {
        idle: Duration::from_secs(3),
        bytes_per_second: 1_000,
        ..Pace::default()
    };
    let (fake, receiver) = start_at(pace).await;
    let body = request(8_000);
    let stream = connect(receiver.http_addr().unwrap(), &head(body.len())).await;
    let (mut reader, mut writer) = stream.into_split();
    // Twice the pace that is asked for, for longer than the body may be silent.
    for piece in body.chunks(500) {
        writer.write_all(piece).await.unwrap();
        sleep(Duration::from_millis(250)).await;
    }
    let mut answer = [0; 15];
    reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(fake.received.lock()[0].2[..] == body[..]);
}

#[tokio::test]
async fn i5_connections_beyond_the_limit_are_closed_and_their_places_are_given_again() {
    // None is closed for its silence while this test waits.
    let pace = Pace {
        headers: 10 * PATIENCE,
        ..Pace::default()
    };
    let (_fake, receiver) = start_at(pace).await;
    let address = receiver.http_addr().unwrap();
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(connect(address, b"PO").await);
    }
    // They are accepted in the order in which they came.
    let refused = until_closed(connect(address, b"").await).await;
    assert!(refused.is_empty());
    drop(kept);
    // That they have ended is seen when their ends are read.
    let taken = timeout(PATIENCE, async {
        loop {
            if let Ok(answer) = ask(address).await {
                break answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let answer = taken.await.expect("the places are given again");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// The beginning of the answer to a request; an error where the connection is closed instead.
async fn ask(address: SocketAddr) -> std::io::Result<[u8; 12]> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&head(0)).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn i5_an_announced_size_takes_nothing_from_others() {
    let roomy = ReceiverConfig {
        max_request_bytes: 20_000_000,
        max_in_flight_bytes: 40_000_000,
        ..config()
    };
    let (_fake, receiver) = start(roomy).await;
    let address = receiver.http_addr().unwrap();
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(connect(address, &head(20_000_000)).await);
    }
    sleep(Duration::from_millis(50)).await;
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(9_000_000)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn i5_bodies_of_every_size_and_compression_arrive_whole() {
    let roomy = ReceiverConfig {
        max_request_bytes: 8_000_000,
        max_in_flight_bytes: 64_000_000,
        ..config()
    };
    let (fake, receiver) = start(roomy).await;
    for length in [0, 1, 4_000, 70_000, 1_048_500, 3_000_000, 7_900_000] {
        // Bytes that hardly compress, so that compressed bodies come in pieces too.
        let mut body = request(length);
        let mut state = 88_172_645_463_325_252_u64;
        for byte in body.iter_mut().skip(60) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 60) as u8;
        }
        let streamed = {
            use std::io::Write;
            // A stream that is written in pieces does not tell its size.
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.write_all(&body).unwrap();
            encoder.finish().unwrap()
        };
        let two_members = {
            let (left, right) = body.split_at(body.len() / 2);
            [gzip(left), gzip(right)].concat()
        };
        let two_frames = {
            let (left, right) = body.split_at(body.len() / 2);
            [zstd::bulk::compress(left, 3).unwrap(), zstd(right)].concat()
        };
        for (encoding, sent) in [
            ("identity", body.clone()),
            ("gzip", gzip(&body)),
            ("gzip", two_members),
            ("zstd", zstd::bulk::compress(&body, 3).unwrap()),
            ("zstd", streamed),
            ("zstd", two_frames),
        ] {
            let headers = [PROTOBUF, ("content-encoding", encoding)];
            let answer = post(&receiver, "/v1/traces", &headers, sent.clone()).await;
            assert_eq!(answer.status, 200, "{length} {encoding} over HTTP");
            let flag = u8::from(encoding != "identity");
            let headers = [("grpc-encoding", encoding)];
            let answer = call(&receiver, TRACES, &headers, framed(flag, &sent)).await;
            assert_eq!(answer.grpc_status(), "0", "{length} {encoding} over gRPC");
            let received = std::mem::take(&mut *fake.received.lock());
            assert_eq!(received.len(), 2);
            assert!(received.iter().all(|received| received.2[..] == body[..]));
        }
    }
}

#[tokio::test]
async fn i5_protobuf_that_outgrows_its_json_is_too_large() {
    let (fake, receiver) = start(config()).await;
    let counts = "0,".repeat(49_000);
    let json = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"histogram\":\
         {{\"dataPoints\":[{{\"bucketCounts\":[{counts}0]}}]}}}}]}}]}}]}}"
    );
    assert!(json.len() < 100_000);
    let answer = post(&receiver, "/v1/metrics", &[JSON], json.into_bytes()).await;
    assert_eq!(answer.status, 413);
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn i5_a_grpc_message_beyond_the_budget_is_refused_for_now() {
    let (fake, receiver) = start(ReceiverConfig {
        max_in_flight_bytes: 200_000,
        ..config()
    })
    .await;
    let closed = fake.close().await;
    let calls = (0..4).map(|_| call(&receiver, TRACES, &[], framed(0, &request(90_000))));
    let mut calls: FuturesUnordered<_> = calls.collect();
    for _ in 0..2 {
        assert_eq!(calls.next().await.unwrap().grpc_status(), "14");
    }
    drop(closed);
    for _ in 0..2 {
        assert_eq!(calls.next().await.unwrap().grpc_status(), "0");
    }
}

#[tokio::test]
async fn damaged_compression_is_malformed() {
    let (fake, receiver) = start(config()).await;
    let body = request(5_000);
    let mut wrong_sum = gzip(&body);
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let cut = |mut whole: Vec<u8>| {
        whole.truncate(whole.len() / 2);
        whole
    };
    for (encoding, sent) in [
        ("gzip", wrong_sum),
        ("gzip", cut(gzip(&body))),
        ("gzip", b"neither".to_vec()),
        ("zstd", cut(zstd(&body))),
        ("zstd", b"neither".to_vec()),
    ] {
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        let answer = post(&receiver, "/v1/traces", &headers, sent.clone()).await;
        assert_eq!(answer.status, 400, "{encoding}");
        let headers = [("grpc-encoding", encoding)];
        let answer = call(&receiver, TRACES, &headers, framed(1, &sent)).await;
        assert_eq!(answer.grpc_status(), "3", "{encoding}");
    }
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn a_large_body_that_is_refused_gets_its_answer() {
    let (_fake, receiver) = start(config()).await;
    for _ in 0..5 {
        let mut stream = connect(receiver.http_addr().unwrap(), &head(20_000_000)).await;
        // The server may stop reading; the answer has to come through all the same.
        let _ = stream.write_all(&vec![0; 20_000_000]).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
}

#[tokio::test]
async fn i5_a_request_that_is_not_stored_in_time_is_refused_for_now() {
    let pace = Pace {
        ack: Duration::from_millis(300),
        ..Pace::default()
    };
    let (fake, receiver) = start_at(pace).await;
    *fake.delay.lock() = Duration::from_secs(3600);
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], vec![]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    let answer = call(&receiver, TRACES, &[], framed(0, &request(10))).await;
    assert_eq!(answer.grpc_status(), "14");
    assert_eq!(answer.details().details[1].type_url, RETRY_INFO);
    // A deadline of the client's own has a code of its own, which OTLP lets it retry, too.
    let (fake, receiver) = start(config()).await;
    *fake.delay.lock() = Duration::from_secs(3600);
    let headers = [("grpc-timeout", "20m")];
    let answer = call(&receiver, TRACES, &headers, framed(0, &request(10))).await;
    assert_eq!(answer.grpc_status(), "4");
    assert_eq!(answer.details().details[1].type_url, RETRY_INFO);
}

#[tokio::test]
async fn i5_a_modest_tenant_gets_through_beside_a_greedy_one() {
    let (fake, receiver) = start(ReceiverConfig {
        max_in_flight_bytes: 1_000_000,
        ..config()
    })
    .await;
    *fake.delay.lock() = Duration::from_millis(20);
    let receiver = &receiver;
    let greedy = async {
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..15 {
            let headers = [PROTOBUF, ("x-scope-orgid", "greedy")];
            let posts = (0..30).map(|_| post(receiver, "/v1/traces", &headers, request(90_000)));
            for answer in futures::future::join_all(posts).await {
                match answer.status.as_u16() {
                    200 => taken += 1,
                    429 => refused += 1,
                    other => panic!("{other}"),
                }
            }
        }
        (taken, refused)
    };
    let modest = async {
        let headers = [PROTOBUF, ("x-scope-orgid", "modest")];
        let (mut taken, mut refused) = (0, 0);
        while taken < 20 {
            match post(receiver, "/v1/traces", &headers, request(9_000))
                .await
                .status
                .as_u16()
            {
                200 => taken += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
            sleep(Duration::from_millis(10)).await;
        }
        refused
    };
    let ((taken, refused), modestly) = tokio::join!(greedy, modest);
    assert!(taken > 0 && refused > 0, "{taken} {refused}");
    assert!(modestly <= 3, "the modest one was refused {modestly} times");
}

#[tokio::test]
async fn i5_json_is_held_with_what_it_becomes() {
    let (fake, receiver) = start(ReceiverConfig {
        max_in_flight_bytes: 200_000,
        ..config()
    })
    .await;
    // Neither form is near the limit of one request, and two together are beyond the budget.
    let counts = "0,".repeat(12_000);
    let json = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"histogram\":\
         {{\"dataPoints\":[{{\"bucketCounts\":[{counts}0]}}]}}}}]}}]}}]}}"
    );
    let closed = fake.close().await;
    let posts = (0..4).map(|_| post(&receiver, "/v1/metrics", &[JSON], json.clone().into_bytes()));
    let mut posts: FuturesUnordered<_> = posts.collect();
    assert_eq!(posts.next().await.unwrap().status, 429);
    drop(closed);
    let rest: Vec<_> = posts.map(|answer| answer.status.as_u16()).collect().await;
    assert!(rest.contains(&200), "{rest:?}");
}

#[tokio::test]
async fn i5_storage_is_told_over_which_connection_a_request_came() {
    let (fake, receiver) = start(config()).await;
    let address = receiver.http_addr().unwrap();
    let body = request(10);
    let twice = [head(body.len()), body.clone(), head(body.len()), body].concat();
    for _ in 0..2 {
        let mut stream = connect(address, &twice).await;
        let mut answers = Vec::new();
        while String::from_utf8_lossy(&answers)
            .matches("HTTP/1.1 200")
            .count()
            < 2
        {
            let read = timeout(PATIENCE, stream.read_buf(&mut answers)).await;
            assert!(read.expect("an answer comes").unwrap() > 0);
        }
    }
    let names = fake.connections.lock().clone();
    assert_eq!(names.len(), 4);
    assert_eq!((names[0], names[2]), (names[1], names[3]));
    assert_ne!(names[0], names[2]);
}
