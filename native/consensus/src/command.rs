//! What can be asked of the metadata group, and what it answers.
//!
//! Everything here is written to the log and sent between nodes as JSON, by field name. A field that
//! is added needs `#[serde(default)]`: older entries lack it, and older nodes skip it. A new kind of
//! command, or another meaning of an old one, needs a higher `STATE_VERSION`: a node that does not
//! know an entry's version stops before it, rather than go on with another state than the others.

use std::fmt;
use std::sync::Arc;

use otlake_base::{Code, Error, Result, StreamId};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_FOLLOWERS, MAX_NAME_BYTES, MAX_RANGES, MAX_TTL_MS, MAX_VALUE_BYTES};
use crate::state::{Ensemble, Followers, LogFile, Number, StreamRecord, commit_version};

/// The version of the state machine: what a node must know to apply what this one proposes.
pub const STATE_VERSION: u32 = 2;
/// The version that what is not told otherwise needs (`Command::version`): releases that differ can
/// be in one group for as long as nobody asks for what the older does not know.
const FIRST_VERSION: u32 = 1;

/// One request to the state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Names the group; the first entry of its log.
    Found {
        /// The group's id.
        #[serde(with = "crate::hex")]
        group: u128,
    },
    /// Registers a node's new stream, open at epoch 1. Asked again by its owner it changes nothing.
    RegisterStream {
        /// The stream.
        #[serde(with = "crate::hex::stream")]
        stream: StreamId,
        /// The node that writes it.
        owner: Arc<str>,
        /// Who follows it from its first record on.
        followers: Followers,
        /// Copies that an acknowledgement needs, by signal: traces, metrics, logs.
        #[serde(default)]
        acks: [u32; 3],
    },
    /// Gives an open stream other followers, from a sequence number on.
    ChangeEnsemble {
        /// The stream.
        #[serde(with = "crate::hex::stream")]
        stream: StreamId,
        /// The epoch that the owner writes at.
        epoch: u64,
        /// Who follows it, from which record on, in place of all that start there or later.
        ensemble: Ensemble,
        /// Everything below this sequence number is in files: ensembles that end below it go.
        #[serde(default)]
        released: u64,
    },
    /// Raises a stream's epoch, so that its owner can acknowledge nothing more.
    FenceStream {
        /// The stream.
        #[serde(with = "crate::hex::stream")]
        stream: StreamId,
        /// The new epoch: one more than the last.
        epoch: u64,
        /// The node that recovers it.
        by: Arc<str>,
    },
    /// Ends a stream: by who fenced it, or by its owner while it is open.
    SealStream {
        /// The stream.
        #[serde(with = "crate::hex::stream")]
        stream: StreamId,
        /// The epoch of the fence, or of the open stream.
        epoch: u64,
        /// The node that fenced it, or its owner.
        by: Arc<str>,
        /// The sequence numbers that are in files, both ends included, ascending.
        ranges: Vec<(u64, u64)>,
        /// By signal: every one of its sequence numbers up to here is in files, too.
        #[serde(default)]
        released: [u64; 3],
    },
    /// Removes a sealed stream. Asked again it changes nothing.
    ForgetStream {
        /// The stream.
        #[serde(with = "crate::hex::stream")]
        stream: StreamId,
    },
    /// Sets or removes a value of the cluster's configuration.
    Configure {
        /// Its key.
        key: String,
        /// The JSON text of the value; none removes it.
        value: Option<String>,
        /// The version that it must have now, 0 where it must not exist; none takes any.
        expect: Option<u64>,
    },
    /// Announces an instance of a service, or renews it.
    Announce {
        /// The service.
        service: String,
        /// The instance, of the service's own naming.
        instance: String,
        /// What clients need to know of it (an address, a version), JSON text.
        value: String,
        /// How long it is known without renewal, in milliseconds.
        ttl_ms: u64,
    },
    /// Takes an instance of a service back.
    Withdraw {
        /// The service.
        service: String,
        /// The instance.
        instance: String,
    },
    /// Takes a lease that nobody holds, or renews one's own.
    AcquireLease {
        /// The lease.
        name: String,
        /// Who takes it: another start of a node is another holder.
        holder: String,
        /// How long it is held without renewal, in milliseconds.
        ttl_ms: u64,
    },
    /// Renews a lease that is still held under this token.
    RenewLease {
        /// The lease.
        name: String,
        /// Its fencing token.
        token: u64,
        /// How long it is held from now on, in milliseconds.
        ttl_ms: u64,
    },
    /// Gives a lease back. Where it is not held under this token any more, nothing changes.
    ReleaseLease {
        /// The lease.
        name: String,
        /// Its fencing token.
        token: u64,
    },
    /// Gives a content a name in the log of a table whose files the nodes keep. A commit's name must
    /// be the one that is free. Version 2.
    PublishFile {
        /// The log's folder.
        folder: String,
        /// The name in it.
        name: String,
        /// The content, which is on stable storage with its holders.
        file: LogFile,
        /// Whether the name may be given already; never a commit's.
        replace: bool,
    },
    /// Deletes a name in such a log; of a commit, all that is of its version or before it. Asked again
    /// it changes nothing. Version 2.
    UnpublishFile {
        /// The log's folder.
        folder: String,
        /// The name in it.
        name: String,
    },
    /// Lets the group's time go on, so that what has expired goes.
    Tick,
}

