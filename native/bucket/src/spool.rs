//! Bytes of one file, in memory or in a local file.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otlake_base::limits::BUCKET_SPOOL_BYTES;

/// A file that grows at its end and is read anywhere. A large one is in a local file without a
/// name, which ends with the process whatever ends it.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    held: Held,
    length: u64,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    Local(File),
}

impl Spool {
    /// An empty one; `folder` is made when it is needed.
    pub(crate) fn new(folder: &Path) -> Spool {
        Spool {
            folder: folder.to_owned(),
            held: Held::Memory(Vec::new()),
            length: 0,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends a part of the slices; says how many bytes.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if let Held::Memory(held) = &self.held
            && held.len() + bytes > BUCKET_SPOOL_BYTES
        {
            fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::tempfile_in(&self.folder)?;
            file.write_all(held)?;
            self.held = Held::Local(file);
        }
        let written = match &mut self.held {
            Held::Memory(held) => {
                slices
                    .iter()
                    .for_each(|slice| held.extend_from_slice(slice));
                bytes
            }
            Held::Local(file) => file.write_vectored(slices)?,
        };
        self.length += written as u64;
        Ok(written)
    }

    /// Bytes from an offset, as many as there are and fit.
    pub(crate) fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = into.len().min(left);
        let into = &mut into[..count];
        match &self.held {
            Held::Memory(held) => {
                let at = (at as usize).min(held.len());
                into.copy_from_slice(&held[at..at + count]);
                Ok(count)
            }
            Held::Local(file) => otlake_base::disk::read_at(file, at, into),
        }
    }

    /// A part of it.
    pub(crate) fn part(&self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let mut part = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.read_at(at + filled as u64, &mut part[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(part.into())
    }
}
