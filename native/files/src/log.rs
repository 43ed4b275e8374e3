//! Tables' logs, whose names the metadata group gives.
//!
//! ```text
//!  put: content ──> own disk, and as many others' as must have it ──> PublishFile ──> named everywhere
//!                    `.staged-<sum>`, fsynced                       of all that ask for a name one wins
//! ```
//!
//! The group tells of each name which content it stands for, and no bytes. A node has a file under its
//! name once that is decided, and never before; so what has a name here is what was agreed on, also of
//! versions that the group tells no more. A look asks the group first what is newest, so that it sees
//! every commit that was told as done anywhere before.
//!
//! Before a node has joined it shows what it had: the part of its log that stands by itself
//! (`standing`). One that has nothing makes a version 0 that is not given out: which node's is the
//! table's is decided when they join.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::limits::FILES_LOG_BYTES;
use otlake_base::{Code, Error, Result};
use otlake_consensus::state::{FileLog, LogFile, State, checkpoint_version, commit_version};
use otlake_consensus::{Answer as Agreed, Command, Refusal};

use crate::copies::gone;
use crate::files::{Files, FilesLink, disk_failed};
use crate::sheet::Sheet;
use crate::shelf::Held;
use crate::wire::What;

/// What is told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) bytes: u64,
    pub(crate) modified_unix_nano: u64,
}

impl From<&LogFile> for Meta {
    fn from(file: &LogFile) -> Meta {
        Meta {
            bytes: file.bytes,
            modified_unix_nano: file.modified_unix_nano,
        }
    }
}

impl From<&Sheet> for Meta {
    fn from(sheet: &Sheet) -> Meta {
        Meta {
            bytes: sheet.bytes,
            modified_unix_nano: sheet.modified_unix_nano,
        }
    }
}

/// The name of the commit that makes a table.
const FIRST: &str = "00000000000000000000.json";

pub(crate) fn commit_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// The sums that the catalog writes beside a checkpoint.
fn beside(name: &str) -> String {
    format!(".{name}.crc32c")
}

/// The names of a log that can be read by themselves: the newest checkpoint that is there with its
/// sums, and the commits behind it without a gap; else the commits from the first one on.
pub(crate) fn standing(names: &BTreeMap<String, Held>) -> Vec<String> {
    let is_sound = |name: &str| names.get(name).is_some_and(|held| !held.is_damaged);
    let from = |first: u64| {
        let commits = (first..).map(commit_name);
        commits
            .take_while(|name| is_sound(name))
            .collect::<Vec<_>>()
    };
    let checkpoints = names.keys().rev();
    let checkpoint = checkpoints
        .filter(|name| is_sound(name) && is_sound(&beside(name)))
        .find_map(|name| Some((name, checkpoint_version(name)?)));
    let Some((name, version)) = checkpoint else {
        return from(0);
    };
    let mut standing = vec![name.clone(), beside(name)];
    let own = commit_name(version);
    standing.extend(is_sound(&own).then_some(own));
    standing.extend(from(version + 1));
    standing
}

impl Files {
    /// A file of a log; none where there is no such name.
    pub(crate) async fn log_meta(
        self: &Arc<Self>,
        folder: &str,
        name: &str,
    ) -> Result<Option<Meta>> {
        if !self.has_joined() {
            return self.standing_meta(folder, name).await;
        }
        match self.entry(folder, name).await? {
            Entry::Told(file) => Ok(Some(Meta::from(&file))),
            Entry::Older => self.older_meta(folder, name).await,
            Entry::Absent => Ok(None),
        }
    }

