//! What a backup and a check of this node ask it for, beside what they find on its disk.
//!
//! ```text
//!  hold_logs    tables' logs as of now ──> this node's disk, whole ──> their names
//!  lend         a data file that is not here ──from others──> `.part-<number>`, for the asker to take
//!  holders      data files ──> the nodes that have sound copies
//! ```
//!
//! The bytes go through the disk and not through an answer: who may read the data folder may read every
//! tenant's rows, and a token is one tenant's.

use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::limits::{FILES_CHUNK_BYTES, FILES_NAMES};
use otlake_base::{Code, Error, Result};

use crate::files::{ASK_TIME, Files, FilesLink, disk_failed, unexpected};
use crate::names::{checked as checked_key, is_data, split};
use crate::wire::{Answer, Request, What};

/// Files that are written for others and not taken yet; beyond that the oldest are removed (I5).
const LENT: usize = 64;
/// The hint to the newest checkpoint: readers do without, and a backup leaves it out.
const HINT: &str = "_last_checkpoint";

/// A data file that was fetched for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// Where it is; whoever took it removes it.
    pub path: PathBuf,
    /// What it is checked by, as it stands beside a copy.
    pub sheet: String,
}

/// Who has data files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Of each file: how many nodes should have it, and those that have a sound copy.
    pub files: Vec<(usize, Vec<Arc<str>>)>,
    /// Members that could not be asked.
    pub silent: Vec<String>,
}

fn invalid(error: std::io::Error) -> Error {
    Error::new(Code::ConfigInvalid, format!("files: {error}"))
}

fn checked_data(key: &str) -> Result<()> {
    checked_key(key).map_err(invalid)?;
    match is_data(key) {
        true => Ok(()),
        false => {
            let what = format!("files: `{key}` is no data file");
            Err(Error::new(Code::ConfigInvalid, what))
        }
    }
}

impl Files {
    /// Sees to it that this node's disk has every file of the tables' logs, with all commits that were
    /// told as done anywhere before, and that each is whole; their names by table. Of one table, or all.
    ///
    /// # Errors
    /// `NODE_STATE` before the node has joined; `METADATA_UNAVAILABLE`, and `TABLE_IO` where no node that
    /// answers has a file.
    pub async fn hold_logs(
        self: &Arc<Self>,
        table: Option<&str>,
    ) -> Result<Vec<(String, Vec<String>)>> {
        let link = self.joined_link()?;
        // Tables that others have made are known from here on.
        link.group.read().await?;
        let mut logs = Vec::new();
        for folder in self.logs() {
            let own = split(&folder).0;
            if table.is_some_and(|table| table != own) {
                continue;
            }
            let mut names = Vec::new();
            for (name, _) in self.log_list(&folder).await? {
                // One that was deleted since is in no need.
                if !name.contains(HINT)
                    && self
                        .log_read(&folder, &name, &(0..u64::MAX))
                        .await?
                        .is_some()
                {
                    names.push(name);
                }
            }
            names.sort();
            logs.push((own.to_owned(), names));
        }
        Ok(logs)
    }

    /// Fetches a data file that this node has no sound copy of, into a file that the caller takes and
    /// removes; none where the node's own copy is sound after all.
    ///
    /// # Errors
    /// `TABLE_IO` where no node that answers has it, `NODE_STATE` before the node has joined,
    /// `CONFIG_INVALID` for a name that is none.
    pub async fn lend(self: &Arc<Self>, key: &str) -> Result<Option<Lent>> {
        checked_data(key)?;
        let link = self.joined_link()?;
        if self.is_sound(key).await? {
            return Ok(None);
        }
        let _room = self.takes.acquire().await.map_err(|_| {
            let what = "the node is stopping";
            Error::new(Code::NodeState, what)
        })?;
        let what = What::Key(key.to_owned());
        let away = self.away().into_iter();
        let mut reasons: Vec<String> = away.map(|node| format!("{node} is away")).collect();
        for node in self.candidates(&link, key) {
            match self.lend_from(&link, &node, &what).await {
                Ok(Some(lent)) => return Ok(Some(lent)),
                Ok(None) => {}
                Err(error) => reasons.push(format!("{node}: {error}")),
            }
        }
        let why = match reasons.is_empty() {
            true => "no node has a sound copy".to_owned(),
            false => format!("no node gave a sound copy: {}", reasons.join(", ")),
        };
        Err(Error::new(Code::TableIo, format!("{key}: {why}")))
    }

