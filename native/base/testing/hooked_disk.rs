//! The machine's file system with a test's say in it: the hook is asked before each operation that
//! changes something, and what it fails with is what the disk says. Tests of several crates share
//! it by path.

use std::any::Any;
use std::fmt::{self, Debug, Formatter};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::disk::{Disk, DiskFile, Entry, RealDisk, Status};

/// Told the operation and its path.
pub(crate) type Hook = Arc<dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct HookedDisk(pub(crate) Hook);

impl Debug for HookedDisk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("HookedDisk")
    }
}

/// What a full disk says.
#[allow(dead_code, reason = "not every crate that shares this fills a disk")]
pub(crate) fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for HookedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        (self.0)("create", path)?;
        Ok(Box::new(HookedFile {
            file: RealDisk.create(path)?,
            path: path.to_owned(),
            hook: Arc::clone(&self.0),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)("rename", to)?;
        RealDisk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)("link", to)?;
        RealDisk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)("remove", path)?;
        RealDisk.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        (self.0)("create_folder", path)?;
        RealDisk.create_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        (self.0)("remove_folder", path)?;
        RealDisk.remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        (self.0)("sync_folder", path)?;
        RealDisk.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(path)
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        RealDisk.status(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        RealDisk.canonical(path)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        RealDisk.lock(path, owner)
    }

    fn unique(&self, folder: &Path) -> u128 {
        RealDisk.unique(folder)
    }

    fn concurrency(&self) -> usize {
        RealDisk.concurrency()
    }
}

struct HookedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    hook: Hook,
}

impl DiskFile for HookedFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.hook)("write", &self.path)?;
        self.file.write(slices)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, into)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.hook)("sync", &self.path)?;
        self.file.sync()
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        (self.hook)("allocate", &self.path)?;
        self.file.allocate(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
}