    /// Bytes of a file of a log; none where there is no such name.
    pub(crate) async fn log_read(
        self: &Arc<Self>,
        folder: &str,
        name: &str,
        range: &Range<u64>,
    ) -> Result<Option<Bytes>> {
        let key = format!("{folder}/{name}");
        if !self.has_joined() {
            if self.standing_meta(folder, name).await?.is_none() {
                return Ok(None);
            }
            if let Some(made) = self.made.lock().get(folder).filter(|_| name == FIRST) {
                return Ok(Some(part(made, range)));
            }
            return self.own_read(&key, range).await;
        }
        match self.entry(folder, name).await? {
            Entry::Told(file) => {
                self.ensure(folder, name, &file).await?;
                let read = self.own_read(&key, range).await?;
                if read.is_some() {
                    return Ok(read);
                }
                // It was found to be damaged just now: the next look fetches another.
                self.ensure(folder, name, &file).await?;
                match self.own_read(&key, range).await? {
                    None => Err(Error::new(Code::TableIo, format!("{key}: it is damaged"))),
                    read => Ok(read),
                }
            }
            Entry::Older => {
                self.older_meta(folder, name).await?;
                let read = self.own_read(&key, range).await?;
                if read.is_some() {
                    return Ok(read);
                }
                // It was found to be damaged just now: another is fetched.
                match self.older_meta(folder, name).await? {
                    None => Ok(None),
                    Some(_) => self.own_read(&key, range).await,
                }
            }
            Entry::Absent => Ok(None),
        }
    }

    /// The names of a log with what is told of each.
    pub(crate) async fn log_list(self: &Arc<Self>, folder: &str) -> Result<Vec<(String, Meta)>> {
        if !self.has_joined() {
            let mut listed = Vec::new();
            for name in self.standing(folder) {
                if let Some(meta) = self.standing_meta(folder, &name).await? {
                    listed.push((name, meta));
                }
            }
            return Ok(listed);
        }
        let state = self.link()?.group.read().await?;
        let Some(log) = state.files.get(folder) else {
            return Ok(Vec::new());
        };
        let commits = log.commits.iter();
        let commits = commits.map(|(version, file)| (commit_name(*version), Meta::from(file)));
        let names = log.names.iter();
        let names = names.map(|(name, file)| (name.clone(), Meta::from(file)));
        let mut listed: Vec<(String, Meta)> = commits.chain(names).collect();
        // Older commits that are here follow without a gap, or are of no use to a reader.
        for version in (log.floor..log.first()).rev() {
            let name = commit_name(version);
            let sheet = self.own_sheet_of(format!("{folder}/{name}")).await?;
            let Some(sheet) = sheet else { break };
            listed.push((name, Meta::from(&*sheet)));
        }
        Ok(listed)
    }

    /// Writes a file of a log. Whether the name is this content's; not where it was given before.
    ///
    /// # Errors
    /// `CLUSTER_QUORUM`, `METADATA_UNAVAILABLE`, `TABLE_IO`: it may be there all the same.
    pub(crate) async fn log_put(
        self: &Arc<Self>,
        (folder, name): (&str, &str),
        bytes: Bytes,
        replace: bool,
    ) -> Result<bool> {
        if bytes.len() > FILES_LOG_BYTES {
            let what = format!("{folder}/{name} has {} bytes", bytes.len());
            return Err(Error::new(Code::TableIo, what));
        }
        if !self.has_joined() {
            return self.make(folder, name, bytes);
        }
        let link = self.link()?;
        self.agree(&link, (folder, name), bytes, replace).await
    }

