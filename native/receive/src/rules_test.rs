//! Rules of OTLP, gRPC and HTTP that the tests of either transport leave, and stopping.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use otlake_base::{Code, Metrics};
use prost::Message;
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::grpc_test::{TRACES, call, framed};
use crate::http_test::{JSON, PROTOBUF, exchange, post};
use crate::status::Status;
use crate::testing::{Fake, PATIENCE, config, gzip, request, start};
use crate::{Receiver, ReceiverConfig, Token};

fn token(text: &str, tenant: &str) -> Token {
    Token {
        sha256: digest(&SHA256, text.as_bytes())
            .as_ref()
            .try_into()
            .unwrap(),
        tenant: tenant.into(),
    }
}

#[tokio::test]
async fn names_of_encodings_and_media_types_ignore_case() {
    let (_fake, receiver) = start(config()).await;
    for encoding in ["GZIP", "x-gzip", " gzip"] {
        let headers = [
            ("content-type", "Application/X-Protobuf"),
            ("content-encoding", encoding),
        ];
        let answer = post(&receiver, "/v1/traces", &headers, gzip(&request(1))).await;
        assert_eq!(answer.status, 200, "{encoding}");
    }
}

#[tokio::test]
async fn an_answer_has_the_media_type_of_its_request() {
    let (fake, receiver) = start(config()).await;
    for media in [
        "application/x-protobuf",
        "application/protobuf",
        "application/json",
    ] {
        let send = async |path: &'static str| {
            let body = if media == "application/json" {
                b"{}".to_vec()
            } else {
                vec![]
            };
            post(&receiver, path, &[("content-type", media)], body).await
        };
        *fake.refuse.lock() = None;
        assert_eq!(send("/v1/logs").await.headers["content-type"], media);
        *fake.refuse.lock() = Some(Code::LogIo);
        assert_eq!(send("/v1/logs").await.headers["content-type"], media);
        let unknown = send("/v1/profiles").await;
        assert_eq!(unknown.status, 404);
        assert_eq!(unknown.headers["content-type"], media);
    }
}

#[tokio::test]
async fn every_error_has_a_status_as_its_body() {
    let (fake, receiver) = start(config()).await;
    let body = |answer: &Bytes| serde_json::from_slice::<serde_json::Value>(answer).unwrap();
    let answer = post(&receiver, "/", &[], vec![]).await;
    assert_eq!(answer.status, 404);
    assert_eq!(body(&answer.body)["details"][0]["reason"], "HTTP_NOT_FOUND");
    let put = Request::put("/v1/traces")
        .header("host", "x")
        .header(PROTOBUF.0, PROTOBUF.1)
        .body(Full::default())
        .unwrap();
    let answer = exchange(receiver.http_addr().unwrap(), put).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST, OPTIONS");
    let status = Status::decode(answer.body).unwrap();
    assert_eq!(status.message, "HTTP_METHOD: send with POST");
    *fake.refuse.lock() = Some(Code::IngestOverloaded);
    let answer = post(&receiver, "/v1/traces", &[JSON], b"{}".to_vec()).await;
    assert_eq!(
        body(&answer.body),
        serde_json::json!({
            "code": 14,
            "message": "INGEST_OVERLOADED: told to refuse",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "INGEST_OVERLOADED",
                    "domain": "otlake",
                },
                {
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": "1.5s",
                },
            ],
        })
    );
}

#[tokio::test]
async fn what_a_client_sent_is_not_quoted_at_length() {
    let (_fake, receiver) = start(config()).await;
    let path = format!("/{}", "a".repeat(10_000));
    let answer = call(&receiver, &path, &[], framed(0, &[])).await;
    assert_eq!(answer.grpc_status(), "12");
    assert!(answer.headers["grpc-message"].len() < 4096);
    let encoding = "%".repeat(5_000);
    let headers = [("grpc-encoding", encoding.as_str())];
    let answer = call(&receiver, TRACES, &headers, framed(1, &[])).await;
    assert_eq!(answer.grpc_status(), "12");
    let told: usize = answer.headers.values().map(|value| value.len()).sum();
    assert!(told < 8192, "{told}");
}

