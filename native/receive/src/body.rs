//! Receiving and decompressing a request within its limits.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use otlake_base::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a body may send nothing.
const IDLE: Duration = Duration::from_secs(30);
/// What the budget is counted in.
const UNIT: usize = 1024;
const DECOMPRESSION_CHUNK: usize = 64 * 1024;

/// Bytes of all requests being received (I5).
#[derive(Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    max_request_bytes: usize,
}

/// What one request holds of the budget; it is given back when this is dropped.
#[derive(Default)]
pub struct Held {
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub fn new(max_in_flight_bytes: usize, max_request_bytes: usize) -> Self {
        // A request at its limit must fit, with its compressed form beside it.
        let bytes = max_in_flight_bytes.max(2 * max_request_bytes);
        let units = (bytes / UNIT + 2).min(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units)),
            max_request_bytes,
        }
    }

    /// Holds at least `bytes` for a request.
    fn hold(&self, held: &mut Held, bytes: usize) -> Result<()> {
        if bytes <= held.bytes {
            return Ok(());
        }
        let units = (bytes - held.bytes).div_ceil(UNIT);
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| self.units.clone().try_acquire_many_owned(units).ok())
            .ok_or_else(|| {
                Error::new(Code::IngestOverloaded, "too many bytes are being received")
            })?;
        held.permits.push(permit);
        held.bytes += units * UNIT;
        Ok(())
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

    /// Receives a whole body of at most the limit and `framing` bytes.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE`, `INGEST_OVERLOADED`, `OTLP_MALFORMED` where it breaks off.
    pub async fn receive(
        &self,
        mut body: Incoming,
        framing: usize,
        held: &mut Held,
    ) -> Result<Bytes> {
        let limit = self.max_request_bytes + framing;
        let announced = body.size_hint().lower() as usize;
        if announced > limit {
            return Err(self.too_large(announced));
        }
        self.hold(held, announced)?;
        let mut first = None::<Bytes>;
        let mut gathered = BytesMut::new();
        loop {
            let frame = match timeout(IDLE, body.frame()).await {
                Err(_) => {
                    return Err(Error::new(Code::OtlpMalformed, "the body stopped coming"));
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
            let length = first.as_ref().map_or(gathered.len(), Bytes::len) + data.len();
            if length > limit {
                return Err(self.too_large(length));
            }
            self.hold(held, length)?;
            // A body in one piece is not copied.
            match first.take() {
                None if gathered.is_empty() => first = Some(data),
                None => gathered.extend_from_slice(&data),
                Some(piece) => {
                    gathered.reserve(announced.max(length));
                    gathered.extend_from_slice(&piece);
                    gathered.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| gathered.freeze()))
    }

    /// Undoes a compression, up to the limit.
    ///
    /// # Errors
    /// `OTLP_ENCODING`, `OTLP_TOO_LARGE`, `OTLP_MALFORMED`, `INGEST_OVERLOADED`.
    pub async fn decompress(&self, encoding: &str, body: Bytes, held: &mut Held) -> Result<Bytes> {
        let compression = match encoding.trim() {
            "" | "identity" => return Ok(body),
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            other => {
                return Err(Error::new(
                    Code::OtlpEncoding,
                    format!("the encoding `{}` is not known here", other.escape_debug()),
                ));
            }
        };
        let budget = self.clone();
        let before = body.len();
        let inflate = move || -> Result<(Bytes, Held)> {
            let mut held = Held {
                permits: Vec::new(),
                bytes: 0,
            };
            let inflated = budget.inflate(compression, &body, &mut held)?;
            Ok((inflated, held))
        };
        // Small bodies are not worth another thread's wake-up.
        let inflated = if before < DECOMPRESSION_CHUNK {
            inflate()
        } else {
            tokio::task::spawn_blocking(inflate)
                .await
                .map_err(|error| Error::new(Code::Internal, format!("decompressing: {error}")))?
        };
        let (inflated, mut more) = inflated?;
        held.permits.append(&mut more.permits);
        Ok(inflated)
    }

    fn inflate(&self, compression: Compression, body: &[u8], held: &mut Held) -> Result<Bytes> {
        let mut reader: Box<dyn Read + '_> = match compression {
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(body).map_err(damaged)?),
        };
        let mut inflated = Vec::new();
        let mut chunk = vec![0; DECOMPRESSION_CHUNK];
        loop {
            let length = reader.read(&mut chunk).map_err(damaged)?;
            if length == 0 {
                return Ok(Bytes::from(inflated));
            }
            if inflated.len() + length > self.max_request_bytes {
                return Err(self.too_large(inflated.len() + length));
            }
            self.hold(held, inflated.len() + length)?;
            inflated.extend_from_slice(&chunk[..length]);
        }
    }
}

#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

fn damaged(error: std::io::Error) -> Error {
    Error::new(
        Code::OtlpMalformed,
        format!("the compressed body is damaged: {error}"),
    )
}
