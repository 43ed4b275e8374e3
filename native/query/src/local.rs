//! The machine's files. What one question reads of a file is asked for at once, so that a disk has all of
//! it to do and not one piece after the other; the memory that the system keeps files in has most of it. Where
//! that has all of a little, it is taken where the question runs: to wake another thread takes longer.

use std::fmt::{self, Debug, Display, Formatter};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Bytes of one question that are taken where it runs. Of more, filling the memory with zeros first, which
/// `preadv2` needs, takes longer than waking a thread that need not.
#[cfg(target_os = "linux")]
const AT_ONCE_BYTES: u64 = 64 * 1024;

/// Files by their path without its first slash.
#[derive(Debug)]
pub(crate) struct LocalFiles(LocalFileSystem);

impl LocalFiles {
    pub(crate) fn new() -> LocalFiles {
        LocalFiles(LocalFileSystem::new())
    }
}

impl Display for LocalFiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Tells the system what is read next.
#[cfg(target_os = "linux")]
fn announce(file: &File, ranges: &[Range<u64>]) {
    use rustix::fs::{Advice, fadvise};
    for range in ranges {
        let length = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
        // It is a hint: without it, reading is slower at most. No length would be all of the file.
        if length.is_some() && fadvise(file, range.start, length, Advice::WillNeed).is_err() {
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn announce(_: &File, _: &[Range<u64>]) {}

/// The ranges, if they are few bytes, and the system has these and the file's name in memory; nothing here waits
/// for a disk. A system that cannot tell has none.
#[cfg(target_os = "linux")]
fn in_memory(path: &std::path::Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};
    let lengths = ranges.iter();
    let lengths = lengths.map(|range| range.end.saturating_sub(range.start));
    if lengths.sum::<u64>() > AT_ONCE_BYTES {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let read = |range: &Range<u64>| {
        let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).ok()?];
        let mut at = 0;
        while at < bytes.len() {
            let mut rest = [io::IoSliceMut::new(&mut bytes[at..])];
            let offset = range.start + at as u64;
            match preadv2(&file, &mut rest, offset, ReadWriteFlags::NOWAIT).ok()? {
                0 => return None,
                read => at += read,
            }
        }
        Some(bytes.into())
    };
    ranges.iter().map(read).collect()
}

#[cfg(not(target_os = "linux"))]
fn in_memory(_: &std::path::Path, _: &[Range<u64>]) -> Option<Vec<Bytes>> {
    None
}

fn read(path: PathBuf, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let mut file = File::open(path)?;
    if ranges.len() > 1 {
        announce(&file, ranges);
    }
    let read = |range: &Range<u64>| {
        let length = range.end.saturating_sub(range.start);
        // Memory that is about to be filled is not filled with zeros first.
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        file.seek(SeekFrom::Start(range.start))?;
        (&file).take(length).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == length {
            true => Ok(bytes.into()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    ranges.iter().map(read).collect()
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let path = self.0.path_to_filesystem(location)?;
        if let Some(bytes) = in_memory(&path, ranges) {
            return Ok(bytes);
        }
        let wanted = ranges.to_vec();
        let read = tokio::task::spawn_blocking(move || read(path, &wanted)).await;
        match read {
            Ok(Ok(bytes)) => Ok(bytes),
            // It finds the same wrong, and has the words for it.
            _ => self.0.get_ranges(location, ranges).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn ranges_of_a_file_are_what_is_there_and_what_is_not_is_told_as_ever() {
        let folder = TempDir::new().unwrap();
        let whole: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
        let path = folder.path().join("ä file.parquet");
        fs::write(&path, &whole).unwrap();
        let location = Path::from_absolute_path(&path).unwrap();
        let (ours, theirs) = (LocalFiles::new(), LocalFileSystem::new());
        for ranges in [
            vec![],
            vec![7..9, 0..1],
            vec![5..5, 99_999..100_000],
            vec![70_000..80_000, 10..4_000, 3_000..3_001],
            vec![0..60_000, 30_000..100_000],
        ] {
            let read = ours.get_ranges(&location, &ranges).await.unwrap();
            for (range, bytes) in ranges.iter().zip(&read) {
                assert_eq!(bytes[..], whole[range.start as usize..range.end as usize]);
            }
            assert_eq!(read.len(), ranges.len());
        }
        let gone = Path::from_absolute_path(folder.path().join("gone")).unwrap();
        for (location, ranges) in [
            (&location, [1..2, 99_000..200_000]),
            (&location, [200_000..200_001, 0..1]),
            (&gone, [0..1, 2..3]),
        ] {
            let ours = ours.get_ranges(location, &ranges).await;
            let theirs = theirs.get_ranges(location, &ranges).await;
            assert_eq!(ours.is_ok(), theirs.is_ok());
            match (ours, theirs) {
                (Err(ours), Err(theirs)) => assert_eq!(ours.to_string(), theirs.to_string()),
                (ours, theirs) => assert_eq!(ours.unwrap(), theirs.unwrap()),
            }
        }
    }
}