#[tokio::test]
async fn a_grpc_compression_is_known_and_named_or_refused() {
    let (fake, receiver) = start(config()).await;
    for (headers, flag, expected) in [
        // Refused by its name, whatever the first message does with it.
        (vec![("grpc-encoding", "snappy")], 0, "12"),
        (vec![("grpc-encoding", "snappy")], 1, "12"),
        (vec![("grpc-encoding", "identity")], 1, "3"),
        (vec![], 1, "3"),
    ] {
        let answer = call(&receiver, TRACES, &headers, framed(flag, &request(1))).await;
        assert_eq!(answer.grpc_status(), expected, "{headers:?} {flag}");
    }
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn each_token_sends_for_its_tenant_over_grpc_too() {
    let tokens = vec![token("one", "blue"), token("two", "green")];
    let (fake, receiver) = start(ReceiverConfig { tokens, ..config() }).await;
    for (authorization, expected) in [
        ("Bearer one", "0"),
        ("bearer two", "0"),
        ("Bearer three", "16"),
        ("Bearer ", "16"),
        ("one", "16"),
    ] {
        let headers = [("authorization", authorization)];
        let answer = call(&receiver, TRACES, &headers, framed(0, &[])).await;
        assert_eq!(answer.grpc_status(), expected, "{authorization}");
    }
    let tenants: Vec<_> = fake
        .received
        .lock()
        .iter()
        .map(|sent| sent.1.to_string())
        .collect();
    assert_eq!(tenants, ["blue", "green"]);
}

#[tokio::test]
async fn a_token_of_what_is_no_tenant_is_an_error_at_the_start() {
    for tenant in ["../../elsewhere", "", ".x", "a/b"] {
        let config = ReceiverConfig {
            tokens: vec![token("secret", tenant)],
            ..config()
        };
        let started = Receiver::start(config, Arc::new(Fake::default()), Arc::new(Metrics::new()));
        assert_eq!(started.await.err().unwrap().code, Code::OtlpTenant);
    }
}

#[tokio::test]
async fn any_origin_may_send_where_configured_and_reads_the_session() {
    let cors_origins = vec!["*".to_owned()];
    let (_fake, receiver) = start(ReceiverConfig {
        cors_origins,
        ..config()
    })
    .await;
    let headers = [JSON, ("origin", "https://any.example")];
    let answer = post(&receiver, "/v1/traces", &headers, b"{}".to_vec()).await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://any.example"
    );
    let exposed = answer.headers["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(exposed.contains("otlake-session"), "{exposed}");
}

#[tokio::test]
async fn http_is_taken_over_http2_in_cleartext_as_well() {
    let (fake, receiver) = start(config()).await;
    let stream = TcpStream::connect(receiver.http_addr().unwrap())
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::post("http://x/v1/traces")
            .header(PROTOBUF.0, PROTOBUF.1)
            .body(Full::new(Bytes::from(request(1))))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(fake.received.lock().len(), 3);
}

#[tokio::test]
async fn an_http1_connection_takes_one_request_after_another() {
    let (fake, receiver) = start(config()).await;
    let mut stream = TcpStream::connect(receiver.http_addr().unwrap())
        .await
        .unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\n\r\n{}";
    for _ in 0..3 {
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n{}") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(fake.received.lock().len(), 3);
}

#[tokio::test]
async fn what_never_reaches_storage_is_counted_here() {
    let metrics = Arc::new(Metrics::new());
    let fake = Arc::new(Fake::default());
    let tokens = vec![token("secret", "blue")];
    let receiver = Receiver::start(ReceiverConfig { tokens, ..config() }, fake, metrics.clone())
        .await
        .unwrap();
    let known = ("authorization", "Bearer secret");
    post(&receiver, "/v1/traces", &[PROTOBUF], vec![]).await;
    post(&receiver, "/v1/traces", &[known], vec![]).await;
    post(
        &receiver,
        "/v1/traces",
        &[known, PROTOBUF],
        request(200_000),
    )
    .await;
    call(&receiver, TRACES, &[known], Bytes::new()).await;
    // The port to storage counts what it is given.
    post(&receiver, "/v1/traces", &[known, PROTOBUF], vec![]).await;
    let count = |transport, outcome| {
        let labels = vec![
            ("signal", "traces"),
            ("transport", transport),
            ("outcome", outcome),
        ];
        metrics.requests.get_or_create(&labels).get()
    };
    let counted = ["denied", "invalid", "exhausted", "ok"].map(|outcome| count("http", outcome));
    assert_eq!(counted, [1, 1, 1, 0]);
    assert_eq!(count("grpc", "invalid"), 1);
    let refused = |code| {
        let labels = vec![("signal", "traces"), ("code", code)];
        metrics.requests_refused.get_or_create(&labels).get()
    };
    let codes = [
        "OTLP_UNAUTHENTICATED",
        "OTLP_MEDIA_TYPE",
        "OTLP_TOO_LARGE",
        "OTLP_MALFORMED",
    ];
    assert_eq!(codes.map(refused), [1, 1, 1, 1]);
}

#[tokio::test]
async fn stopping_answers_calls_in_flight_and_ends_the_rest_with_the_grace() {
    let (fake, receiver) = start(config()).await;
    let closed = fake.close().await;
    let address = receiver.grpc_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let export = || {
        Request::post(format!("http://x{TRACES}"))
            .header("content-type", "application/grpc")
            .body(Full::new(framed(0, &request(1))))
            .unwrap()
    };
    let slow = tokio::spawn(sender.send_request(export()));
    fake.begun(1).await;
    // A connection that says nothing has nothing in flight, so it does not hold the stop.
    let silent = TcpStream::connect(address).await.unwrap();
    let stopping = tokio::time::timeout(PATIENCE, receiver.stop(10 * PATIENCE));
    let answered = async {
        drop(closed);
        slow.await
    };
    let (stopped, slow) = tokio::join!(stopping, answered);
    stopped.expect("nothing in flight is left to wait for");
    let body = slow.unwrap().unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert!(sender.send_request(export()).await.is_err());
    connection.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    drop(silent);

    let (fake, receiver) = start(config()).await;
    *fake.delay.lock() = Duration::from_secs(3600);
    let request = Request::post("/v1/traces")
        .header("host", "x")
        .header(PROTOBUF.0, PROTOBUF.1);
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let endless = tokio::spawn(exchange(receiver.http_addr().unwrap(), request));
    fake.begun(1).await;
    let stopped = receiver.stop(Duration::from_millis(100));
    tokio::time::timeout(PATIENCE, stopped)
        .await
        .expect("the grace ends what is left");
    assert!(endless.await.is_err(), "it was never answered");
}
