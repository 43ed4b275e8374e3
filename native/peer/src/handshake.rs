//! Who is there. The first bytes of a connection, before HTTP/2:
//!
//! ```text
//!  dialler  -> "otlpeer\n" | version u16 LE | secured u8 | nonce 32 | cluster | from | to
//!  listener -> status u8 | nonce 32 | name | proof 32          after a status but 0: nothing more
//!  dialler  -> status u8 | proof 32
//!  listener -> status u8
//!  text     =  length u8 | UTF-8
//!  proof    =  HMAC-SHA256(secret, role | version | nonces | cluster, from and to), 0 without a secret
//! ```
//!
//! Both nonces are fresh, so nothing that was said before proves anything again; the role in front
//! keeps a proof from being sent back to who made it.

use std::sync::Arc;

use otlake_base::{Code, Error, Result, random};
use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::{MAX_NAME_BYTES, PROTOCOL_VERSION};

const MAGIC: &[u8; 8] = b"otlpeer\n";
const NONCE: usize = 32;
const PROOF: usize = 32;
const DIALLER: &[u8] = b"otlake peer dialler\0";
const LISTENER: &[u8] = b"otlake peer listener\0";

/// Why a connection is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The first bytes are of something else.
    Protocol = 1,
    /// Another version of the protocol.
    Version = 2,
    /// Another cluster.
    Cluster = 3,
    /// Not the node that was to be dialled.
    Name = 4,
    /// Another secret, or one side has none.
    Secret = 5,
    /// A node that is not a member, as far as is known.
    Stranger = 6,
    /// No place for one more connection.
    Full = 7,
    /// The handshake was not done in time.
    Timeout = 8,
}

impl Refusal {
    const ALL: [Refusal; 8] = [
        Refusal::Protocol,
        Refusal::Version,
        Refusal::Cluster,
        Refusal::Name,
        Refusal::Secret,
        Refusal::Stranger,
        Refusal::Full,
        Refusal::Timeout,
    ];

    /// The label's value.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Protocol => "protocol",
            Refusal::Version => "version",
            Refusal::Cluster => "cluster",
            Refusal::Name => "name",
            Refusal::Secret => "secret",
            Refusal::Stranger => "stranger",
            Refusal::Full => "full",
            Refusal::Timeout => "timeout",
        }
    }

    /// The error of a caller.
    pub fn error(self, name: &str) -> Error {
        let (code, what) = match self {
            Refusal::Protocol => (Code::PeerRefused, "does not speak this protocol"),
            Refusal::Version => (Code::PeerRefused, "speaks another version of the protocol"),
            Refusal::Cluster => (Code::PeerRefused, "belongs to another cluster"),
            Refusal::Name => (Code::PeerRefused, "is not who listens at its address"),
            Refusal::Secret => (Code::PeerRefused, "does not have the same secret"),
            Refusal::Stranger => (Code::PeerUnreachable, "does not know this node as a member"),
            Refusal::Full => (
                Code::PeerUnreachable,
                "has no place for one more connection",
            ),
            Refusal::Timeout => (
                Code::PeerUnreachable,
                "did not finish the handshake in time",
            ),
        };
        Error::new(code, format!("node `{name}` {what}"))
    }

    fn from_status(status: u8) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|each| *each as u8 == status)
    }
}

/// How a handshake fails.
#[derive(Debug)]
pub enum Failure {
    /// This side says no.
    Refused(Refusal),
    /// The other side said no.
    RefusedThere(Refusal),
    /// The connection broke.
    Broken(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Broken(error)
    }
}

/// What a node knows of itself.
pub struct Identity {
    pub name: Arc<str>,
    pub cluster: Arc<str>,
    key: Option<hmac::Key>,
}

impl Identity {
    /// # Errors
    /// `CONFIG_INVALID` for names that are empty or longer than `MAX_NAME_BYTES`.
    pub fn new(name: Arc<str>, cluster: Arc<str>, secret: Option<[u8; 32]>) -> Result<Identity> {
        for (what, text) in [("node", &name), ("cluster", &cluster)] {
            if text.is_empty() || text.len() > MAX_NAME_BYTES {
                let message = format!("a {what}'s name has 1 to {MAX_NAME_BYTES} bytes: `{text}`");
                return Err(Error::new(Code::ConfigInvalid, message));
            }
        }
        let key = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &secret));
        Ok(Identity { name, cluster, key })
    }
}

/// What both proofs are made over.
struct Transcript<'a> {
    nonces: [[u8; NONCE]; 2],
    texts: [&'a [u8]; 3],
}

impl Transcript<'_> {
    fn bytes(&self, role: &[u8]) -> Vec<u8> {
        let mut bytes = role.to_vec();
        bytes.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        for nonce in &self.nonces {
            bytes.extend_from_slice(nonce);
        }
        for text in self.texts {
            put_text(&mut bytes, text);
        }
        bytes
    }

    fn prove(&self, role: &[u8], key: Option<&hmac::Key>) -> [u8; PROOF] {
        let mut proof = [0; PROOF];
        if let Some(key) = key {
            proof.copy_from_slice(hmac::sign(key, &self.bytes(role)).as_ref());
        }
        proof
    }

    fn is_proof(&self, proof: &[u8; PROOF], role: &[u8], key: Option<&hmac::Key>) -> bool {
        key.is_none_or(|key| hmac::verify(key, &self.bytes(role), proof).is_ok())
    }
}

