//! The copies on this node's own disk.
//!
//! ```text
//! <data>/files/tables/<key>                          a copy, plain as its writer wrote it
//! <data>/files/tables/<log>/.staged-<sum>            a content of a log without a name yet
//! <data>/files/sums/<key>                            what it is checked by
//! <data>/files/sums/<folder>/.next-<name>            the same, of a content that is about to replace it
//! ```
//!
//! A copy is there once both files are: the sums get their name first. Where a content replaces another,
//! its sums wait under a name of their own until it has; a start finds out which of the two the file has.
//! So wherever the machine goes down there is one of them, whole. Everything blocks.
//!
//! - `shelf/naming.rs`: how contents get their names. `shelf/writing.rs`: a file that is being written.

mod naming;
mod writing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::Metrics;
use otlake_base::checksum::BlockSums;
use otlake_base::disk::{Disk, create_durably, create_folders, read};
use otlake_base::limits::FILES_SHEETS;
use parking_lot::{Condvar, Mutex};

pub(crate) use self::writing::Writing;
use crate::names::{PART, STAGED, is_log, split};
use crate::sheet::Sheet;

/// One copy, as far as memory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) bytes: u64,
    /// The sum of its content; none where its sheet was not read yet.
    pub(crate) sum: Option<u128>,
    /// Whether a read found it damaged.
    pub(crate) is_damaged: bool,
}

#[derive(Default)]
struct Index {
    files: BTreeMap<String, Held>,
    bytes: u64,
    /// Contents without a name, by folder and sum, and since when, on the monotonic clock's seconds.
    staged: BTreeMap<(String, u128), u64>,
}

/// This node's copies.
pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    index: Mutex<Index>,
    sheets: Mutex<HashMap<String, Arc<Sheet>>>,
    made: Mutex<HashSet<PathBuf>>,
    /// Keys of copies that are being named or removed.
    claimed: Mutex<HashSet<String>>,
    released: Condvar,
    metrics: Arc<Metrics>,
}

/// A key that nobody else names or removes meanwhile.
struct Claim<'a> {
    shelf: &'a Shelf,
    key: &'a str,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shelf.claimed.lock().remove(self.key);
        self.shelf.released.notify_all();
    }
}

/// A page of what a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) files: Vec<String>,
    pub(crate) folders: BTreeSet<String>,
    /// Whether more comes after the last file.
    pub(crate) more: bool,
}

