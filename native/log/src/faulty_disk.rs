//! A disk for tests that fails on demand: the next write, after a part of it; the next sync; the
//! next creation.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, RealDisk, SegmentFile};

#[derive(Default)]
pub struct Faults {
    /// The next write stops after this many bytes and fails.
    pub write_after: Option<usize>,
    pub sync: bool,
    pub create: bool,
}

#[derive(Clone, Default)]
pub struct FaultyDisk(pub Arc<Mutex<Faults>>);

impl Disk for FaultyDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        if std::mem::take(&mut self.0.lock().create) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = RealDisk.create(path, bytes)?;
        Ok(Box::new(FaultyFile {
            file,
            faults: self.0.clone(),
        }))
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
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    faults: Arc<Mutex<Faults>>,
}

impl SegmentFile for FaultyFile {
    fn write_all(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let Some(after) = self.faults.lock().write_after.take() else {
            return self.file.write_all(slices);
        };
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.to_vec())
            .take(after)
            .collect();
        self.file.write_all(&mut [IoSlice::new(&bytes)])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.faults.lock().sync) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
}
