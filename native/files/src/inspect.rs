//! The copies of a data folder as another process finds them, beside the node or without it. Nothing is
//! written.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::checksum::{BLOCK_BYTES, Checked};
use otlake_base::disk::{Disk, DiskFile, Entry, Status, read};
use otlake_base::limits::FILES_CHUNK_BYTES;

use crate::files::{FOLDER, Files, LOCK};
use crate::log::standing;
use crate::names::{NEXT, PART, STAGED, is_log, split};
use crate::sheet::Sheet;
use crate::shelf::Held;

/// A data folder's copies.
#[derive(Clone, Debug)]
pub struct Copies {
    disk: Arc<dyn Disk>,
    /// `<data>/files`, without links: whoever reads tables names it so.
    folder: PathBuf,
}

impl Copies {
    /// Those of a data folder; none where it has none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn of(disk: Arc<dyn Disk>, data_dir: &Path) -> io::Result<Option<Copies>> {
        if !Files::are_in(&*disk, data_dir) {
            return Ok(None);
        }
        let folder = disk.canonical(&data_dir.join(FOLDER))?;
        Ok(Some(Copies { disk, folder }))
    }

    /// Whether a node runs on them. For this the lock is tried, and let go at once.
    ///
    /// # Errors
    /// What the disk says.
    pub fn are_open(&self) -> io::Result<bool> {
        let lock = self.folder.join(LOCK);
        match self.disk.lock(&lock, "") {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            // A node writes to its folder.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the tables are.
    pub fn tables(&self) -> PathBuf {
        self.folder.join("tables")
    }

    /// The copies with their lengths, in the order of their names.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keys(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.disk.walk(&self.tables(), "")?.into_iter();
        let named = files.filter(|(key, _)| is_named(split(key).1));
        let mut keys: Vec<_> = named.map(|(key, status)| (key, status.bytes)).collect();
        keys.sort();
        Ok(keys)
    }

    /// What stands beside a copy, as it is read; none where nothing does.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` where it is damaged.
    pub(crate) fn sheet(&self, key: &str) -> io::Result<Option<Sheet>> {
        match read(&*self.disk, &self.folder.join("sums").join(key)) {
            Ok(text) => Sheet::from_text(&String::from_utf8_lossy(&text)).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a copy and holds it against what stands beside it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn check(&self, key: &str) -> io::Result<Checked> {
        let path = self.tables().join(key);
        match self.sheet(key) {
            Ok(Some(sheet)) => match checked(&*self.disk, &path, &sheet)? {
                // Its content was about to be replaced when the node went down, and was.
                Checked::Damaged(_) if self.is_next(key)? => Ok(Checked::Whole),
                is => Ok(is),
            },
            Ok(None) => Ok(match self.disk.status(&path) {
                Ok(_) => Checked::Damaged("its sums are missing".to_owned()),
                Err(_) => Checked::Gone,
            }),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Ok(Checked::Damaged("its sums are damaged".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a copy has the content whose sums wait beside it.
    fn is_next(&self, key: &str) -> io::Result<bool> {
        let (folder, name) = split(key);
        match self.sheet(&format!("{folder}/{NEXT}{name}")) {
            Ok(Some(sheet)) => {
                let is = checked(&*self.disk, &self.tables().join(key), &sheet)?;
                Ok(is == Checked::Whole)
            }
            Ok(None) => Ok(false),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The disk, with of each table's log what can be read by itself: commits that are still to come
    /// may be there before those that they follow, and damaged files are as good as absent. For reading
    /// tables alone.
    pub fn standing(&self) -> Arc<dyn Disk> {
        Arc::new(StandingDisk(self.clone()))
    }
}

/// Whether a name is a copy's, and not of what is being written or has no name yet.
fn is_named(name: &str) -> bool {
    !name.starts_with(PART) && !name.starts_with(STAGED)
}

/// Holds a file against what stands beside a copy, a line of text.
///
/// # Errors
/// What the disk says.
pub fn check_copy(disk: &dyn Disk, path: &Path, sheet: &str) -> io::Result<Checked> {
    match Sheet::from_text(sheet) {
        Ok(sheet) => checked(disk, path, &sheet),
        Err(_) => Ok(Checked::Damaged("its sums are damaged".to_owned())),
    }
}

fn checked(disk: &dyn Disk, path: &Path, sheet: &Sheet) -> io::Result<Checked> {
    let mut file = match disk.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::Gone),
        file => file?,
    };
    let bytes = file.length()?;
    if bytes != sheet.bytes {
        let what = format!("it has {bytes} bytes instead of {}", sheet.bytes);
        return Ok(Checked::Damaged(what));
    }
    let mut at = 0;
    let mut piece = Vec::new();
    while at < bytes {
        piece.resize((bytes - at).min(FILES_CHUNK_BYTES as u64) as usize, 0);
        let mut filled = 0;
        while filled < piece.len() {
            match file.read_at(at + filled as u64, &mut piece[filled..])? {
                0 => return Ok(Checked::Damaged("it became shorter".to_owned())),
                read => filled += read,
            }
        }
        if let Some(block) = sheet.blocks.first_damaged(at, &piece) {
            let (from, to) = (block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
            let what = format!("bytes {from} to {} are not what was written", to.min(bytes));
            return Ok(Checked::Damaged(what));
        }
        at += piece.len() as u64;
    }
    Ok(Checked::Whole)
}

#[derive(Debug)]
struct StandingDisk(Copies);

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "copies are only read here",
    ))
}

impl StandingDisk {
    fn of_log(&self, folder: &str, entries: Vec<Entry>) -> io::Result<Vec<Entry>> {
        let mut names = BTreeMap::new();
        for entry in entries.into_iter().filter(|entry| is_named(&entry.name)) {
            let key = format!("{folder}/{}", entry.name);
            let held = Held {
                bytes: 0,
                sum: None,
                is_damaged: self.0.check(&key)? != Checked::Whole,
            };
            names.insert(entry.name, held);
        }
        let standing = standing(&names).into_iter();
        let entry = |name| Entry {
            name,
            folder: false,
        };
        Ok(standing.map(entry).collect())
    }
}

impl Disk for StandingDisk {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.disk.open(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = self.0.disk.list(path)?;
        let below = path.strip_prefix(self.0.tables()).ok();
        match below.and_then(Path::to_str).filter(|below| is_log(below)) {
            Some(folder) => self.of_log(folder, entries),
            None => Ok(entries),
        }
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        self.0.disk.status(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.disk.canonical(path)
    }

    fn lock(&self, _: &Path, _: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        read_only()
    }

    fn unique(&self, folder: &Path) -> u128 {
        self.0.disk.unique(folder)
    }

    fn concurrency(&self) -> usize {
        self.0.disk.concurrency()
    }
}
