use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use otlake_base::{Code, Signal};
use prost::Message;
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::status::{ERROR_INFO, ErrorInfo, RetryInfo, Status};
use crate::testing::{PATIENCE, config, gzip, request, start, zstd};
use crate::{Receiver, ReceiverConfig, Token};

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

pub async fn post(
    receiver: &Receiver,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let mut request = Request::post(path).header("host", "otlake");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    exchange(
        receiver.http_addr().unwrap(),
        request.body(Full::new(body.into())).unwrap(),
    )
    .await
}

/// The codes that a status' only `ErrorInfo` gives, where it has no other detail.
fn reasons(status: &Status) -> Vec<String> {
    let reason = |detail: &crate::status::Any| {
        assert_eq!(detail.type_url, ERROR_INFO);
        ErrorInfo::decode(&detail.value[..]).unwrap().reason
    };
    status.details.iter().map(reason).collect()
}

pub const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn protobuf_json_and_each_compression_reach_storage_as_the_same_bytes() {
    let (fake, receiver) = start(config()).await;
    let plain = request(10);
    let json = otlake_decode::json::from_protobuf(Signal::Traces, &plain).unwrap();
    for (headers, body) in [
        (vec![PROTOBUF], plain.clone()),
        (vec![PROTOBUF, ("content-encoding", "gzip")], gzip(&plain)),
        (vec![PROTOBUF, ("content-encoding", "zstd")], zstd(&plain)),
        (
            vec![PROTOBUF, ("content-encoding", "identity")],
            plain.clone(),
        ),
        (vec![JSON], json.clone()),
        (vec![JSON, ("content-encoding", "gzip")], gzip(&json)),
    ] {
        let answer = post(&receiver, "/v1/traces", &headers, body).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(
            answer.headers["otlake-session"],
            "00000000000000000000000000000001:1"
        );
        let media = answer.headers["content-type"].to_str().unwrap();
        assert!(headers[0].1.starts_with(media), "{media}");
    }
    let received = fake.received.lock();
    assert_eq!(received.len(), 6);
    for (signal, tenant, body) in received.iter() {
        assert_eq!(
            (*signal, &**tenant, &body[..]),
            (Signal::Traces, "default", &plain[..])
        );
    }
}

#[tokio::test]
async fn each_signal_has_its_path_and_empty_requests_succeed() {
    let (fake, receiver) = start(config()).await;
    for signal in Signal::ALL {
        let path = format!("/v1/{}", signal.name());
        let answer = post(&receiver, &path, &[PROTOBUF], Vec::new()).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
        let answer = post(&receiver, &path, &[JSON], b"{}".to_vec()).await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::OK, &b"{}"[..])
        );
    }
    let signals: Vec<_> = fake
        .received
        .lock()
        .iter()
        .map(|received| received.0)
        .collect();
    assert_eq!(signals.len(), 6);
    assert_eq!(
        post(&receiver, "/v2/traces", &[PROTOBUF], vec![])
            .await
            .status,
        404
    );
    let get = Request::get("/v1/traces")
        .header("host", "x")
        .body(Full::default())
        .unwrap();
    let answer = exchange(receiver.http_addr().unwrap(), get).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST, OPTIONS");
}

#[tokio::test]
async fn a_partial_success_counts_and_names_what_was_refused() {
    let (fake, receiver) = start(config()).await;
    *fake.rejected.lock() = 3;
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(1)).await;
    let response = ExportTraceServiceResponse::decode(answer.body).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 3);
    assert_eq!(partial.error_message, "spans[0].trace_id: bad");
    for (path, name) in [
        ("/v1/traces", "rejectedSpans"),
        ("/v1/metrics", "rejectedDataPoints"),
        ("/v1/logs", "rejectedLogRecords"),
    ] {
        let answer = post(&receiver, path, &[JSON], b"{}".to_vec()).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["partialSuccess"][name], "3");
    }
}

#[tokio::test]
async fn what_was_changed_is_told_though_nothing_was_refused() {
    let (fake, receiver) = start(config()).await;
    *fake.changes.lock() = true;
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(1)).await;
    let response = ExportTraceServiceResponse::decode(answer.body).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 0);
    assert_eq!(partial.error_message, "records changed: 1");
    let answer = post(&receiver, "/v1/traces", &[JSON], b"{}".to_vec()).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let told = serde_json::json!({"rejectedSpans": "0", "errorMessage": "records changed: 1"});
    assert_eq!(body["partialSuccess"], told);
}