/// A command and the name that it is answered once by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its name.
    pub number: Number,
    /// What is asked.
    pub command: Command,
}

/// What one log entry holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The least `STATE_VERSION` that can apply it.
    pub version: u32,
    /// The group's time when the leader proposed it, in milliseconds.
    pub time_ms: u64,
    /// The proposals, applied in this order.
    pub proposals: Vec<Proposal>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} proposals at {}", self.proposals.len(), self.time_ms)
    }
}

/// What the state machine answers to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, or done before.
    Done,
    /// A stream as it is now.
    Stream(Arc<StreamRecord>),
    /// A configuration key as it is now.
    Configured {
        /// Its version; 0 where it is removed.
        version: u64,
    },
    /// A lease that is held.
    Leased {
        /// The fencing token: greater than any given before, of any lease.
        token: u64,
        /// When it ends unless it is renewed, in the group's time, in milliseconds.
        expires_ms: u64,
    },
    /// An instance that is known.
    Announced {
        /// When it is forgotten unless it is renewed, in the group's time, in milliseconds.
        expires_ms: u64,
    },
    /// Not done, and why.
    Refused(Refusal),
}

/// Why the state machine did not do what was asked. It will answer the same again unless what it
/// names has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such stream: it was never registered, or is forgotten.
    UnknownStream,
    /// Another owner has registered this stream.
    Registered {
        /// That owner.
        owner: Arc<str>,
    },
    /// The epoch is not the stream's, or not the one that follows it.
    StaleEpoch {
        /// The stream's epoch.
        epoch: u64,
    },
    /// The stream is fenced: its owner must acknowledge nothing more.
    Fenced {
        /// The epoch of the fence.
        epoch: u64,
        /// Who recovers it.
        by: Arc<str>,
    },
    /// The stream is sealed.
    Sealed,
    /// The stream is not sealed yet.
    NotSealed,
    /// A later change of the followers was made already.
    StaleSequence {
        /// Where the last change starts.
        first_sequence: u64,
    },
    /// The configuration key has another version.
    VersionConflict {
        /// Its version; 0 where it does not exist.
        version: u64,
    },
    /// Another holds the lease.
    Held {
        /// Who holds it.
        holder: String,
        /// Its fencing token.
        token: u64,
        /// When it ends unless it is renewed, in the group's time, in milliseconds.
        expires_ms: u64,
    },
    /// The lease is not held under this token any more.
    NotHeld,
    /// There is no such instance.
    UnknownInstance,
    /// The name is given.
    Exists {
        /// The sum of its content; 0 where that is not told any more.
        #[serde(with = "crate::hex")]
        sum: u128,
    },
    /// The commit's version is not the one that is free.
    Gap {
        /// That version.
        next: u64,
    },
    /// No checkpoint stands for the commit.
    Needed,
    /// The group holds as many of these as it may.
    Full {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// The proposal was answered before, and the answer is not kept any more.
    Answered,
    /// The group has an id already.
    Founded,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownStream => write!(f, "no such stream is registered"),
            Refusal::Registered { owner } => write!(f, "the stream is registered by {owner}"),
            Refusal::StaleEpoch { epoch } => write!(f, "the stream is at epoch {epoch}"),
            Refusal::Fenced { epoch, by } => {
                write!(f, "the stream was fenced by {by} at epoch {epoch}")
            }
            Refusal::Sealed => write!(f, "the stream is sealed"),
            Refusal::NotSealed => write!(f, "the stream is not sealed"),
            Refusal::StaleSequence { first_sequence } => {
                write!(
                    f,
                    "a later change made others follow from record {first_sequence} on"
                )
            }
            Refusal::VersionConflict { version } => write!(f, "the key has version {version}"),
            Refusal::Held { holder, token, .. } => {
                write!(f, "the lease is held by {holder} with token {token}")
            }
            Refusal::NotHeld => write!(f, "the lease is not held under this token"),
            Refusal::UnknownInstance => write!(f, "no such instance is announced"),
            Refusal::Exists { .. } => write!(f, "the name is given"),
            Refusal::Gap { next } => write!(f, "the next version is {next}"),
            Refusal::Needed => write!(f, "no checkpoint stands for the commit"),
            Refusal::Full { what, limit } => write!(f, "there are {limit} {what} already"),
            Refusal::Answered => write!(f, "the proposal was answered before"),
            Refusal::Founded => write!(f, "the group has an id already"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let code = match refusal {
            Refusal::Full { .. } => Code::MetadataFull,
            _ => Code::MetadataRefused,
        };
        Error::new(code, refusal)
    }
}

pub(crate) fn invalid(message: impl fmt::Display) -> Error {
    Error::new(Code::MetadataInvalid, message)
}