    async fn lend_from(&self, link: &FilesLink, node: &str, what: &What) -> Result<Option<Lent>> {
        let Some(sheet) = self.describe_at(link, node, what).await? else {
            return Ok(None);
        };
        let writing = self.fetch(link, (node, what), &sheet, false).await?;
        let path = writing.leave();
        let forgotten: Vec<PathBuf> = {
            let mut lent = self.lent.lock();
            lent.push_back(path.clone());
            let beyond = lent.len().saturating_sub(LENT);
            lent.drain(..beyond).collect()
        };
        for path in forgotten {
            // Most are taken long since.
            let shelf = Arc::clone(&self.shelf);
            self.blocking(move || shelf.remove_lent(&path))
                .await
                .map_err(disk_failed)?;
        }
        Ok(Some(Lent {
            path,
            sheet: sheet.to_text(),
        }))
    }

    /// Which nodes have sound copies of data files, as far as each knows: a byte that nobody has read
    /// since it was flipped is not known.
    ///
    /// # Errors
    /// `NODE_STATE` before the node has joined, `CONFIG_INVALID` for a name that is none.
    pub async fn holders(&self, keys: &[String]) -> Result<Holders> {
        for key in keys {
            checked_data(key)?;
        }
        let link = self.joined_link()?;
        let members = self.view().members.len().max(1);
        let mut holders = Holders {
            files: keys
                .iter()
                .map(|key| (self.wanted(&link, key).min(members), Vec::new()))
                .collect(),
            silent: self.away(),
        };
        let nodes = std::iter::once(Arc::clone(&link.name)).chain(self.view().others(&link.name));
        for node in nodes {
            match self.having_at(&link, &node, keys).await {
                Ok(places) => {
                    for place in places {
                        if let Some((_, nodes)) = holders.files.get_mut(place) {
                            nodes.push(Arc::clone(&node));
                        }
                    }
                }
                Err(error) => holders.silent.push(format!("{node} ({error})")),
            }
        }
        Ok(holders)
    }

    /// The places of the keys that a node has, this one or another.
    async fn having_at(&self, link: &FilesLink, node: &str, keys: &[String]) -> Result<Vec<usize>> {
        let mut having = Vec::new();
        for (number, part) in keys.chunks(FILES_NAMES).enumerate() {
            let places = if *node == *link.name {
                self.having(part.to_vec()).await?
            } else {
                let keys = part.to_vec();
                let request = Request::Have { keys };
                match self.ask(link, node, &request, (&[], ASK_TIME)).await? {
                    (Answer::Having { places }, _) => places,
                    (other, _) => return Err(unexpected(&other)),
                }
            };
            let first = number * FILES_NAMES;
            having.extend(places.into_iter().map(|place| first + place));
        }
        Ok(having)
    }

    /// The places of the keys that this node has sound copies of.
    pub(crate) async fn having(&self, keys: Vec<String>) -> Result<Vec<usize>> {
        let shelf = Arc::clone(&self.shelf);
        let having = self.blocking(move || {
            let mut places = Vec::new();
            for (place, key) in keys.iter().enumerate() {
                if shelf.is_on_disk(key)? {
                    places.push(place);
                }
            }
            Ok(places)
        });
        having.await.map_err(disk_failed)
    }

    /// Whether this node's own copy is sound: every byte is read. One that is not is not used any more.
    async fn is_sound(&self, key: &str) -> Result<bool> {
        let Some(held) = self.shelf.held(key).filter(|held| !held.is_damaged) else {
            return Ok(false);
        };
        let mut at = 0;
        loop {
            let end = held.bytes.min(at + FILES_CHUNK_BYTES as u64);
            if self.own_read(key, &(at..end)).await?.is_none() {
                return Ok(false);
            }
            at = end;
            if at == held.bytes {
                return Ok(true);
            }
        }
    }

    /// Members that are not there.
    fn away(&self) -> Vec<String> {
        let view = self.view();
        let away = view.members.iter().filter(|(_, alive)| !alive);
        away.map(|(name, _)| name.to_string()).collect()
    }

    fn joined_link(&self) -> Result<Arc<FilesLink>> {
        if !self.has_joined() {
            let why = self.obstacle().map(|why| format!(": {why}"));
            let what = format!(
                "the node has not joined the others yet{}",
                why.unwrap_or_default()
            );
            return Err(Error::new(Code::NodeState, what));
        }
        self.link()
    }
}
