//! What the nodes say to each other about files.
//!
//! ```text
//!  message = version, u8 | length of the head, u32 little-endian | head, JSON | a file's bytes
//! ```
//!
//! A file's bytes are followed by nothing; the head tells their CRC-32C.

use bytes::{BufMut, Bytes, BytesMut};
use otlake_base::{Code, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The name of the service.
pub const FILES: &str = "files";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 4;

/// A file, by its key or, in a table's log, by the sum of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Key(String),
    Content { folder: String, sum: String },
}

impl What {
    pub(crate) fn content(folder: &str, sum: u128) -> What {
        What::Content {
            folder: folder.to_owned(),
            sum: format!("{sum:032x}"),
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Key(key) => f.write_str(key),
            What::Content { folder, sum } => write!(f, "{folder}, content {sum}"),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Take a copy, and say so once it is on stable storage. Its bytes follow, or are to be asked for.
    Take {
        what: What,
        /// `Sheet::to_text`.
        sheet: String,
        inline: bool,
        crc: u32,
    },
    /// Give bytes of a copy.
    Read { what: What, start: u64, end: u64 },
    /// Say what stands beside a copy.
    Describe { what: What },
    /// Name data files.
    List {
        folder: String,
        after: String,
        deep: bool,
    },
    /// Delete copies.
    Delete { keys: Vec<String> },
    /// Fetch what should be there of these; the sender has copies.
    Offer { keys: Vec<String> },
    /// Say of which there are sound copies; nothing is fetched.
    Have { keys: Vec<String> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// There is no sound copy here.
    Absent,
    /// Bytes follow.
    Bytes { crc: u32 },
    /// `Sheet::to_text`.
    Sheet(String),
    Listed {
        /// Key, bytes, and when it was written, in ns.
        files: Vec<(String, u64, u64)>,
        folders: Vec<String>,
        more: bool,
    },
    Offered {
        /// Of what was offered, by its place: those that are not there (yet).
        missing: Vec<usize>,
        /// Those that were deleted.
        deleted: Vec<usize>,
    },
    /// Of what was asked about, by its place.
    Having { places: Vec<usize> },
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::new(Code::PeerProtocol, format!("files: {what}"))
}

pub(crate) fn encode(head: &impl Serialize, body: &[u8]) -> Result<Bytes> {
    let head = serde_json::to_vec(head).map_err(broken)?;
    let mut message = BytesMut::with_capacity(HEAD_BYTES + head.len() + body.len());
    message.put_u8(VERSION);
    message.put_u32_le(u32::try_from(head.len()).map_err(broken)?);
    message.extend_from_slice(&head);
    message.extend_from_slice(body);
    Ok(message.freeze())
}

pub(crate) fn decode<T: DeserializeOwned>(message: &Bytes) -> Result<(T, Bytes)> {
    let Some((fixed, rest)) = message.split_first_chunk::<HEAD_BYTES>() else {
        return Err(broken("a message is cut off"));
    };
    if fixed[0] != VERSION {
        let said = format!("a message has version {}, not {VERSION}", fixed[0]);
        return Err(broken(said));
    }
    let length = u32::from_le_bytes([fixed[1], fixed[2], fixed[3], fixed[4]]) as usize;
    if rest.len() < length {
        return Err(broken("a message is cut off"));
    }
    let head = serde_json::from_slice(&rest[..length]).map_err(broken)?;
    Ok((head, message.slice(HEAD_BYTES + length..)))
}

/// The bytes of a file, checked.
pub(crate) fn checked(bytes: Bytes, crc: u32) -> Result<Bytes> {
    match crc32c::crc32c(&bytes) == crc {
        true => Ok(bytes),
        false => Err(broken("a file's bytes were damaged on the way")),
    }
}