impl Shelf {
    /// Opens the folder, makes it where it is absent, and removes what was cut off while it was written.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        now: u64,
        metrics: Arc<Metrics>,
    ) -> io::Result<Shelf> {
        let shelf = Shelf {
            disk,
            root: root.to_owned(),
            index: Mutex::default(),
            sheets: Mutex::default(),
            made: Mutex::default(),
            claimed: Mutex::default(),
            released: Condvar::new(),
            metrics,
        };
        for folder in [shelf.files(), shelf.sums()] {
            create_durably(&*shelf.disk, &folder)?;
        }
        let walk = |folder: PathBuf| match shelf.disk.walk(&folder, "") {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            walked => walked,
        };
        let sums = walk(shelf.sums())?;
        let mut sums: BTreeSet<String> = sums.into_iter().map(|(key, _)| key).collect();
        let files = walk(shelf.files())?;
        shelf.sync_names(&sums, &files)?;
        shelf.finish_replacing(&mut sums)?;
        for (key, status) in files {
            let (folder, name) = split(&key);
            if name.starts_with(PART) || !sums.contains(&key) {
                shelf.disk.remove(&shelf.files().join(&key))?;
                continue;
            }
            let mut index = shelf.index.lock();
            match staged_sum(name) {
                Some(sum) => {
                    index.staged.insert((folder.to_owned(), sum), now);
                }
                None => {
                    let held = Held {
                        bytes: status.bytes,
                        sum: None,
                        is_damaged: false,
                    };
                    index.bytes += held.bytes;
                    index.files.insert(key, held);
                }
            }
        }
        for key in &sums {
            let (folder, name) = split(key);
            let is_there = match staged_sum(name) {
                Some(sum) => shelf.is_staged(folder, sum),
                None => shelf.index.lock().files.contains_key(key),
            };
            if !is_there {
                shelf.disk.remove(&shelf.sums().join(key))?;
            }
        }
        shelf.told(&shelf.index.lock());
        Ok(shelf)
    }

    fn files(&self) -> PathBuf {
        self.root.join("tables")
    }

    fn sums(&self) -> PathBuf {
        self.root.join("sums")
    }

    fn told(&self, index: &Index) {
        let figures = &self.metrics.files;
        figures.held.set(index.files.len() as i64);
        figures
            .held_bytes
            .set(i64::try_from(index.bytes).unwrap_or(i64::MAX));
    }

    /// What is known of a copy.
    pub(crate) fn held(&self, key: &str) -> Option<Held> {
        self.index.lock().files.get(key).copied()
    }

    /// Whether there is a copy that nothing speaks against.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.held(key).is_some_and(|held| !held.is_damaged)
    }

    /// As `has`, where the disk still has the file in its length: it can be gone without this node's
    /// doing.
    pub(crate) fn is_on_disk(&self, key: &str) -> io::Result<bool> {
        let Some(held) = self.held(key).filter(|held| !held.is_damaged) else {
            return Ok(false);
        };
        match self.disk.status(&self.files().join(key)) {
            Ok(status) => Ok(status.bytes == held.bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The keys of all copies of data files that nothing speaks against.
    pub(crate) fn data(&self) -> Vec<String> {
        let index = self.index.lock();
        let sound = index.files.iter().filter(|(_, held)| !held.is_damaged);
        let data = sound.filter(|(key, _)| !is_log(split(key).0));
        data.map(|(key, _)| key.clone()).collect()
    }

    /// The names of a log's folder, without contents that have none yet.
    pub(crate) fn names(&self, folder: &str) -> BTreeMap<String, Held> {
        let below = format!("{folder}/");
        let index = self.index.lock();
        let files = index.files.range(below.clone()..);
        files
            .take_while(|(key, _)| key.starts_with(&below))
            .map(|(key, held)| (key[below.len()..].to_owned(), *held))
            .collect()
    }

    /// The folders of tables' logs.
    pub(crate) fn logs(&self) -> BTreeSet<String> {
        let index = self.index.lock();
        let folders = index.files.keys().map(|key| split(key).0);
        folders
            .filter(|folder| is_log(folder))
            .map(str::to_owned)
            .collect()
    }

    /// Data files below a folder (all of them for an empty one) after a key, at most so many; or, of
    /// those in the folder itself, and the names of its folders.
    pub(crate) fn page(&self, folder: &str, after: &str, is_deep: bool, limit: usize) -> Page {
        let below = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let mut page = Page::default();
        let index = self.index.lock();
        let from = if after > below.as_str() {
            after
        } else {
            &below
        };
        for key in index.files.range(from.to_owned()..).map(|(key, _)| key) {
            let Some(rest) = key.strip_prefix(&below) else {
                break;
            };
            if key.as_str() <= after || is_log(split(key).0) {
                continue;
            }
            match rest.split_once('/') {
                Some((folder, _)) if !is_deep => {
                    page.folders.insert(folder.to_owned());
                }
                _ if page.files.len() == limit => {
                    page.more = true;
                    break;
                }
                _ => page.files.push(key.clone()),
            }
        }
        page
    }

    /// What stands beside a copy; none where there is none.
    pub(crate) fn sheet(&self, key: &str) -> io::Result<Option<Arc<Sheet>>> {
        if let Some(sheet) = self.sheets.lock().get(key) {
            return Ok(Some(Arc::clone(sheet)));
        }
        let text = match read(&*self.disk, &self.sums().join(key)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let sheet = Arc::new(Sheet::from_text(&String::from_utf8_lossy(&text))?);
        if let Some(held) = self.index.lock().files.get_mut(key) {
            held.sum = Some(sheet.sum);
        }
        self.cache(key, &sheet);
        Ok(Some(sheet))
    }

    fn cache(&self, key: &str, sheet: &Arc<Sheet>) {
        let mut sheets = self.sheets.lock();
        if sheets.len() >= FILES_SHEETS {
            sheets.clear();
        }
        sheets.insert(key.to_owned(), Arc::clone(sheet));
    }

    /// The sum of a copy's content; none where there is no copy, or its sheet is damaged.
    pub(crate) fn sum(&self, key: &str) -> Option<u128> {
        let held = self.held(key).filter(|held| !held.is_damaged)?;
        if held.sum.is_some() {
            return held.sum;
        }
        match self.sheet(key) {
            Ok(sheet) => sheet.map(|sheet| sheet.sum),
            Err(error) => {
                self.damaged(key, &error);
                None
            }
        }
    }

    /// Bytes of a copy, checked; none where there is no sound copy. One that is found to be damaged is
    /// none from then on, and stays until another takes its place.
    pub(crate) fn read(&self, key: &str, range: &Range<u64>) -> io::Result<Option<Bytes>> {
        if !self.has(key) {
            return Ok(None);
        }
        let read = self.sheet(key).and_then(|sheet| match sheet {
            None => Err(io::Error::new(ErrorKind::InvalidData, "it has no sums")),
            Some(sheet) => self.checked(&self.files().join(key), &sheet, range),
        });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_damage(&error) => {
                // It can have been deleted, or replaced, meanwhile.
                if self.has(key) {
                    self.damaged(key, &error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn damaged(&self, key: &str, what: &io::Error) {
        tracing::error!(
            target: "otlake::files",
            key, "a copy is damaged, and read from another node: {what}"
        );
        self.metrics.damaged("copy");
        self.sheets.lock().remove(key);
        if let Some(held) = self.index.lock().files.get_mut(key) {
            held.is_damaged = true;
        }
    }

    fn checked(&self, path: &Path, sheet: &Sheet, range: &Range<u64>) -> io::Result<Bytes> {
        let range = range.start..range.end.min(sheet.bytes);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let around = BlockSums::around(&range, sheet.bytes);
        let mut bytes = vec![0; (around.end - around.start) as usize];
        let mut file = self.disk.open(path)?;
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(around.start + filled as u64, &mut bytes[filled..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        if let Some(block) = sheet.blocks.first_damaged(around.start, &bytes) {
            let what = format!("block {block} is not what was written");
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        let start = (range.start - around.start) as usize;
        let end = (range.end - around.start) as usize;
        Ok(Bytes::from(bytes).slice(start..end))
    }

    /// Begins a file in a folder.
    pub(crate) fn begin(&self, folder: &str) -> io::Result<Writing> {
        let folder = self.folder(&self.files(), folder)?;
        let number = self.disk.unique(&folder);
        let path = folder.join(format!("{PART}{number:032x}"));
        let file = self.disk.create(&path)?;
        Ok(Writing::begun(Arc::clone(&self.disk), path, file))
    }

    /// Sees to it that a folder is there, durably.
    fn folder(&self, root: &Path, folder: &str) -> io::Result<PathBuf> {
        let folder = root.join(folder);
        if folder != root && !self.made.lock().contains(&folder) {
            create_folders(&*self.disk, root, &folder)?;
            self.made.lock().insert(folder.clone());
        }
        Ok(folder)
    }

    /// Waits until nobody names or removes this copy: what memory knows of it and what the disk has
    /// change as one.
    fn claim<'a>(&'a self, key: &'a str) -> Claim<'a> {
        let mut claimed = self.claimed.lock();
        while !claimed.insert(key.to_owned()) {
            self.released.wait(&mut claimed);
        }
        Claim { shelf: self, key }
    }

    /// Gives a written file its name, in place of what has it. Durable when this returns.
    pub(crate) fn keep(&self, writing: Writing, sheet: &Arc<Sheet>, key: &str) -> io::Result<()> {
        self.keep_if(writing, sheet, key, || true).map(drop)
    }

    /// As `keep`, where it is wanted still once its turn has come; whether it was. Of two copies that
    /// come at once the second goes: one that takes a sound one's place would have a read's finding of
    /// damage forgotten.
    pub(crate) fn keep_if(
        &self,
        writing: Writing,
        sheet: &Arc<Sheet>,
        key: &str,
        is_wanted: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        let _claim = self.claim(key);
        if !is_wanted() {
            return Ok(false);
        }
        if self.sum(key) == Some(sheet.sum) {
            return Ok(true);
        }
        self.name(writing, sheet, key)?;
        let mut index = self.index.lock();
        let held = Held {
            bytes: sheet.bytes,
            sum: Some(sheet.sum),
            is_damaged: false,
        };
        let before = index.files.insert(key.to_owned(), held);
        index.bytes = index.bytes + held.bytes - before.map_or(0, |before| before.bytes);
        self.told(&index);
        drop(index);
        self.cache(key, sheet);
        Ok(true)
    }

    /// Keeps a content of a log that has no name yet.
    pub(crate) fn stage(
        &self,
        writing: Writing,
        sheet: &Arc<Sheet>,
        folder: &str,
        now: u64,
    ) -> io::Result<()> {
        let key = format!("{folder}/{STAGED}{:032x}", sheet.sum);
        self.name(writing, sheet, &key)?;
        let mut index = self.index.lock();
        index.staged.insert((folder.to_owned(), sheet.sum), now);
        Ok(())
    }

    /// Whether there is a content without a name.
    pub(crate) fn is_staged(&self, folder: &str, sum: u128) -> bool {
        let index = self.index.lock();
        index.staged.contains_key(&(folder.to_owned(), sum))
    }

    /// What stands beside a content without a name; none where it is not there, or damaged.
    pub(crate) fn staged_sheet(&self, folder: &str, sum: u128) -> io::Result<Option<Arc<Sheet>>> {
        if !self.is_staged(folder, sum) {
            return Ok(None);
        }
        let path = self.sums().join(format!("{folder}/{STAGED}{sum:032x}"));
        let sheet = read(&*self.disk, &path)
            .and_then(|text| Sheet::from_text(&String::from_utf8_lossy(&text)));
        match sheet {
            Ok(sheet) if sheet.sum == sum => Ok(Some(Arc::new(sheet))),
            Err(error) if !is_damage(&error) => Err(error),
            Ok(_) | Err(_) => {
                self.metrics.damaged("copy");
                Ok(None)
            }
        }
    }

    /// Bytes of a content without a name, checked; none where it is not there, or damaged.
    pub(crate) fn read_staged(
        &self,
        folder: &str,
        sum: u128,
        range: &Range<u64>,
    ) -> io::Result<Option<Bytes>> {
        let Some(sheet) = self.staged_sheet(folder, sum)? else {
            return Ok(None);
        };
        let path = self.files().join(format!("{folder}/{STAGED}{sum:032x}"));
        match self.checked(&path, &sheet, range) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if !is_damage(&error) => Err(error),
            Err(_) => {
                self.metrics.damaged("copy");
                Ok(None)
            }
        }
    }

    /// Removes a content without a name.
    pub(crate) fn unstage(&self, folder: &str, sum: u128) -> io::Result<()> {
        let mut index = self.index.lock();
        index.staged.remove(&(folder.to_owned(), sum));
        drop(index);
        self.delete(&format!("{folder}/{STAGED}{sum:032x}"))
    }

    /// Removes contents that nobody has given a name since then.
    pub(crate) fn unstage_before(&self, since: u64) -> io::Result<()> {
        let index = self.index.lock();
        let old = index.staged.iter().filter(|(_, at)| **at < since);
        let old: Vec<(String, u128)> = old.map(|(of, _)| of.clone()).collect();
        drop(index);
        old.iter()
            .try_for_each(|(folder, sum)| self.unstage(folder, *sum))
    }

    /// Removes a copy; whether there was one.
    pub(crate) fn remove(&self, key: &str) -> io::Result<bool> {
        let _claim = self.claim(key);
        let mut index = self.index.lock();
        let held = index.files.remove(key);
        index.bytes -= held.map_or(0, |held| held.bytes);
        self.told(&index);
        drop(index);
        self.sheets.lock().remove(key);
        if let Err(error) = self.delete_in(&self.files(), key) {
            // It is there still, and to be deleted again: it must be listed.
            let mut index = self.index.lock();
            if let Some(held) = held
                && !index.files.contains_key(key)
            {
                index.files.insert(key.to_owned(), held);
                index.bytes += held.bytes;
                self.told(&index);
            }
            return Err(error);
        }
        // Sums without a file go with the next start, too.
        self.delete_in(&self.sums(), key)?;
        Ok(held.is_some())
    }

    /// Removes a file that was left without a name, unless that was done before.
    pub(crate) fn remove_lent(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.delete_in(&self.files(), key)?;
        self.delete_in(&self.sums(), key)
    }

    fn delete_in(&self, root: &Path, key: &str) -> io::Result<()> {
        match self.disk.remove(&root.join(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn staged_sum(name: &str) -> Option<u128> {
    u128::from_str_radix(name.strip_prefix(STAGED)?, 16).ok()
}

/// Whether a read found other bytes than were written, or none.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound
    )
}