/// Checks a name.
///
/// # Errors
/// `METADATA_INVALID` where it is empty, too long, or holds control characters.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(invalid(format!(
            "the {what} must have 1 to {MAX_NAME_BYTES} bytes without control characters"
        )));
    }
    Ok(())
}

pub(crate) fn check_json(what: &str, value: &str, max_bytes: usize) -> Result<()> {
    if value.len() > max_bytes {
        return Err(invalid(format!(
            "the {what} has {} bytes; at most {max_bytes} are taken",
            value.len()
        )));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(value)
        .map(drop)
        .map_err(|error| invalid(format!("the {what} is not JSON: {error}")))
}

pub(crate) fn check_ttl(ttl_ms: u64) -> Result<()> {
    if ttl_ms == 0 || ttl_ms > MAX_TTL_MS {
        return Err(invalid(format!(
            "a time to live is 1 to {MAX_TTL_MS} ms, not {ttl_ms}"
        )));
    }
    Ok(())
}

fn check_followers(followers: &Followers) -> Result<()> {
    for nodes in [&followers.spans, &followers.metrics, &followers.logs] {
        if nodes.len() > MAX_FOLLOWERS {
            return Err(invalid(format!(
                "{} followers are named; at most {MAX_FOLLOWERS} are taken",
                nodes.len()
            )));
        }
        for node in nodes {
            check_name("follower's name", node)?;
        }
    }
    Ok(())
}

impl Command {
    /// The least `STATE_VERSION` that knows it.
    pub fn version(&self) -> u32 {
        match self {
            Command::PublishFile { .. } | Command::UnpublishFile { .. } => 2,
            _ => FIRST_VERSION,
        }
    }

    /// Checks what does not depend on the state, so that it never reaches the log.
    ///
    /// # Errors
    /// `METADATA_INVALID` with the field.
    pub fn check(&self) -> Result<()> {
        match self {
            Command::Found { .. } | Command::ForgetStream { .. } | Command::Tick => Ok(()),
            Command::RegisterStream {
                owner, followers, ..
            } => {
                check_name("owner's name", owner)?;
                check_followers(followers)
            }
            Command::ChangeEnsemble { ensemble, .. } => check_followers(&ensemble.followers),
            Command::FenceStream { by, .. } => check_name("recoverer's name", by),
            Command::SealStream { by, ranges, .. } => {
                check_name("name of who seals", by)?;
                if ranges.len() > MAX_RANGES {
                    return Err(invalid(format!(
                        "{} ranges are named; at most {MAX_RANGES} are taken",
                        ranges.len()
                    )));
                }
                let mut last = None;
                for (first, end) in ranges {
                    if first > end || last.is_some_and(|last| *first <= last) {
                        return Err(invalid("ranges must ascend and not overlap"));
                    }
                    last = Some(*end);
                }
                Ok(())
            }
            Command::Configure { key, value, .. } => {
                check_name("key", key)?;
                value
                    .as_deref()
                    .map_or(Ok(()), |value| check_json("value", value, MAX_VALUE_BYTES))
            }
            Command::Announce {
                service,
                instance,
                value,
                ttl_ms,
            } => {
                check_name("service's name", service)?;
                check_name("instance's name", instance)?;
                check_json("instance's value", value, MAX_VALUE_BYTES)?;
                check_ttl(*ttl_ms)
            }
            Command::Withdraw { service, instance } => {
                check_name("service's name", service)?;
                check_name("instance's name", instance)
            }
            Command::AcquireLease {
                name,
                holder,
                ttl_ms,
            } => {
                check_name("lease's name", name)?;
                check_name("holder's name", holder)?;
                check_ttl(*ttl_ms)
            }
            Command::RenewLease { name, ttl_ms, .. } => {
                check_name("lease's name", name)?;
                check_ttl(*ttl_ms)
            }
            Command::ReleaseLease { name, .. } => check_name("lease's name", name),
            Command::PublishFile {
                folder,
                name,
                file,
                replace,
            } => {
                check_name("folder", folder)?;
                check_name("file's name", name)?;
                if *replace && commit_version(name).is_some() {
                    return Err(invalid("a commit's name is given once"));
                }
                if file.holders.is_empty() || file.holders.len() > MAX_FOLLOWERS {
                    return Err(invalid(format!(
                        "a file has 1 to {MAX_FOLLOWERS} holders, not {}",
                        file.holders.len()
                    )));
                }
                file.holders
                    .iter()
                    .try_for_each(|holder| check_name("holder's name", holder))
            }
            Command::UnpublishFile { folder, name } => {
                check_name("folder", folder)?;
                check_name("file's name", name)
            }
        }
    }
}

impl Batch {
    /// The version that these need.
    pub fn version_of(proposals: &[Proposal]) -> u32 {
        let needed = proposals.iter().map(|proposal| proposal.command.version());
        needed.max().unwrap_or(FIRST_VERSION)
    }
}

impl Answer {
    /// The answer, or the refusal as an error.
    ///
    /// # Errors
    /// `METADATA_REFUSED`, or `METADATA_FULL`.
    pub fn granted(self) -> Result<Answer> {
        match self {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }
}
