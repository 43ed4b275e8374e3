//! Receiving and decompressing a request within its limits.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use otlake_base::limits::ACK_TIMEOUT_MS;
use otlake_base::{Code, Error, Metrics, Reservation, Result, SystemClock};
use tokio::time::{Instant, timeout, timeout_at};

/// The prefix of a gRPC message: a flag and the message's length.
pub const GRPC_PREFIX: usize = 5;
/// Room in the budget beyond the requests' own bytes, for framing.
const SPARE: usize = 2048;
/// What a body that comes in pieces takes at first; it takes more as it grows, so that announcing
/// a size takes nothing from others.
const FIRST_BYTES: usize = 16 * 1024;
/// What a decompressed body takes at first.
const EAGER_BYTES: usize = 1024 * 1024;
/// Protobuf of one JSON value beyond the value's own text: `0,` is eight bytes of a bucket count.
const JSON_VALUE_BYTES: usize = 8;
/// Larger bodies are decompressed on a thread that may be kept busy.
const INLINE_COMPRESSED_BYTES: usize = 64 * 1024;
/// Where a compressed body does not tell its size, it is guessed at this many times its own.
const EXPANSION: usize = 8;
/// How long the rest of a refused body may pause before it is no longer waited for.
const DISCARD_IDLE: Duration = Duration::from_millis(500);
/// How long all of it may take.
const DISCARD_MOST: Duration = Duration::from_secs(10);
/// Deflate's limit; a size that claims more is not believed.
const MAX_DEFLATE_EXPANSION: usize = 1032;
/// The largest zstd window that encoders of telemetry use (32 MiB) is always taken, and none
/// beyond zstd's own default limit.
const ZSTD_WINDOW_LOGS: std::ops::RangeInclusive<u32> = 25..=27;

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a connection may take to its first request, and to each request's headers.
    pub headers: Duration,
    /// How long a body may send nothing.
    pub idle: Duration,
    /// What a body must send each second, on average, once it has taken as long as it may be
    /// silent.
    pub bytes_per_second: u64,
    /// How long storing a request may take.
    pub ack: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            bytes_per_second: 4 * 1024,
            ack: Duration::from_millis(ACK_TIMEOUT_MS),
        }
    }
}

/// Bytes of all requests being received (I5).
#[derive(Clone)]
pub struct Budget {
    shared: Arc<otlake_base::Budget>,
    max_request_bytes: usize,
    pace: Pace,
}

/// What one request holds of the budget; it is given back when this is dropped.
pub struct Held(Reservation);

impl Budget {
    pub fn new(
        max_in_flight_bytes: usize,
        max_request_bytes: usize,
        pace: Pace,
        metrics: &Arc<Metrics>,
    ) -> Self {
        // A request at its limit must fit, with its compressed or JSON form beside it.
        let bytes = max_in_flight_bytes.max(2 * max_request_bytes);
        let gauge = metrics.receive_bytes.clone();
        let clock = Arc::new(SystemClock);
        Self {
            shared: otlake_base::Budget::measured(bytes + SPARE, clock, gauge, Arc::clone(metrics)),
            max_request_bytes,
            pace,
        }
    }

    /// Nothing yet, for a request of a tenant on one of its connections.
    pub fn empty(&self, tenant: &str, connection: u64) -> Held {
        let claim = self.shared.claim(tenant, Some(connection));
        Held(self.shared.empty(claim))
    }

    /// Holds at least `bytes` for a request.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where the budget has no more, or no more for this tenant or connection.
    fn hold(&self, held: &mut Held, bytes: usize) -> Result<()> {
        if bytes <= held.0.bytes() || held.0.try_resize(bytes) {
            return Ok(());
        }
        let message = "too many bytes are being received";
        Err(Error::new(Code::IngestOverloaded, message))
    }

    fn too_large(&self, bytes: usize) -> Error {
        Error::new(
            Code::OtlpTooLarge,
            format!(
                "the request has more than {} bytes (at least {bytes})",
                self.max_request_bytes
            ),
        )
    }

    /// Receives a whole body of at most the limit and `prefix` bytes, which is [`GRPC_PREFIX`]
    /// for gRPC and 0 for HTTP.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE`; `INGEST_OVERLOADED`, also for a body that comes too slowly to be given
    /// memory; `OTLP_MALFORMED` where it breaks off.
    pub async fn receive(
        &self,
        mut body: Incoming,
        prefix: usize,
        held: &mut Held,
    ) -> Result<Bytes> {
        let mut patience = Patience::new(self.pace);
        let received = self.gather(&mut body, prefix, held, &mut patience).await;
        if let Err(error) = &received
            && error.code == Code::IngestOverloaded
            && !patience.is_over()
        {
            let _ = held.0.try_resize(0);
            let _ = timeout(DISCARD_MOST, discard(&mut body)).await;
        }
        received
    }

