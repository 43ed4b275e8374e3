//! What platforms name differently of their file systems.

pub(crate) use platform::{allocate, read_at, sync_folder};

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use rustix::fs::{FallocateFlags, fallocate};

    /// Bytes from an offset; where the next write goes does not change.
    pub(crate) fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        file.read_at(into, at)
    }

    /// Makes a file this long, zeroed, with its space set aside.
    pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
        Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
    }

    /// Returns when the names in a folder are on stable storage.
    pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io::{self, Seek, SeekFrom};
    use std::os::windows::fs::FileExt;
    use std::path::Path;

    /// Bytes from an offset; where the next write goes does not change.
    pub(crate) fn read_at(mut file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let next = file.stream_position()?;
        let read = file.seek_read(into, at);
        file.seek(SeekFrom::Start(next))?;
        read
    }

    /// NTFS sets space aside for a file's length.
    pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    /// NTFS keeps a journal of its names, and has no call that waits for it.
    pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
