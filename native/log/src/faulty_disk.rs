//! A disk for tests that fails on demand: the next write, after a part of it; the next sync; the
//! next creation. All else is the machine's file system.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::disk::{Disk, DiskFile, Entry, RealDisk, Status};
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub struct Faults {
    /// The next write stops after this many bytes and fails.
    pub write_after: Option<usize>,
    pub sync: bool,
    pub create: bool,
}

#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(pub Arc<Mutex<Faults>>);

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if std::mem::take(&mut self.0.lock().create) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(FaultyFile {
            file: RealDisk.create(path)?,
            faults: self.0.clone(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
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

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Mutex<Faults>>,
}

impl DiskFile for FaultyFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(after) = self.faults.lock().write_after.take() else {
            return self.file.write(slices);
        };
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.to_vec())
            .take(after)
            .collect();
        self.file.write_all(&mut [IoSlice::new(&bytes)])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, into)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.faults.lock().sync) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync()
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
}