    async fn gather(
        &self,
        body: &mut Incoming,
        prefix: usize,
        held: &mut Held,
        patience: &mut Patience,
    ) -> Result<Bytes> {
        let limit = self.max_request_bytes + prefix;
        let mut expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(self.too_large(expected));
        }
        let mut first = Bytes::new();
        let mut gathered = Vec::new();
        loop {
            let frame = match timeout_at(patience.deadline, body.frame()).await {
                Err(_) => {
                    // The network's fault, or an attack; an honest client is to try again.
                    let message = "the body comes too slowly to keep memory for it";
                    return Err(Error::new(Code::IngestOverloaded, message));
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Error::new(
                        Code::OtlpMalformed,
                        format!("the body broke off: {error}"),
                    ));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = first.len() + gathered.len() + data.len();
            if length > limit {
                return Err(self.too_large(length));
            }
            patience.received(length);
            // A body in one piece is not copied.
            if first.is_empty() && gathered.is_empty() {
                self.hold(held, length)?;
                first = data;
            } else {
                if gathered.capacity() < length {
                    if expected == 0 && prefix == GRPC_PREFIX {
                        // gRPC clients announce no length but the message's.
                        let so_far = if gathered.is_empty() {
                            &first
                        } else {
                            &gathered[..]
                        };
                        expected = message_length(so_far).unwrap_or(0) + prefix;
                        if expected > limit {
                            return Err(self.too_large(expected));
                        }
                    }
                    // What is there at most doubles, so that memory follows what has come.
                    let capacity = expected.min(FIRST_BYTES.max(2 * length)).max(length);
                    self.hold(held, capacity)?;
                    gathered.reserve_exact(capacity - gathered.len());
                    gathered.extend_from_slice(&std::mem::take(&mut first));
                }
                gathered.extend_from_slice(&data);
            }
        }
        Ok(if first.is_empty() {
            Bytes::from(gathered)
        } else {
            first
        })
    }

    /// Undoes a compression, up to the limit; both forms are held until it is done, and the
    /// decompressed one from then on.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE`, `OTLP_MALFORMED`, `INGEST_OVERLOADED`.
    pub async fn decompress(
        &self,
        encoding: Encoding,
        body: Bytes,
        held: &mut Held,
    ) -> Result<Bytes> {
        if encoding == Encoding::Identity {
            return Ok(body);
        }
        let budget = self.clone();
        let inline = body.len() < INLINE_COMPRESSED_BYTES;
        let empty = Held(held.0.sibling());
        let mut now_held = std::mem::replace(held, empty);
        let inflate = move || {
            let inflated = match encoding {
                Encoding::Zstd => budget.zstd(&body, &mut now_held),
                Encoding::Gzip | Encoding::Identity => budget.gzip(&body, &mut now_held),
            };
            inflated.map(|inflated| (inflated, now_held))
        };
        // Small bodies are not worth another thread's wake-up.
        let inflated = if inline {
            inflate()
        } else {
            tokio::task::spawn_blocking(inflate)
                .await
                .map_err(|error| Error::new(Code::Internal, format!("decompressing: {error}")))?
        };
        let (inflated, mut now_held) = inflated?;
        // The compressed form is gone; less always fits.
        let _ = now_held
            .0
            .try_resize(inflated.len().min(now_held.0.bytes()));
        *held = now_held;
        Ok(inflated)
    }

    fn gzip(&self, body: &[u8], held: &mut Held) -> Result<Bytes> {
        // The last four bytes are the size of the last member: nearly always the only one.
        let told = body
            .last_chunk::<4>()
            .map(|size| u32::from_le_bytes(*size) as usize);
        let believable = body.len().saturating_mul(MAX_DEFLATE_EXPANSION);
        let told = told.filter(|size| *size <= believable);
        self.inflate(
            flate2::bufread::MultiGzDecoder::new(body),
            told,
            body.len(),
            held,
        )
    }

    fn zstd(&self, body: &[u8], held: &mut Held) -> Result<Bytes> {
        let told = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
        let told = told.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        if let Some(size) = told {
            if size > self.max_request_bytes {
                return Err(self.too_large(size));
            }
            // One frame of a known size needs no window and no zeroed memory. What does not
            // turn out to be that is read as a stream, which also tells what is wrong with it.
            self.hold(held, body.len() + size)?;
            if let Ok(inflated) = zstd::bulk::decompress(body, size) {
                return Ok(Bytes::from(inflated));
            }
        }
        let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
        let window = self.max_request_bytes.next_power_of_two().ilog2();
        reader
            .window_log_max(window.clamp(*ZSTD_WINDOW_LOGS.start(), *ZSTD_WINDOW_LOGS.end()))
            .map_err(damaged)?;
        self.inflate(reader, told, body.len(), held)
    }

