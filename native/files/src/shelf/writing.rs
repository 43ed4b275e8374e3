//! A file that is being written.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::disk::{Disk, DiskFile};

use crate::sheet::{Sheet, Summing};

/// A file that is being written; removed where it gets no name.
pub(crate) struct Writing {
    disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    /// None once it is closed.
    pub(super) file: Option<Box<dyn DiskFile>>,
    summing: Summing,
    pub(super) is_kept: bool,
}

impl Writing {
    /// Of a file that is empty yet.
    pub(super) fn begun(disk: Arc<dyn Disk>, path: PathBuf, file: Box<dyn DiskFile>) -> Writing {
        Writing {
            disk,
            path,
            file: Some(file),
            summing: Summing::default(),
            is_kept: false,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.summing.bytes()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&mut [IoSlice::new(bytes)])?;
        }
        self.summing.add(bytes);
        Ok(())
    }

    /// Syncs what was written; what it is.
    pub(crate) fn finish(&mut self, modified_unix_nano: u64) -> io::Result<Arc<Sheet>> {
        if let Some(file) = &mut self.file {
            file.sync()?;
        }
        let summing = std::mem::take(&mut self.summing);
        Ok(Arc::new(summing.finish(modified_unix_nano)))
    }

    /// Leaves the file without a name of its own, for whoever is told where it is; the next start
    /// removes it.
    pub(crate) fn leave(mut self) -> PathBuf {
        self.file = None;
        self.is_kept = true;
        self.path.clone()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.is_kept {
            self.file = None;
            let _ = self.disk.remove(&self.path);
        }
    }
}
