//! A slice on its way to its owner, and the answer on its way back.
//!
//! ```text
//!  slice  = signal u8 | transport u8 | tenant's length u8 | tenant | connection u64 LE | OTLP request
//!  answer = accepted u64 LE | rejected u64 LE | session's length u16 LE | session | message
//! ```
//! A message or session of no bytes is none.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use otlake_base::{Code, Error, Result, Signal};
use otlake_receive::Ack;

/// Ways that a request can come; their numbers are their places here.
const TRANSPORTS: [&str; 4] = ["peer", "grpc", "http", "library"];

/// What stands in front of a slice.
pub fn head(signal: Signal, tenant: &str, transport: &str, connection: u64) -> Vec<u8> {
    let transport = TRANSPORTS.iter().position(|name| *name == transport);
    let mut head = Vec::with_capacity(3 + tenant.len() + 8);
    head.push(signal as u8);
    head.push(transport.unwrap_or_default() as u8);
    // A tenant's name has 64 bytes at most; the receiver has seen to it.
    head.push(tenant.len() as u8);
    head.extend_from_slice(tenant.as_bytes());
    head.extend_from_slice(&connection.to_le_bytes());
    head
}

/// A slice that came.
pub struct Parcel {
    pub signal: Signal,
    pub transport: &'static str,
    pub tenant: Arc<str>,
    pub connection: u64,
    /// The request; it shares the parcel's memory.
    pub body: Bytes,
}

/// # Errors
/// `PEER_PROTOCOL`.
pub fn open(mut bytes: Bytes) -> Result<Parcel> {
    let parts = (bytes.try_get_u8(), bytes.try_get_u8(), bytes.try_get_u8());
    let (Ok(signal), Ok(transport), Ok(length)) = parts else {
        return Err(malformed());
    };
    let length = usize::from(length);
    if bytes.len() < length + 8 {
        return Err(malformed());
    }
    let tenant = bytes.split_to(length);
    let tenant = std::str::from_utf8(&tenant).map_err(|_| malformed())?;
    Ok(Parcel {
        signal: Signal::from_u8(signal).ok_or_else(malformed)?,
        transport: TRANSPORTS
            .get(usize::from(transport))
            .ok_or_else(malformed)?,
        tenant: tenant.into(),
        connection: bytes.get_u64_le(),
        body: bytes,
    })
}

/// What became of a slice, to send back.
pub fn write_answer(ack: &Ack) -> Bytes {
    let session = ack.session.as_deref().unwrap_or_default();
    let message = ack.message.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(18 + session.len() + message.len());
    bytes.extend_from_slice(&ack.accepted.to_le_bytes());
    bytes.extend_from_slice(&ack.rejected.to_le_bytes());
    // A session is some positions of 50 bytes each.
    let length = u16::try_from(session.len()).unwrap_or_default();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&session.as_bytes()[..usize::from(length)]);
    bytes.extend_from_slice(message.as_bytes());
    bytes.into()
}

/// # Errors
/// `PEER_PROTOCOL`.
pub fn read_answer(mut bytes: Bytes) -> Result<Ack> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(malformed()),
    };
    if bytes.len() < 18 {
        return Err(malformed());
    }
    let (accepted, rejected) = (bytes.get_u64_le(), bytes.get_u64_le());
    let length = usize::from(bytes.get_u16_le());
    if bytes.len() < length {
        return Err(malformed());
    }
    Ok(Ack {
        accepted,
        rejected,
        session: text(&bytes.split_to(length))?,
        message: text(&bytes)?,
    })
}

fn malformed() -> Error {
    let message = "a slice, or the answer to one, that is not of this protocol";
    Error::new(Code::PeerProtocol, message)
}