#[tokio::test]
async fn what_is_wrong_for_good_is_400_with_a_status_in_the_requests_media_type() {
    let (fake, receiver) = start(config()).await;
    *fake.refuse.lock() = Some(Code::OtlpMalformed);
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(1)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    let status = Status::decode(answer.body).unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (3, "OTLP_MALFORMED: told to refuse")
    );
    assert_eq!(reasons(&status), ["OTLP_MALFORMED"]);
    let answer = post(
        &receiver,
        "/v1/traces",
        &[JSON],
        b"{\"resourceSpans\":1}".to_vec(),
    )
    .await;
    assert_eq!(answer.status, 400);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(
        body["message"].as_str().unwrap().contains("resourceSpans"),
        "{body}"
    );
    let answer = post(
        &receiver,
        "/v1/traces",
        &[PROTOBUF, ("content-encoding", "gzip")],
        vec![1],
    )
    .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn passing_faults_are_retryable_and_say_when() {
    let (fake, receiver) = start(config()).await;
    for (code, expected) in [
        (Code::IngestOverloaded, 429),
        (Code::IngestStopping, 503),
        (Code::LogIo, 503),
        (Code::LogFull, 503),
        (Code::TableCorrupt, 503),
    ] {
        *fake.refuse.lock() = Some(code);
        let answer = post(&receiver, "/v1/logs", &[PROTOBUF], vec![]).await;
        assert_eq!(answer.status, expected, "{code:?}");
        assert_eq!(answer.headers["retry-after"], "2");
        let status = Status::decode(answer.body).unwrap();
        assert_eq!(status.code, 14);
        let retry = RetryInfo::decode(&status.details[1].value[..])
            .unwrap()
            .retry_delay
            .unwrap();
        assert_eq!((retry.seconds, retry.nanos), (1, 500_000_000));
    }
    *fake.refuse.lock() = Some(Code::Internal);
    let answer = post(&receiver, "/v1/logs", &[PROTOBUF], vec![]).await;
    assert_eq!(answer.status, 500);
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn other_media_types_and_encodings_are_415() {
    let (_fake, receiver) = start(config()).await;
    let text = ("content-type", "text/plain");
    assert_eq!(
        post(&receiver, "/v1/traces", &[text], vec![]).await.status,
        415
    );
    assert_eq!(post(&receiver, "/v1/traces", &[], vec![]).await.status, 415);
    let brotli = ("content-encoding", "br");
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF, brotli], vec![]).await;
    assert_eq!(answer.status, 415);
    assert_eq!(answer.headers["accept-encoding"], "gzip, zstd");
}

#[tokio::test]
async fn i5_the_size_limit_holds_after_decompression() {
    let (fake, receiver) = start(config()).await;
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(99_900)).await;
    assert_eq!(answer.status, 200);
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(100_001)).await;
    assert_eq!(answer.status, 413);
    for (encoding, bomb) in [
        ("gzip", gzip(&request(5_000_000))),
        ("zstd", zstd(&request(5_000_000))),
    ] {
        assert!(bomb.len() < 50_000);
        let headers = [PROTOBUF, ("content-encoding", encoding)];
        assert_eq!(
            post(&receiver, "/v1/traces", &headers, bomb).await.status,
            413
        );
    }
    assert_eq!(fake.received.lock().len(), 1);
}