    fn inflate(
        &self,
        mut reader: impl Read,
        told: Option<usize>,
        compressed: usize,
        held: &mut Held,
    ) -> Result<Bytes> {
        // One byte more than there should be lets the reader show that it has ended, and one
        // more than the limit that it has not.
        let ceiling = self.max_request_bytes.saturating_add(1);
        let guess = told.unwrap_or(compressed.saturating_mul(EXPANSION));
        let mut capacity = guess.saturating_add(1).min(ceiling).min(EAGER_BYTES);
        self.hold(held, compressed + capacity)?;
        let mut inflated = vec![0; capacity];
        let mut filled = 0;
        loop {
            if filled == capacity {
                if filled == ceiling {
                    return Err(self.too_large(filled));
                }
                capacity = guess
                    .saturating_add(1)
                    .min(4 * filled)
                    .max(2 * filled)
                    .min(ceiling);
                self.hold(held, compressed + capacity)?;
                inflated.resize(capacity, 0);
            }
            let length = reader.read(&mut inflated[filled..]).map_err(damaged)?;
            if length == 0 {
                inflated.truncate(filled);
                return Ok(Bytes::from(inflated));
            }
            filled += length;
        }
    }

    /// Reads OTLP/JSON with `read`, within the limit: protobuf can be larger than its JSON,
    /// whose `0,` is eight bytes of a bucket count.
    ///
    /// # Errors
    /// `OTLP_MALFORMED`, `OTLP_TOO_LARGE`, `INGEST_OVERLOADED`.
    pub async fn protobuf(
        &self,
        json: Bytes,
        inline_bytes: usize,
        read: impl FnOnce(&[u8]) -> Result<Vec<u8>> + Send + 'static,
        held: &mut Held,
    ) -> Result<Bytes> {
        let before = json.len();
        // What it becomes is bounded by its text and its values; each is followed by a comma or
        // ends something.
        let values = json.iter().filter(|byte| **byte == b',').count();
        let after = before.saturating_add(values.saturating_mul(JSON_VALUE_BYTES));
        self.hold(held, before + after.min(self.max_request_bytes))?;
        let protobuf = if before < inline_bytes {
            read(&json)?
        } else {
            tokio::task::spawn_blocking(move || read(&json))
                .await
                .map_err(|error| Error::new(Code::Internal, format!("reading JSON: {error}")))??
        };
        if protobuf.len() > self.max_request_bytes {
            return Err(self.too_large(protobuf.len()));
        }
        // The JSON is gone; less always fits.
        let _ = held.0.try_resize(protobuf.len().min(held.0.bytes()));
        Ok(Bytes::from(protobuf))
    }
}

/// Takes the rest of a body that is refused for now, as long as it keeps coming. Cut off in the
/// middle, an HTTP/1 client would find its connection broken instead of the answer; and an HTTP/2
/// connection is given up after about a thousand such calls, with all that are on their way.
async fn discard(body: &mut Incoming) {
    while let Ok(Some(Ok(_))) = timeout(DISCARD_IDLE, body.frame()).await {}
}

/// The deadline of a body that must keep coming.
struct Patience {
    pace: Pace,
    started: Instant,
    deadline: Instant,
}

impl Patience {
    fn new(pace: Pace) -> Self {
        let started = Instant::now();
        Self {
            pace,
            started,
            deadline: started + pace.idle,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn received(&mut self, bytes: usize) {
        let earned = Duration::from_secs_f64(bytes as f64 / self.pace.bytes_per_second as f64);
        let longest = self.started + self.pace.idle + earned;
        self.deadline = longest.min(Instant::now() + self.pace.idle);
    }
}

/// The length that a gRPC prefix tells.
pub fn message_length(body: &[u8]) -> Option<usize> {
    let prefix = body.first_chunk::<GRPC_PREFIX>()?;
    Some(u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize)
}

/// A compression of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The compression of a name in `content-encoding` or `grpc-encoding`, whatever its case
    /// (RFC 9110, 8.4.1).
    ///
    /// # Errors
    /// `OTLP_ENCODING`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            other => Err(Error::new(
                Code::OtlpEncoding,
                format!("the encoding `{}` is not known here", other.escape_debug()),
            )),
        }
    }
}

fn damaged(error: std::io::Error) -> Error {
    Error::new(
        Code::OtlpMalformed,
        format!("the compressed body is damaged: {error}"),
    )
}
