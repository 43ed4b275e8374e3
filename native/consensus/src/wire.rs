//! How the group's nodes reach each other: a port, and the envelope of what goes through it.
//!
//! ```text
//! request   version:u8 kind:u8 group:u128 store:u128 head_length:u32 head (JSON) body (bytes)
//! answer    status:u8: 0, then the answer (JSON); 1, then an error {"code", "message"} (JSON)
//! ```
//!
//! Numbers are little-endian. `group` is the sender's group, 0 before it has one; `store` is the id of
//! the receiver's store as the sender knows it, 0 where it knows none. A node that has lost its store
//! has another: it must not vote or acknowledge as if it still knew what it promised, so it refuses
//! until it is a member under its new store. The body is a piece of a snapshot, or empty.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use otlake_base::{Code, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_MESSAGE_BYTES;

/// The version of the envelope and of what is in it.
const WIRE_VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 1 + 16 + 16 + 4;

/// The way to other nodes, by their names.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// Sends a request to a service of a node, and returns its answer.
    ///
    /// # Errors
    /// Anything: whoever calls tries again, and cannot know whether the request arrived.
    async fn call(
        &self,
        to: &str,
        service: &'static str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes>;
}

/// What answers the requests that come in.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers a request of the node `from`.
    ///
    /// # Errors
    /// None that the answer could carry: only where there is no answer to give.
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes>;
}

/// The name of Raft's service.
pub const RAFT: &str = "raft";
/// The name of Paxos's service.
pub const PAXOS: &str = "paxos";

/// A request as it was received.
pub(crate) struct Request<'a> {
    pub kind: u8,
    pub group: u128,
    pub store: u128,
    pub head: &'a [u8],
    pub body: Bytes,
}

/// The bytes of a request.
pub(crate) fn request(
    kind: u8,
    group: u128,
    store: u128,
    head: &impl Serialize,
    body: &[u8],
) -> Result<Bytes> {
    let head = serde_json::to_vec(head)
        .map_err(|error| Error::new(Code::Internal, format!("a message is no JSON: {error}")))?;
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + head.len() + body.len());
    bytes.extend_from_slice(&[WIRE_VERSION, kind]);
    bytes.extend_from_slice(&group.to_le_bytes());
    bytes.extend_from_slice(&store.to_le_bytes());
    let length = u32::try_from(head.len())
        .map_err(|_| Error::new(Code::MetadataFull, "a message is larger than 4 GiB"))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(body);
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Error::new(
            Code::MetadataFull,
            format!(
                "a message has {} bytes; at most {MAX_MESSAGE_BYTES} are sent",
                bytes.len()
            ),
        ));
    }
    Ok(bytes.freeze())
}

/// A request from its bytes.
pub(crate) fn open(bytes: &Bytes) -> Result<Request<'_>> {
    let malformed = || Error::new(Code::MetadataInvalid, "a message is cut short");
    let version = *bytes.first().ok_or_else(malformed)?;
    if version != WIRE_VERSION {
        return Err(Error::new(
            Code::MetadataVersion,
            format!("a message has version {version}; this node speaks {WIRE_VERSION}"),
        ));
    }
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Error::new(Code::MetadataFull, "a message is too large"));
    }
    let (fixed, rest) = bytes
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or_else(malformed)?;
    let number = |at: usize| u128::from_le_bytes(fixed[at..at + 16].try_into().unwrap_or_default());
    let length = u32::from_le_bytes(fixed[34..38].try_into().unwrap_or_default()) as usize;
    let head = rest.get(..length).ok_or_else(malformed)?;
    Ok(Request {
        kind: fixed[1],
        group: number(2),
        store: number(18),
        head,
        body: bytes.slice(HEAD_BYTES + length..),
    })
}

#[derive(Serialize, Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// The bytes of an answer.
pub(crate) fn answer(result: Result<impl Serialize>) -> Result<Bytes> {
    let (status, json) = match result {
        Ok(answer) => (0, serde_json::to_vec(&answer)),
        Err(error) => {
            let failure = Failure {
                code: error.code.as_str().to_owned(),
                message: error.message,
            };
            (1, serde_json::to_vec(&failure))
        }
    };
    let json =
        json.map_err(|error| Error::new(Code::Internal, format!("an answer is no JSON: {error}")))?;
    let mut bytes = BytesMut::with_capacity(1 + json.len());
    bytes.extend_from_slice(&[status]);
    bytes.extend_from_slice(&json);
    Ok(bytes.freeze())
}

/// What an answer's bytes say.
pub(crate) fn answered<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((0, json)) => parse(json),
        Some((_, json)) => {
            let failure: Failure = parse(json)?;
            let code = Code::ALL
                .iter()
                .find(|code| code.as_str() == failure.code)
                .copied()
                .unwrap_or(Code::Internal);
            Err(Error::new(code, failure.message))
        }
        None => Err(Error::new(Code::MetadataInvalid, "an answer is empty")),
    }
}

/// A message from its JSON.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new(
            Code::MetadataInvalid,
            format!("a message cannot be read: {error}"),
        )
    })
}