/// A text is checked to fit before it comes here.
fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text);
}

async fn read_text(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failure> {
    let length = usize::from(io.read_u8().await?);
    if length == 0 || length > MAX_NAME_BYTES {
        return Err(Failure::Refused(Refusal::Protocol));
    }
    let mut text = vec![0; length];
    io.read_exact(&mut text).await?;
    Ok(text)
}

async fn read_array<const N: usize>(io: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Failure> {
    let mut array = [0; N];
    io.read_exact(&mut array).await?;
    Ok(array)
}

async fn read_status(io: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
    match io.read_u8().await? {
        0 => Ok(()),
        status => Err(match Refusal::from_status(status) {
            Some(refusal) => Failure::RefusedThere(refusal),
            None => Failure::Refused(Refusal::Protocol),
        }),
    }
}

/// Says who dials, and learns that the other side is `to`.
pub async fn dial(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &Identity,
    to: &str,
) -> Result<(), Failure> {
    let nonce = random::nonce();
    let mut hello = MAGIC.to_vec();
    hello.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    hello.push(u8::from(own.key.is_some()));
    hello.extend_from_slice(&nonce);
    for text in [&*own.cluster, &*own.name, to] {
        put_text(&mut hello, text.as_bytes());
    }
    io.write_all(&hello).await?;

    read_status(io).await?;
    let theirs = read_array::<NONCE>(io).await?;
    let name = read_text(io).await?;
    let proof = read_array::<PROOF>(io).await?;
    let transcript = Transcript {
        nonces: [nonce, theirs],
        texts: [own.cluster.as_bytes(), own.name.as_bytes(), to.as_bytes()],
    };
    let refusal = if name != to.as_bytes() {
        Some(Refusal::Name)
    } else if !transcript.is_proof(&proof, LISTENER, own.key.as_ref()) {
        Some(Refusal::Secret)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        io.write_all(&[refusal as u8]).await?;
        return Err(Failure::Refused(refusal));
    }
    let mut answer = vec![0];
    answer.extend_from_slice(&transcript.prove(DIALLER, own.key.as_ref()));
    io.write_all(&answer).await?;
    read_status(io).await
}

/// Hears who dials, and proves who is here. The dialler is to be told with `welcome` what becomes of
/// the connection.
pub async fn listen(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &Identity,
) -> Result<Arc<str>, Failure> {
    match hear(io, own).await {
        Err(Failure::Refused(refusal)) => {
            // What is no dialler gets no answer in a protocol that it does not speak.
            if refusal != Refusal::Protocol {
                refuse(io, refusal).await;
            }
            Err(Failure::Refused(refusal))
        }
        heard => heard,
    }
}

async fn hear(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &Identity,
) -> Result<Arc<str>, Failure> {
    if read_array::<{ MAGIC.len() }>(io).await? != *MAGIC {
        return Err(Failure::Refused(Refusal::Protocol));
    }
    if io.read_u16_le().await? != PROTOCOL_VERSION {
        return Err(Failure::Refused(Refusal::Version));
    }
    let is_secured = io.read_u8().await? != 0;
    let theirs = read_array::<NONCE>(io).await?;
    let cluster = read_text(io).await?;
    let from = read_text(io).await?;
    let to = read_text(io).await?;
    if cluster != own.cluster.as_bytes() {
        return Err(Failure::Refused(Refusal::Cluster));
    }
    if to != own.name.as_bytes() {
        return Err(Failure::Refused(Refusal::Name));
    }
    if is_secured != own.key.is_some() {
        return Err(Failure::Refused(Refusal::Secret));
    }
    let Ok(name) = std::str::from_utf8(&from) else {
        return Err(Failure::Refused(Refusal::Protocol));
    };

    let nonce = random::nonce();
    let transcript = Transcript {
        nonces: [theirs, nonce],
        texts: [&cluster, &from, &to],
    };
    let mut answer = vec![0];
    answer.extend_from_slice(&nonce);
    put_text(&mut answer, own.name.as_bytes());
    answer.extend_from_slice(&transcript.prove(LISTENER, own.key.as_ref()));
    io.write_all(&answer).await?;

    read_status(io).await?;
    let proof = read_array::<PROOF>(io).await?;
    if !transcript.is_proof(&proof, DIALLER, own.key.as_ref()) {
        return Err(Failure::Refused(Refusal::Secret));
    }
    Ok(name.into())
}

/// Tells the dialler that HTTP/2 begins.
pub async fn welcome(io: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    io.write_all(&[0]).await
}

/// Tells the dialler why not. Whether that arrives is no matter: it sees the connection close.
pub async fn refuse(io: &mut (impl AsyncWrite + Unpin), refusal: Refusal) {
    let _ = io.write_all(&[refusal as u8]).await;
    let _ = io.shutdown().await;
}
