//! The disk port: every byte that is to survive a crash is written through it, so that a
//! simulation can put a disk that fails under the whole of log, flush and commit.
//!
//! It says what POSIX says and no more. What is written is in the page cache until `sync` of its
//! file; a name is durable only once `sync_folder` of its folder has returned; a rename is atomic,
//! and durable under the same rule. After a failed `sync` nothing is known of what it covered.

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use crate::file_system;

/// Below it are buckets of object stores, on a disk that has any: no path that anybody uses on a file
/// system. Nothing but a disk can open what lies there.
pub const BUCKETS: &str = "/s3:";

/// Files and folders of one file system.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a file for writing from its start; `AlreadyExists` where the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name of the same folder, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name of the same folder; `AlreadyExists` where that name is taken,
    /// and of two that try one succeeds.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates one folder; `AlreadyExists` where the name is taken.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder if it is empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in a folder are on stable storage.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// What a folder holds, in no order. Names that are not UTF-8 are not ours and left out.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// What a name stands for.
    fn status(&self, path: &Path) -> io::Result<Status>;
    /// As `list`, with what the names stand for; what goes meanwhile is left out.
    fn list_with_status(&self, path: &Path) -> io::Result<Vec<(String, Status)>> {
        let mut listed = Vec::new();
        for entry in self.list(path)? {
            match self.status(&path.join(&entry.name)) {
                Ok(status) => listed.push((entry.name, status)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }
    /// The files of a folder and of all below it, by their path below the folder, `/` between its
    /// parts; of them those whose path comes after `after`. None where there is no such folder.
    fn walk(&self, path: &Path, after: &str) -> io::Result<Vec<(String, Status)>> {
        let mut files = Vec::new();
        let mut left = vec![String::new()];
        while let Some(below) = left.pop() {
            let listed = match self.list_with_status(&path.join(&below)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed?,
            };
            for (name, status) in listed {
                let name = match below.as_str() {
                    "" => name,
                    below => format!("{below}/{name}"),
                };
                if status.folder {
                    left.push(name);
                } else if name.as_str() > after {
                    files.push((name, status));
                }
            }
        }
        Ok(files)
    }
    /// The absolute path without links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Locks a file, creating it where it is absent, until what is returned is dropped or the
    /// process ends; `WouldBlock` where another holds it. `owner` is written into it if there is
    /// room.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// A number that no other name in `folder` was made from: random, but in a simulation.
    fn unique(&self, folder: &Path) -> u128;
    /// Operations that callers may have at work at once, where they have the choice.
    fn concurrency(&self) -> usize;
}

/// An open file.
pub trait DiskFile: Send {
    /// Appends a part of the slices; says how many bytes.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Bytes from an offset, as many as there are and fit.
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Its length, in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Returns when everything written, and the length, is on stable storage.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes the file this long, zeroed, with its space set aside.
    fn allocate(&mut self, bytes: u64) -> io::Result<()>;
    /// Gives back the space behind `bytes`.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;

    /// Appends all the slices, or fails; after a failure any part may be there.
    fn write_all(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty ones at the front would be taken for a disk that writes nothing.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name alone.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is a folder.
    pub folder: bool,
    /// Its length, in bytes.
    pub bytes: u64,
    /// When it was written last, in ns since 1970 UTC.
    pub modified_unix_nano: u64,
}

/// Sees to it that `folder` and all above it, up to but without `root`, are there and durable. One
/// that is there already is synced too: it can be from an attempt whose sync failed.
///
/// # Errors
/// What the disk says.
pub fn create_folders(disk: &dyn Disk, root: &Path, folder: &Path) -> io::Result<()> {
    let mut above = root;
    let below: Vec<&Path> = folder
        .ancestors()
        .take_while(|ancestor| *ancestor != root && !ancestor.as_os_str().is_empty())
        .collect();
    for folder in below.into_iter().rev() {
        match disk.create_folder(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => disk.sync_folder(above)?,
        }
        above = folder;
    }
    Ok(())
}

/// As `create_folders`, from the nearest folder that is there; and those above are made durable
/// too, as far as they are ours to sync: one can be from a start that was cut off.
///
/// # Errors
/// What the disk says.
pub fn create_durably(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let root = existing_above(disk, folder);
    for above in root.ancestors().skip(1) {
        if above.as_os_str().is_empty() {
            break;
        }
        match disk.sync_folder(above) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    match create_folders(disk, root, folder) {
        // A folder that others made in one that is not ours to read is theirs to keep.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && disk.status(folder).is_ok_and(|status| status.folder) =>
        {
            Ok(())
        }
        created => created,
    }
}

/// The nearest folder above `folder` that is there already: what `create_folders` can begin at.
pub fn existing_above<'a>(disk: &dyn Disk, folder: &'a Path) -> &'a Path {
    folder
        .ancestors()
        .skip(1)
        .find(|above| disk.status(above).is_ok_and(|status| status.folder))
        .unwrap_or(Path::new("."))
}

/// Bytes of a file of the machine from an offset, as many as there are and fit.
///
/// # Errors
/// What the file system says.
pub fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    file_system::read_at(file, at, into)
}

/// A whole file.
///
/// # Errors
/// What the disk says.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Reader::open(disk, path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of a disk as the standard library reads files.
pub struct Reader {
    file: Box<dyn DiskFile>,
    at: u64,
}

impl Reader {
    /// Opens a file at its start.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Reader> {
        Ok(Reader {
            file: disk.open(path)?,
            at: 0,
        })
    }

    /// The file's length, in bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.length()?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// A file of a disk as the standard library writes files.
pub struct Writer(
    /// The file.
    pub Box<dyn DiskFile>,
);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// The machine's file system, as the port.
pub fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        file_system::sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let folder = entry.file_type()?.is_dir();
                entries.push(Entry { name, folder });
            }
        }
        Ok(entries)
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        let modified = modified.unwrap_or_default().as_nanos();
        Ok(Status {
            folder: metadata.is_dir(),
            bytes: metadata.len(),
            modified_unix_nano: u64::try_from(modified).unwrap_or(u64::MAX),
        })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock()?;
        // The text is for people alone: a full disk refuses it, and must not refuse the start.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(owner.as_bytes()));
        Ok(Box::new(file))
    }

    fn unique(&self, _: &Path) -> u128 {
        Uuid::new_v4().as_u128()
    }

    fn concurrency(&self) -> usize {
        16
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        file_system::read_at(&self.0, at, into)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        file_system::allocate(&self.0, bytes).or_else(|error| match error.kind() {
            // Some file systems cannot preallocate: the length alone keeps later syncs from
            // having to write the size.
            io::ErrorKind::Unsupported => self.0.set_len(bytes),
            _ => Err(error),
        })
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}