    /// Makes version 0 of a table that this node knows nothing of; nothing else before it has joined.
    fn make(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool> {
        let mut made = self.made.lock();
        let is_there = made.contains_key(folder) || !standing(&self.shelf.names(folder)).is_empty();
        if name != FIRST || is_there {
            if name == FIRST {
                return Ok(false);
            }
            let what = format!("{folder}/{name}: the node has not joined the others yet");
            return Err(Error::new(Code::TableIo, what));
        }
        made.insert(folder.to_owned(), bytes);
        Ok(true)
    }

    /// Has a content kept by enough nodes, and its name given by the group.
    pub(crate) async fn agree(
        self: &Arc<Self>,
        link: &Arc<FilesLink>,
        (folder, name): (&str, &str),
        bytes: Bytes,
        replace: bool,
    ) -> Result<bool> {
        let inline = Self::inline(&bytes);
        let (writing, sheet) = self
            .written(folder, bytes, self.clock.unix_nano())
            .await
            .map_err(disk_failed)?;
        let (shelf, now) = (Arc::clone(&self.shelf), self.now());
        let (staged, own) = (Arc::clone(&sheet), folder.to_owned());
        self.blocking(move || shelf.stage(writing, &staged, &own, now))
            .await
            .map_err(disk_failed)?;
        let what = What::content(folder, sheet.sum);
        let key = format!("{folder}/{name}");
        let copied = self.copy_out(link, (&what, &key), (&sheet, inline));
        let file = LogFile {
            sum: sheet.sum,
            bytes: sheet.bytes,
            modified_unix_nano: sheet.modified_unix_nano,
            holders: copied.await?,
        };
        let publish = Command::PublishFile {
            folder: folder.to_owned(),
            name: name.to_owned(),
            file: file.clone(),
            replace,
        };
        match link.group.propose(publish).await? {
            Agreed::Refused(Refusal::Exists { sum }) if sum == sheet.sum => {}
            Agreed::Refused(Refusal::Exists { .. }) => return Ok(false),
            Agreed::Refused(refusal) => {
                return Err(Error::new(Code::TableIo, format!("{key}: {refusal}")));
            }
            _ => {}
        }
        // It is decided: that this node cannot write its name now is nothing to tell.
        if let Err(error) = self.ensure(folder, name, &file).await {
            tracing::debug!(target: "otlake::files", key, "named later: {error}");
        }
        Ok(true)
    }

    /// Deletes a name of a log, on every node.
    pub(crate) async fn log_delete(&self, folder: &str, name: &str) -> Result<()> {
        if !self.has_joined() {
            let what = format!("{folder}/{name}: the node has not joined the others yet");
            return Err(Error::new(Code::TableIo, what));
        }
        let unpublish = Command::UnpublishFile {
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        let answer = self.link()?.group.propose(unpublish).await?;
        // The copies go as the nodes hear of it.
        answer.granted().map(drop)
    }

    /// Sees to it that this node has a content under its name.
    pub(crate) async fn ensure(
        self: &Arc<Self>,
        folder: &str,
        name: &str,
        file: &LogFile,
    ) -> Result<()> {
        let key = format!("{folder}/{name}");
        if self.own_sum(&key).await == Some(file.sum) {
            return Ok(());
        }
        let _naming = self.naming.lock().await;
        let link = self.link()?;
        let mut newest = None;
        if commit_version(name).is_none() {
            // What can be replaced may have been since: the file must not be put back.
            let state = link.group.read().await?;
            match told(&state, folder, name) {
                None => return Ok(()),
                Some(file) => newest = Some(file),
            }
        }
        let file = newest.as_ref().unwrap_or(file);
        if self.own_sum(&key).await == Some(file.sum) || self.promote(folder, name, file).await? {
            return Ok(());
        }
        let what = What::content(folder, file.sum);
        let mut nodes: Vec<Arc<str>> = file.holders.clone();
        nodes.extend(self.candidates(&link, &key));
        let view = self.view();
        nodes.retain(|node| *node != link.name && view.is_there(node));
        let mut last = gone(&what, "no node");
        let mut asked: Vec<Arc<str>> = Vec::new();
        for node in nodes {
            if asked.contains(&node) {
                continue;
            }
            asked.push(Arc::clone(&node));
            let fetched = async {
                let sheet = self.describe_at(&link, &node, &what).await?;
                let sheet = sheet.filter(|sheet| sheet.sum == file.sum);
                let sheet = sheet.ok_or_else(|| gone(&what, &node))?;
                let writing = self.fetch(&link, (&node, &what), &sheet, false).await?;
                self.keep(writing, &sheet, &key).await.map_err(disk_failed)
            };
            match fetched.await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn promote(&self, folder: &str, name: &str, file: &LogFile) -> Result<bool> {
        let (shelf, sum) = (Arc::clone(&self.shelf), file.sum);
        let (folder, name) = (folder.to_owned(), name.to_owned());
        self.blocking(move || shelf.promote(&folder, sum, &name))
            .await
            .map_err(disk_failed)
    }

    async fn own_sum(&self, key: &str) -> Option<u128> {
        if let Some(held) = self.shelf.held(key)
            && (held.is_damaged || held.sum.is_some())
        {
            return held.sum.filter(|_| !held.is_damaged);
        }
        let (shelf, key) = (Arc::clone(&self.shelf), key.to_owned());
        self.blocking(move || Ok(shelf.sum(&key)))
            .await
            .ok()
            .flatten()
    }

    async fn own_sheet_of(&self, key: String) -> Result<Option<Arc<Sheet>>> {
        let shelf = Arc::clone(&self.shelf);
        let sheet = self.blocking(move || match shelf.has(&key) {
            true => shelf.sheet(&key),
            false => Ok(None),
        });
        sheet.await.map_err(disk_failed)
    }

    pub(crate) async fn own_read(&self, key: &str, range: &Range<u64>) -> Result<Option<Bytes>> {
        let (shelf, key, range) = (Arc::clone(&self.shelf), key.to_owned(), range.clone());
        self.blocking(move || shelf.read(&key, &range))
            .await
            .map_err(disk_failed)
    }

    /// What the group knows of a name, with all that was decided before this was called.
    async fn entry(&self, folder: &str, name: &str) -> Result<Entry> {
        let link = self.link()?;
        // A commit is what it is for good; of what can change this node may know an older one.
        if commit_version(name).is_some()
            && let Some(file) = told(&link.group.local(), folder, name)
        {
            return Ok(Entry::Told(file));
        }
        let state = link.group.read().await?;
        if let Some(file) = told(&state, folder, name) {
            return Ok(Entry::Told(file));
        }
        let is_older = |log: &Arc<FileLog>| {
            commit_version(name).is_some_and(|version| (log.floor..log.first()).contains(&version))
        };
        Ok(match state.files.get(folder).is_some_and(is_older) {
            true => Entry::Older,
            false => Entry::Absent,
        })
    }

    /// A commit that the group tells no more; fetched where this node lacks it and another has it.
    async fn older_meta(self: &Arc<Self>, folder: &str, name: &str) -> Result<Option<Meta>> {
        let key = format!("{folder}/{name}");
        if let Some(sheet) = self.own_sheet_of(key.clone()).await? {
            return Ok(Some(Meta::from(&*sheet)));
        }
        let link = self.link()?;
        let what = What::Key(key.clone());
        let mut last: Option<Error> = None;
        for node in self.candidates(&link, &key) {
            let fetched = async {
                let Some(sheet) = self.describe_at(&link, &node, &what).await? else {
                    return Ok(None);
                };
                let _naming = self.naming.lock().await;
                let writing = self.fetch(&link, (&node, &what), &sheet, false).await?;
                let kept = self.keep(writing, &sheet, &key).await;
                kept.map_err(disk_failed)?;
                Ok(Some(Meta::from(&*sheet)))
            };
            match fetched.await {
                Ok(None) => {}
                Ok(meta) => return Ok(meta),
                // Another may have it: this one may be ending just now.
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    }

    /// The names that can be read before the node has joined.
    fn standing(&self, folder: &str) -> Vec<String> {
        let standing = standing(&self.shelf.names(folder));
        match standing.is_empty() && self.made.lock().contains_key(folder) {
            true => vec![FIRST.to_owned()],
            false => standing,
        }
    }

    async fn standing_meta(&self, folder: &str, name: &str) -> Result<Option<Meta>> {
        if !self.standing(folder).iter().any(|each| each == name) {
            return Ok(None);
        }
        let made = self.made.lock().get(folder).map(Bytes::len);
        if let Some(bytes) = made.filter(|_| name == FIRST) {
            return Ok(Some(Meta {
                bytes: bytes as u64,
                modified_unix_nano: self.clock.unix_nano(),
            }));
        }
        let sheet = self.own_sheet_of(format!("{folder}/{name}")).await?;
        Ok(sheet.map(|sheet| Meta::from(&*sheet)))
    }

    /// Finds out which of this node's logs are damaged, so that none is read before others can give
    /// what is whole. Blocks.
    pub(crate) fn look_through_logs(&self) -> io::Result<()> {
        for folder in self.shelf.logs() {
            // What is damaged changes what stands: at most every file is found once.
            loop {
                let names = standing(&self.shelf.names(&folder));
                let damaged = names.iter().try_fold(false, |damaged, name| {
                    let read = self
                        .shelf
                        .read(&format!("{folder}/{name}"), &(0..u64::MAX))?;
                    Ok::<_, io::Error>(damaged || read.is_none())
                });
                if !damaged? {
                    break;
                }
            }
        }
        Ok(())
    }
}

enum Entry {
    Told(LogFile),
    /// A commit that is, or was, there, and of which the nodes alone know.
    Older,
    Absent,
}

fn told(state: &State, folder: &str, name: &str) -> Option<LogFile> {
    state.files.get(folder)?.get(name).cloned()
}

pub(crate) fn part(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let end = usize::try_from(range.end)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
    bytes.slice(start..end)
}
