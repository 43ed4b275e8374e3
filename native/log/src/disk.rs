//! The port to the file system: what the log writes through, so that a test can put a disk that
//! fails under it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;

/// A segment being written, from its start to its end.
pub trait SegmentFile: Send {
    /// Appends all the slices, or fails; after a failure any part may be there.
    fn write_all(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Returns when everything written is on stable storage.
    fn sync(&mut self) -> io::Result<()>;
    /// Gives back the preallocated space behind `bytes`.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

/// The file system under the log.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file with `bytes` of zeroed space; the file and its name are durable when it
    /// returns.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>>;
    /// Removes a file, durably.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder, durably.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder if it is empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let created = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
            .or_else(|error| match error.kind() {
                // Some file systems cannot preallocate: the length alone keeps later syncs from
                // having to write the size.
                io::ErrorKind::Unsupported => file.set_len(bytes),
                _ => Err(error),
            })
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_folder(path.parent()));
        if let Err(error) = created {
            // The space is what is missing: leave nothing behind.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Box::new(RealFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        sync_folder(path.parent())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        sync_folder(path.parent())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

struct RealFile(File);

impl SegmentFile for RealFile {
    fn write_all(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !slices.is_empty() {
            match self.0.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}
