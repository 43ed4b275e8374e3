use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use otlake_base::{Code, Signal};
use prost::Message;
use tokio::net::TcpStream;

use crate::Receiver;
use crate::status::{ErrorInfo, RETRY_INFO, RetryInfo, Status};
use crate::testing::{config, gzip, request, start, zstd};

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub struct Answer {
    pub status: StatusCode,
    /// Headers and trailers together.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn grpc_status(&self) -> &str {
        self.headers["grpc-status"].to_str().unwrap()
    }

    /// The `google.rpc.Status` of `grpc-status-details-bin`.
    pub fn details(&self) -> Status {
        let text = self.headers["grpc-status-details-bin"].as_bytes();
        Status::decode(&unbase64(text)[..]).unwrap()
    }
}

fn unbase64(text: &[u8]) -> Vec<u8> {
    let digit = |letter: &u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let bits = group
            .iter()
            .fold(0, |bits, letter| bits << 6 | u32::from(digit(letter)));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

pub fn framed(compressed: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(compressed);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}

pub async fn call(
    receiver: &Receiver,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let stream = TcpStream::connect(receiver.grpc_addr().unwrap())
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://otlake{path}"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender
        .send_request(request.body(Full::new(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Answer {
        status: head.status,
        headers,
        body: body.to_bytes(),
    }
}

#[tokio::test]
async fn a_call_is_acknowledged_with_its_session_whatever_the_compression() {
    let (fake, receiver) = start(config()).await;
    let plain = request(10);
    for (headers, body) in [
        (vec![], framed(0, &plain)),
        (vec![("grpc-encoding", "gzip")], framed(1, &gzip(&plain))),
        (vec![("grpc-encoding", "zstd")], framed(1, &zstd(&plain))),
        (vec![("grpc-encoding", "identity")], framed(0, &plain)),
        // The flag decides for each message; the header only says which compression.
        (vec![("grpc-encoding", "gzip")], framed(0, &plain)),
        (
            vec![("content-type", "application/grpc+proto")],
            framed(0, &plain),
        ),
    ] {
        let answer = call(&receiver, TRACES, &headers, body).await;
        assert_eq!(
            (answer.status, answer.grpc_status()),
            (StatusCode::OK, "0"),
            "{headers:?}"
        );
        assert_eq!(
            answer.headers["otlake-session"],
            "00000000000000000000000000000001:1"
        );
        assert_eq!(&answer.body[..], [0, 0, 0, 0, 0]);
    }
    let received = fake.received.lock();
    assert_eq!(received.len(), 6);
    assert!(received.iter().all(|(signal, tenant, body)| {
        *signal == Signal::Traces && &**tenant == "default" && body[..] == plain[..]
    }));
}

#[tokio::test]
async fn each_signal_has_its_service_and_empty_requests_succeed() {
    let (fake, receiver) = start(config()).await;
    for service in [
        "trace.v1.TraceService",
        "metrics.v1.MetricsService",
        "logs.v1.LogsService",
    ] {
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        assert_eq!(
            call(&receiver, &path, &[], framed(0, &[]))
                .await
                .grpc_status(),
            "0"
        );
    }
    let signals: Vec<_> = fake
        .received
        .lock()
        .iter()
        .map(|received| received.0)
        .collect();
    assert_eq!(signals, Signal::ALL);
    let health = call(
        &receiver,
        "/grpc.health.v1.Health/Check",
        &[],
        framed(0, &[]),
    )
    .await;
    assert_eq!(&health.body[..], [0, 0, 0, 0, 2, 8, 1]);
    let unknown = call(&receiver, "/some.Service/Method", &[], framed(0, &[])).await;
    assert_eq!(unknown.grpc_status(), "12");
    let plain = [("content-type", "text/plain")];
    assert_eq!(
        call(&receiver, TRACES, &plain, framed(0, &[])).await.status,
        415
    );
}

#[tokio::test]
async fn a_partial_success_is_a_success_with_a_count() {
    let (fake, receiver) = start(config()).await;
    *fake.rejected.lock() = 2;
    let answer = call(&receiver, TRACES, &[], framed(0, &request(1))).await;
    assert_eq!(answer.grpc_status(), "0");
    let response = ExportTraceServiceResponse::decode(&answer.body[5..]).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.is_empty()),
        (2, false)
    );
}

#[tokio::test]
async fn errors_have_the_codes_that_clients_act_on() {
    let (fake, receiver) = start(config()).await;
    for (code, expected, retryable) in [
        (Code::OtlpMalformed, "3", false),
        (Code::OtlpTooLarge, "8", false),
        (Code::OtlpUnauthenticated, "16", false),
        (Code::IngestOverloaded, "14", true),
        (Code::IngestStopping, "14", true),
        (Code::LogIo, "14", true),
        (Code::LogFull, "14", true),
        (Code::Internal, "13", false),
    ] {
        *fake.refuse.lock() = Some(code);
        let answer = call(&receiver, TRACES, &[], framed(0, &[])).await;
        assert_eq!(answer.grpc_status(), expected, "{code:?}");
        let message = answer.headers["grpc-message"].to_str().unwrap();
        assert_eq!(message, format!("{}: told to refuse", code.as_str()));
        let status = answer.details();
        assert_eq!(
            (status.code.to_string().as_str(), &*status.message),
            (expected, message)
        );
        let info = ErrorInfo::decode(&status.details[0].value[..]).unwrap();
        assert_eq!((&*info.reason, &*info.domain), (code.as_str(), "otlake"));
        // RetryInfo is there exactly where a retry helps.
        let retries: Vec<_> = status.details[1..]
            .iter()
            .map(|detail| {
                assert_eq!(detail.type_url, RETRY_INFO);
                RetryInfo::decode(&detail.value[..])
                    .unwrap()
                    .retry_delay
                    .unwrap()
            })
            .map(|delay| (delay.seconds, delay.nanos))
            .collect();
        let expected: &[_] = if retryable { &[(1, 500_000_000)] } else { &[] };
        assert_eq!(retries, expected, "{code:?}");
    }
}

#[tokio::test]
async fn framing_that_is_not_one_message_is_refused() {
    let (fake, receiver) = start(config()).await;
    let two = [framed(0, &request(1)), framed(0, &request(1))].concat();
    for body in [
        Bytes::new(),
        Bytes::from_static(&[0, 0, 0]),
        Bytes::from(two),
        Bytes::from_static(&[0, 0, 0, 0, 9, 1]),
        Bytes::from_static(&[2, 0, 0, 0, 0]),
    ] {
        assert_eq!(call(&receiver, TRACES, &[], body).await.grpc_status(), "3");
    }
    let snappy = [("grpc-encoding", "snappy")];
    let answer = call(&receiver, TRACES, &snappy, framed(1, &[1, 2])).await;
    assert_eq!(answer.grpc_status(), "12");
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip,zstd");
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn i5_the_size_limit_holds_after_decompression_and_is_not_retryable() {
    let (fake, receiver) = start(config()).await;
    let large = call(&receiver, TRACES, &[], framed(0, &request(100_001))).await;
    assert_eq!(large.grpc_status(), "8");
    let bomb = framed(1, &gzip(&request(5_000_000)));
    let answer = call(&receiver, TRACES, &[("grpc-encoding", "gzip")], bomb).await;
    assert_eq!(answer.grpc_status(), "8");
    assert_eq!(answer.details().details.len(), 1);
    assert_eq!(fake.received.lock().len(), 0);
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let (fake, receiver) = start(config()).await;
    *fake.delay.lock() = Duration::from_secs(60);
    let answer = call(
        &receiver,
        TRACES,
        &[("grpc-timeout", "50m")],
        framed(0, &[]),
    )
    .await;
    assert_eq!(answer.grpc_status(), "4");
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_lives() {
    let (fake, receiver) = start(config()).await;
    *fake.panics.lock() = true;
    assert_eq!(
        call(&receiver, TRACES, &[], framed(0, &[]))
            .await
            .grpc_status(),
        "13"
    );
    *fake.panics.lock() = false;
    assert_eq!(
        call(&receiver, TRACES, &[], framed(0, &[]))
            .await
            .grpc_status(),
        "0"
    );
}