#[tokio::test]
async fn i5_more_bytes_than_the_budget_are_refused_and_given_back() {
    let budget = ReceiverConfig {
        max_in_flight_bytes: 200_000,
        ..config()
    };
    let (fake, receiver) = start(budget).await;
    let closed = fake.close().await;
    let answers = FuturesUnordered::new();
    for _ in 0..4 {
        let request = Request::post("/v1/traces")
            .header("host", "x")
            .header(PROTOBUF.0, PROTOBUF.1)
            .body(Full::new(Bytes::from(request(90_000))))
            .unwrap();
        answers.push(tokio::spawn(exchange(
            receiver.http_addr().unwrap(),
            request,
        )));
    }
    let mut statuses = answers.map(|answer| answer.unwrap().status.as_u16());
    for _ in 0..2 {
        assert_eq!(statuses.next().await, Some(429));
    }
    drop(closed);
    for _ in 0..2 {
        assert_eq!(statuses.next().await, Some(200));
    }
    assert_eq!(
        post(&receiver, "/v1/traces", &[PROTOBUF], request(90_000))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn only_known_tokens_send_and_their_tenant_is_the_tokens() {
    let sha256 = digest(&SHA256, b"secret").as_ref().try_into().unwrap();
    let tokens = vec![Token {
        sha256,
        tenant: "blue".into(),
    }];
    let (fake, receiver) = start(ReceiverConfig { tokens, ..config() }).await;
    let send = async |headers: &[(&str, &str)]| {
        post(&receiver, "/v1/traces", headers, vec![])
            .await
            .status
            .as_u16()
    };
    assert_eq!(send(&[PROTOBUF]).await, 401);
    assert_eq!(
        send(&[PROTOBUF, ("authorization", "Bearer wrong")]).await,
        401
    );
    assert_eq!(
        send(&[PROTOBUF, ("authorization", "Basic secret")]).await,
        401
    );
    let known = ("authorization", "bearer secret");
    assert_eq!(
        send(&[PROTOBUF, known, ("x-scope-orgid", "green")]).await,
        200
    );
    assert_eq!(&*fake.received.lock()[0].1, "blue");
}

#[tokio::test]
async fn without_tokens_a_header_names_the_tenant() {
    let (fake, receiver) = start(config()).await;
    for (tenant, expected) in [("team-a.1", 200), ("", 400), ("../x", 400), (".x", 400)] {
        let headers = [PROTOBUF, ("x-scope-orgid", tenant)];
        let answer = post(&receiver, "/v1/traces", &headers, vec![]).await;
        assert_eq!(answer.status.as_u16(), expected, "{tenant}");
    }
    assert_eq!(&*fake.received.lock()[0].1, "team-a.1");
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_send() {
    let cors_origins = vec!["https://shop.example".to_owned()];
    let (_fake, receiver) = start(ReceiverConfig {
        cors_origins,
        ..config()
    })
    .await;
    for (origin, allowed) in [
        ("https://shop.example", true),
        ("https://other.example", false),
    ] {
        let preflight = Request::options("/v1/traces")
            .header("host", "x")
            .header("origin", origin)
            .header("access-control-request-headers", "content-type,x-own")
            .body(Full::default())
            .unwrap();
        let answer = exchange(receiver.http_addr().unwrap(), preflight).await;
        assert_eq!(answer.status, 204);
        assert_eq!(
            answer.headers["access-control-allow-headers"],
            "content-type,x-own"
        );
        assert_eq!(
            answer.headers.contains_key("access-control-allow-origin"),
            allowed
        );
        let answer = post(
            &receiver,
            "/v1/traces",
            &[JSON, ("origin", origin)],
            b"{}".to_vec(),
        )
        .await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.headers.contains_key("access-control-allow-origin"),
            allowed
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let (_fake, receiver) = start(config()).await;
    let mut stream = TcpStream::connect(receiver.http_addr().unwrap())
        .await
        .unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_panic_is_answered_and_the_server_lives() {
    let (fake, receiver) = start(config()).await;
    *fake.panics.lock() = true;
    assert_eq!(
        post(&receiver, "/v1/traces", &[PROTOBUF], vec![])
            .await
            .status,
        500
    );
    *fake.panics.lock() = false;
    assert_eq!(
        post(&receiver, "/v1/traces", &[PROTOBUF], vec![])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (fake, receiver) = start(config()).await;
    let closed = fake.close().await;
    let address = receiver.http_addr().unwrap();
    let request = Request::post("/v1/traces")
        .header("host", "x")
        .header(PROTOBUF.0, PROTOBUF.1)
        .body(Full::new(Bytes::from(request(1))))
        .unwrap();
    let slow = tokio::spawn(exchange(address, request));
    fake.begun(1).await;
    let answered = async {
        drop(closed);
        slow.await.unwrap().status
    };
    let ((), status) = tokio::join!(receiver.stop(PATIENCE), answered);
    assert_eq!(status, 200);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_so() {
    let (_fake, receiver) = start(config()).await;
    let taken = ReceiverConfig {
        http: receiver.http_addr(),
        ..config()
    };
    let again = Receiver::start(
        taken,
        std::sync::Arc::new(crate::testing::Fake::default()),
        std::sync::Arc::new(otlake_base::Metrics::new()),
    )
    .await;
    assert_eq!(again.err().unwrap().code, Code::NodePortTaken);
}
