//! One tree of the bucket and the machine's disk; the same for queries.

use std::any::Any;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use otlake_base::disk::{BUCKETS, Disk, DiskFile, Entry, Status};

use crate::address::Address;
use crate::disk::BucketDisk;

/// The store's name in its errors.
const STORE: &str = "Mounted";

/// The bucket below its mount, and another disk for everything else.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) bucket: Arc<BucketDisk>,
    pub(crate) rest: Arc<dyn Disk>,
}

impl Mounted {
    fn of(&self, path: &Path) -> &dyn Disk {
        match path.starts_with(BUCKETS) {
            true => &*self.bucket,
            false => &*self.rest,
        }
    }
}

impl Disk for Mounted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.of(path).create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.of(path).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(from).rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(from).link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.of(path).create_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.of(path).sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.of(path).list(path)
    }

    fn list_with_status(&self, path: &Path) -> io::Result<Vec<(String, Status)>> {
        self.of(path).list_with_status(path)
    }

    fn walk(&self, path: &Path, after: &str) -> io::Result<Vec<(String, Status)>> {
        self.of(path).walk(path, after)
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        self.of(path).status(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.of(path).canonical(path)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.of(path).lock(path, owner)
    }

    fn unique(&self, folder: &Path) -> u128 {
        self.of(folder).unique(folder)
    }

    fn concurrency(&self) -> usize {
        self.rest.concurrency()
    }
}

/// What queries read: keys below the mount from the bucket, all others from the file system. A key
/// is the path of a file without its first slash.
#[derive(Debug)]
pub(crate) struct MountedFiles {
    pub(crate) address: Address,
    pub(crate) bucket: Arc<dyn ObjectStore>,
    pub(crate) rest: LocalFileSystem,
}

impl Display for MountedFiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

fn read_only(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[async_trait]
impl ObjectStore for MountedFiles {
    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        match self.address.key(Path::new(&format!("/{location}"))) {
            None => self.rest.get_opts(location, options).await,
            Some(key) => {
                let mut got = self.bucket.get_opts(&key, options).await?;
                got.meta.location = location.clone();
                Ok(got)
            }
        }
    }

    async fn get_ranges(
        &self,
        location: &Key,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        match self.address.key(Path::new(&format!("/{location}"))) {
            None => self.rest.get_ranges(location, ranges).await,
            Some(key) => self.bucket.get_ranges(&key, ranges).await,
        }
    }

    fn list(&self, _: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter([Err(read_only("list"))]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Key>) -> Result<ListResult> {
        Err(read_only("list"))
    }

    async fn put_opts(&self, _: &Key, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(
        &self,
        _: &Key,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only("put"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        stream::iter([Err(read_only("delete"))]).boxed()
    }

    async fn copy_opts(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<()> {
        Err(read_only("copy"))
    }
}
