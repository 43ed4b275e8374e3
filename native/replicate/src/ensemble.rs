//! Who holds copies of a stream's records, and from which sequence on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Code, Error, Result, Signal};
use serde::{Deserialize, Serialize};

/// Copies that a signal may have (I5).
pub const MAX_COPIES: usize = 7;

/// How many copies a signal's records have, and what an acknowledgement needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Copies, the owner's own included.
    pub copies: usize,
    /// Copies that are fsynced before a record is acknowledged; the owner's is always one of them.
    pub acks: usize,
    /// How long a client waits for that before it is told to try again. With `acks` 1: how long
    /// the owner goes on acknowledging alone without word from those that hold the others.
    pub timeout: Duration,
}

impl Quorum {
    /// The defaults by signal: spans on 3 nodes, acknowledged at 2; metrics on 2, at 2; logs on 2,
    /// at 1.
    pub const DEFAULTS: [Quorum; 3] = [
        Quorum {
            copies: 3,
            acks: 2,
            timeout: Duration::from_secs(5),
        },
        Quorum {
            copies: 2,
            acks: 2,
            timeout: Duration::from_secs(3),
        },
        Quorum {
            copies: 2,
            acks: 1,
            timeout: Duration::from_secs(1),
        },
    ];

    /// Checks the numbers against each other.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub fn check(&self) -> Result<()> {
        let is_sound = (1..=MAX_COPIES).contains(&self.copies)
            && (1..=self.copies).contains(&self.acks)
            && !self.timeout.is_zero();
        if is_sound {
            return Ok(());
        }
        let text = format!(
            "{} copies with {} acknowledged: there are 1 to {MAX_COPIES} copies, and no more \
             acknowledgements than copies",
            self.copies, self.acks
        );
        Err(Error::new(Code::ConfigInvalid, text))
    }
}

/// A node that holds copies, and the journal in which it does: a node that comes back without its
/// disk has another journal, and does not count for what it lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Member {
    /// The node's name.
    pub name: Arc<str>,
    /// The identity of its journal.
    pub journal: u128,
}

/// As text, `<name>#<journal, 32 hex>`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:032x}", self.name, self.journal)
    }
}

impl From<Member> for String {
    fn from(member: Member) -> String {
        member.to_string()
    }
}

impl TryFrom<String> for Member {
    type Error = Error;

    fn try_from(text: String) -> Result<Member> {
        text.parse()
    }
}

impl FromStr for Member {
    type Err = Error;

    fn from_str(text: &str) -> Result<Member> {
        let bad = || Error::new(Code::ClusterMessage, format!("`{text}` is no member"));
        let (name, journal) = text.rsplit_once('#').ok_or_else(bad)?;
        if name.is_empty() || journal.len() != 32 {
            return Err(bad());
        }
        Ok(Member {
            name: name.into(),
            journal: u128::from_str_radix(journal, 16).map_err(|_| bad())?,
        })
    }
}

/// The copies of one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// Who holds them besides the owner.
    pub followers: Vec<Member>,
    /// The fewest fsynced copies with which any tenant's record is acknowledged, the owner's among them.
    pub acks: usize,
}

impl Copies {
    /// Whether the node's journal is one of them.
    pub fn has(&self, name: &str, journal: u128) -> bool {
        let is = |member: &Member| member.journal == journal && &*member.name == name;
        self.followers.iter().any(is)
    }

    /// The member of this name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.followers.iter().find(|member| &*member.name == name)
    }

    /// Followers whose answers, with those of nobody else, show every acknowledged record: any
    /// `acks - 1` of them share one with so many. With one acknowledgement only the owner must
    /// have a record, so all of them give what can be had; without followers nothing does.
    pub fn answers_needed(&self) -> usize {
        let followers = self.followers.len();
        (followers + 2)
            .saturating_sub(self.acks.max(1))
            .min(followers)
            .max(1)
    }
}

/// Who holds a stream's records from a sequence on, up to where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensemble {
    /// Which change of the stream made it, from 1: a change that is late must not undo a later one.
    pub version: u64,
    /// The first record it is of.
    pub first_sequence: u64,
    /// By signal.
    pub signals: [Copies; 3],
}

impl Ensemble {
    /// The copies of a signal.
    pub fn of(&self, signal: Signal) -> &Copies {
        &self.signals[signal.index()]
    }

    /// Every member, once.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self
            .signals
            .iter()
            .flat_map(|copies| copies.followers.iter().cloned())
            .collect();
        members.sort();
        members.dedup();
        members
    }
}

/// Every ensemble of a stream, in the order of their first sequences. The metadata group holds the
/// same list, and changes it in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensembles(pub Vec<Ensemble>);

impl Ensembles {
    /// From its first sequence on, `ensemble` takes the place of what was there. The same change
    /// again changes nothing; false, and nothing is changed, where a later change was made already.
    pub fn change(&mut self, ensemble: Ensemble) -> bool {
        if let Some(current) = self.current()
            && ensemble.version <= current.version
        {
            return *current == ensemble;
        }
        self.0
            .retain(|other| other.first_sequence < ensemble.first_sequence);
        self.0.push(ensemble);
        true
    }

    /// The ensemble of new records.
    pub fn current(&self) -> Option<&Ensemble> {
        self.0.last()
    }

    /// Whether a record of the signal may have been acknowledged that nobody but its owner has.
    pub fn may_be_owners_alone(&self, signal: Signal) -> bool {
        self.0.iter().any(|ensemble| ensemble.of(signal).acks <= 1)
    }

    /// Every member of any of them, once.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self.0.iter().flat_map(Ensemble::members).collect();
        members.sort();
        members.dedup();
        members
    }
}
