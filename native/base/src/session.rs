//! Session tokens: what a read must cover, so that a client sees what it has written and never less
//! than it has read, whichever nodes it asks.
//!
//! ```text
//! otlake-session: <stream, 32 hex>:<sequence>,…   batches, in files or not
//!                 <table>@<version>,…             files that an answer was made of
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::limits::SESSION_PARTS;
use crate::{Code, Error, Position, Result, StreamId, Table};

/// A session token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// By stream: the last batch that must be seen, and with it all before it.
    pub positions: BTreeMap<StreamId, u64>,
    /// By table: the version whose files must be seen.
    pub versions: BTreeMap<Table, i64>,
}

impl Session {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.versions.is_empty()
    }

    /// Asks for this batch, too.
    pub fn add(&mut self, position: Position) {
        let last = self.positions.entry(position.stream).or_insert(0);
        *last = position.sequence.max(*last);
    }

    /// Asks for this version of a table, too.
    pub fn add_version(&mut self, table: Table, version: i64) {
        let last = self.versions.entry(table).or_insert(version);
        *last = version.max(*last);
    }

    /// Asks for all that another asks for, too.
    pub fn merge(&mut self, other: &Session) {
        for position in other.positions() {
            self.add(position);
        }
        for (table, version) in &other.versions {
            self.add_version(*table, *version);
        }
    }

    /// The batches.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        let positions = self.positions.iter();
        positions.map(|(stream, sequence)| Position {
            stream: *stream,
            sequence: *sequence,
        })
    }
}

impl From<Position> for Session {
    fn from(position: Position) -> Self {
        let mut session = Session::default();
        session.add(position);
        session
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for position in self.positions() {
            write!(f, "{between}{position}")?;
            between = ",";
        }
        for (table, version) in &self.versions {
            write!(f, "{between}{}@{version}", table.name())?;
            between = ",";
        }
        Ok(())
    }
}

impl FromStr for Session {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::new(Code::QuerySession, format!("`{text}`: {what}"));
        let mut session = Session::default();
        let parts = text.split(',').map(str::trim);
        for (number, part) in parts.filter(|part| !part.is_empty()).enumerate() {
            if number == SESSION_PARTS {
                let what = format!("a session token has {SESSION_PARTS} parts at most");
                return Err(Error::new(Code::QuerySession, what));
            }
            match part.split_once('@') {
                None => session.add(part.parse()?),
                Some((table, version)) => {
                    let table =
                        Table::from_name(table).ok_or_else(|| bad("there is no such table"))?;
                    let version = version.parse().map_err(|_| bad("not a session token"))?;
                    session.add_version(table, version);
                }
            }
        }
        Ok(session)
    }
}

#[cfg(test)]
#[path = "session_test.rs"]
mod session_test;
