//! The bucket as a disk.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use otlake_base::disk::{Disk, DiskFile, Entry, Status};
use otlake_base::limits::{BUCKET_FOLDERS, BUCKET_PART_BYTES};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::address::Address;
use crate::failure::told;
use crate::metered::Meter;
use crate::spool::Spool;
use crate::upload::Large;
use crate::waiting::Waiting;

/// Times that a name is tried to be given while others try, too, and the store tells none of them
/// that it has been given.
const LINK_ATTEMPTS: u32 = 5;
/// The wait before the second of them; each further one is as long again.
const LINK_WAIT: Duration = Duration::from_millis(100);
/// Requests that callers may have at work at once.
const CONCURRENCY: usize = 16;

type Spooled = Arc<Mutex<Spool>>;

/// Files of one bucket.
pub(crate) struct BucketDisk {
    pub(crate) address: Address,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) large: Large,
    pub(crate) meter: Meter,
    pub(crate) waiting: Waiting,
    /// Where large files are until they are uploaded.
    pub(crate) folder: PathBuf,
    /// Files that are being written, and have no name in the bucket.
    staged: Mutex<HashMap<PathBuf, Spooled>>,
    /// Folders that were made here: to the bucket they are nothing, and nothing needs asking.
    folders: Mutex<HashSet<PathBuf>>,
}

impl std::fmt::Debug for BucketDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BucketDisk({})", self.address.bucket)
    }
}

fn status_of(meta: &ObjectMeta) -> Status {
    let modified = meta.last_modified.timestamp_nanos_opt().unwrap_or(0);
    Status {
        folder: false,
        bytes: meta.size,
        modified_unix_nano: u64::try_from(modified).unwrap_or(0),
    }
}

const FOLDER: Status = Status {
    folder: true,
    bytes: 0,
    modified_unix_nano: 0,
};

fn not_found(path: &Path) -> io::Error {
    let text = format!("{} is not in the bucket", crate::shown(path));
    io::Error::new(io::ErrorKind::NotFound, text)
}

impl BucketDisk {
    pub(crate) fn new(
        address: Address,
        store: Arc<dyn ObjectStore>,
        (large, meter): (Large, Meter),
        waiting: Waiting,
        folder: &Path,
    ) -> BucketDisk {
        BucketDisk {
            address,
            store,
            large,
            meter,
            waiting,
            folder: folder.to_owned(),
            staged: Mutex::default(),
            folders: Mutex::default(),
        }
    }

    fn key(&self, path: &Path) -> io::Result<Key> {
        self.address.key(path).ok_or_else(|| not_found(path))
    }

    fn staged(&self, path: &Path) -> Option<Spooled> {
        self.staged.lock().get(path).map(Arc::clone)
    }

    fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        self.waiting.run(future)
    }

    /// Puts a file under its name, in place of what has that name.
    async fn put(
        store: Arc<dyn ObjectStore>,
        large: Large,
        key: Key,
        spool: Spooled,
    ) -> io::Result<()> {
        let length = spool.lock().length();
        let put = match usize::try_from(length) {
            Ok(bytes) if bytes <= BUCKET_PART_BYTES => {
                let bytes = spool.lock().part(0, bytes)?;
                let put = store.put(&key, PutPayload::from(bytes)).await;
                put.map(drop).map_err(told)
            }
            _ => large.put(&key, spool).await,
        };
        let Err(error) = put else { return Ok(()) };
        // The answer may have been lost, and the file be there: nobody else gives it this name.
        match store.head(&key).await {
            Ok(meta) if meta.size == length && key.extension() == Some("parquet") => Ok(()),
            _ => Err(error),
        }
    }

    /// Gives a name that must not be taken: of all that try one succeeds. An answer that was lost
    /// is told by what is there: a file of these bytes is this one.
    async fn put_if_absent(store: Arc<dyn ObjectStore>, key: Key, bytes: Bytes) -> io::Result<()> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let payload = PutPayload::from(bytes.clone());
            let put = store.put_opts(&key, payload, PutMode::Create.into()).await;
            let Err(error) = put else { return Ok(()) };
            let error = told(error);
            match whole(&store, &key).await {
                Ok(there) if there == bytes => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                // Others are at it, and it is not settled (409): the next attempt is told.
                Err(reading)
                    if reading.kind() == io::ErrorKind::NotFound
                        && error.kind() == io::ErrorKind::AlreadyExists
                        && attempt < LINK_ATTEMPTS =>
                {
                    tokio::time::sleep(LINK_WAIT * attempt).await;
                }
                // It may land yet. Who has asked asks again, and is told then.
                Err(_) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// All of a small file.
async fn whole(store: &Arc<dyn ObjectStore>, key: &Key) -> io::Result<Bytes> {
    let got = store.get(key).await.map_err(told)?;
    got.bytes().await.map_err(told)
}

impl Disk for BucketDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.key(path)?;
        let mut staged = self.staged.lock();
        if staged.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let spool = Arc::new(Mutex::new(Spool::new(&self.folder)));
        staged.insert(path.to_owned(), Arc::clone(&spool));
        Ok(Box::new(SpooledFile(spool)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if let Some(spool) = self.staged(path) {
            return Ok(Box::new(SpooledFile(spool)));
        }
        let (key, store) = (self.key(path)?, Arc::clone(&self.store));
        let mut spool = Spool::new(&self.folder);
        let spool = self.run(async move {
            let got = store.get_opts(&key, GetOptions::default()).await;
            let got = got.map_err(told)?;
            let size = got.meta.size;
            let mut stream = got.into_stream();
            while let Some(bytes) = stream.try_next().await.map_err(told)? {
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let written = spool.write(&[IoSlice::new(left)])?;
                    left = &left[written..];
                }
            }
            if spool.length() != size {
                let text = format!("{} bytes came of {size}", spool.length());
                return Err(io::Error::other(text));
            }
            Ok(spool)
        })?;
        Ok(Box::new(SpooledFile(Arc::new(Mutex::new(spool)))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (key, store) = (self.key(to)?, Arc::clone(&self.store));
        if let Some(spool) = self.staged(from) {
            self.run(Self::put(store, self.large.clone(), key, spool))?;
            self.staged.lock().remove(from);
            return Ok(());
        }
        let from = self.key(from)?;
        self.run(async move {
            store.copy(&from, &key).await.map_err(told)?;
            store.delete(&from).await.map_err(told)
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (key, store) = (self.key(to)?, Arc::clone(&self.store));
        let spool = self.staged(from).ok_or_else(|| not_found(from))?;
        let bytes = {
            let spool = spool.lock();
            let length = usize::try_from(spool.length()).map_err(io::Error::other)?;
            spool.part(0, length)?
        };
        self.run(Self::put_if_absent(store, key, bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.staged.lock().remove(path).is_some() {
            return Ok(());
        }
        let (key, store) = (self.key(path)?, Arc::clone(&self.store));
        let meter = self.meter.clone();
        self.run(async move {
            let deleted = store.delete(&key);
            meter.time("delete", deleted).await.map_err(told)
        })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut folders = self.folders.lock();
        if folders.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if folders.len() >= BUCKET_FOLDERS {
            folders.clear();
        }
        folders.insert(path.to_owned());
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.folders.lock().remove(path);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        // A name is durable as soon as the store has said that it is there.
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let listed = self.list_with_status(path)?;
        let entry = |(name, status): (String, Status)| Entry {
            name,
            folder: status.folder,
        };
        Ok(listed.into_iter().map(entry).collect())
    }

    fn list_with_status(&self, path: &Path) -> io::Result<Vec<(String, Status)>> {
        let (key, store) = (self.key(path)?, Arc::clone(&self.store));
        let listed = self.run(async move {
            let listed = store.list_with_delimiter(Some(&key)).await;
            listed.map_err(told)
        })?;
        let named = |key: &Key, status| Some((key.filename()?.to_owned(), status));
        let folders = listed.common_prefixes.iter();
        let files = listed.objects.iter();
        Ok(folders
            .filter_map(|folder| named(folder, FOLDER))
            .chain(files.filter_map(|meta| named(&meta.location, status_of(meta))))
            .collect())
    }

    fn walk(&self, path: &Path, after: &str) -> io::Result<Vec<(String, Status)>> {
        let (key, store) = (self.key(path)?, Arc::clone(&self.store));
        let meter = self.meter.clone();
        let below = format!("{key}/");
        let after = Key::parse(format!("{below}{after}")).map_err(io::Error::other)?;
        let listed: Vec<ObjectMeta> = self.run(async move {
            let listed = store.list_with_offset(Some(&key), &after).try_collect();
            meter.time("list", listed).await.map_err(told)
        })?;
        let named = |meta: &ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(&below)?;
            Some((name.to_owned(), status_of(meta)))
        };
        Ok(listed.iter().filter_map(named).collect())
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        if let Some(spool) = self.staged(path) {
            let bytes = spool.lock().length();
            return Ok(Status {
                folder: false,
                bytes,
                modified_unix_nano: 0,
            });
        }
        let is_above = self.address.path().starts_with(path);
        if is_above || self.folders.lock().contains(path) {
            return Ok(FOLDER);
        }
        let (key, store) = (self.key(path)?, Arc::clone(&self.store));
        let (meter, missing) = (self.meter.clone(), not_found(path));
        self.run(async move {
            match store.head(&key).await.map_err(told) {
                Ok(meta) => return Ok(status_of(&meta)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => {}
            }
            // A folder is what files have before their names.
            let mut below = store.list(Some(&key));
            match meter.time("list", below.try_next()).await {
                Ok(None) => Err(missing),
                Ok(Some(_)) => Ok(FOLDER),
                Err(error) => Err(told(error)),
            }
        })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn lock(&self, _: &Path, _: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a bucket locks nothing",
        ))
    }

    fn unique(&self, _: &Path) -> u128 {
        Uuid::new_v4().as_u128()
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }
}

/// A file that is read, or not named yet.
struct SpooledFile(Spooled);

impl DiskFile for SpooledFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.lock().write(slices)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read_at(at, into)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().length())
    }

    fn sync(&mut self) -> io::Result<()> {
        // It is on stable storage once it has its name, which it is given by a request.
        Ok(())
    }

    fn allocate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
