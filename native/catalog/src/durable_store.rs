//! An object store on the disk port whose writes survive a crash, and whose reads find what
//! changed on disk.
//!
//! `object_store`'s own writes reach the disk when the kernel pleases: after a power cut a
//! commit could be there in name and empty, and a Delta table with a torn commit cannot be
//! read at all. Here a file is synced before it gets its name, and its folder after.

use std::fmt::{self, Display, Formatter};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use otlake_base::disk::{Disk, create_folders, existing_above, read};
use otlake_base::{Code, Metrics};
use parking_lot::Mutex;

use crate::integrity::{self, Kind, Verdict};
use crate::listing::{Listing, meta_of};

/// The store's name in its errors.
const STORE: &str = "DurableStore";

/// A store with `/` at the file system's root.
#[derive(Clone)]
pub(crate) struct DurableStore {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    /// The last damage that a read found. Errors are flattened to text on their way through the
    /// layers above, which must not make damage look like a passing fault.
    damage: Arc<Mutex<Option<Damage>>>,
}

/// A file whose bytes are not what was written.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) error: otlake_base::Error,
}

impl fmt::Debug for DurableStore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

impl Display for DurableStore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

/// The path on disk of a location.
fn on_disk(location: &Path) -> Result<PathBuf> {
    // It only spells the path, and asks nothing of the file system.
    LocalFileSystem::new().path_to_filesystem(location)
}

pub(crate) fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: STORE,
        source: source.into(),
    }
}

/// What the disk said, in this layer's terms.
pub(crate) fn failed_at(location: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: location.to_string(),
            source: source.into(),
        },
        _ => failed(source),
    }
}

/// Runs what waits for the disk where that holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// The checksums that stand beside a file, if any do.
pub(crate) fn sums_beside(disk: &dyn Disk, path: &FsPath) -> io::Result<Option<Vec<u8>>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    match read(disk, &path.with_file_name(integrity::sums_name(name))) {
        Ok(sums) => Ok(Some(sums)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file with what it can be checked by.
fn put_checked(
    disk: &dyn Disk,
    path: &FsPath,
    payload: PutPayload,
    kind: Option<Kind>,
    create: bool,
) -> io::Result<()> {
    match (kind, path.file_name().and_then(|name| name.to_str())) {
        (Some(Kind::Commit), _) => {
            let sealed = integrity::seal(&Bytes::from(payload));
            put_blocking(disk, path, &PutPayload::from(sealed), create)
        }
        (Some(Kind::Checkpoint), Some(name)) => {
            // Two writers of one version can spell it differently, and the sums of the one must
            // never stand beside the file of the other: the first of them writes it.
            if disk.status(path).is_ok() {
                return Ok(());
            }
            let bytes = Bytes::from(payload);
            // First, so that the file never stands there unchecked. A crash between the two
            // leaves a checkpoint that is passed over.
            let sums = integrity::sums_file(&bytes);
            let beside = path.with_file_name(integrity::sums_name(name));
            match put_blocking(disk, &beside, &PutPayload::from(sums.clone()), true) {
                // Ours from an attempt before this one, or as good as ours.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && read(disk, &beside)? == sums.as_bytes() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let what = "another writer is at this checkpoint, or was cut off at it";
                    return Err(io::Error::other(what));
                }
                put => put?,
            }
            match put_blocking(disk, path, &PutPayload::from(bytes), true) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                put => put,
            }
        }
        (Some(Kind::Hint), Some(name)) => {
            let bytes = Bytes::from(payload);
            // Readers do without one that another writer has come between.
            let sums = integrity::sums_file(&bytes);
            let beside = path.with_file_name(integrity::sums_name(name));
            put_blocking(disk, &beside, &PutPayload::from(sums), false)?;
            put_blocking(disk, path, &PutPayload::from(bytes), create)
        }
        _ => put_blocking(disk, path, &payload, create),
    }
}

fn put_blocking(
    disk: &dyn Disk,
    path: &FsPath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    if disk.status(dir).is_err() {
        create_folders(disk, existing_above(disk, dir), dir)?;
    }
    // A name that ends in `#` and digits is one that every `object_store` passes over when it
    // lists, so that no reader takes the unfinished file for a commit.
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!("#{}", disk.unique(dir) as u64));
    let staged = PathBuf::from(staged);
    let written = (|| {
        let mut file = disk.create(&staged)?;
        let mut slices: Vec<IoSlice<'_>> = payload.iter().map(|part| IoSlice::new(part)).collect();
        file.write_all(&mut slices)?;
        file.sync()?;
        drop(file);
        // A hard link fails where the name is taken: that is the compare-and-swap of commits.
        if create {
            disk.link(&staged, path)
        } else {
            disk.rename(&staged, path)
        }
    })();
    if create || written.is_err() {
        let _ = disk.remove(&staged);
    }
    written?;
    disk.sync_folder(dir)
}

impl DurableStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, metrics: Arc<Metrics>) -> DurableStore {
        DurableStore {
            disk,
            metrics,
            damage: Arc::default(),
        }
    }

    /// Where the files are.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The last damage that a read found since this was last asked.
    pub(crate) fn take_damage(&self) -> Option<Damage> {
        self.damage.lock().take()
    }

    /// All of a file, and what a listing says of it.
    async fn whole(&self, location: &Path) -> Result<(ObjectMeta, Bytes)> {
        let (disk, path, location) = (Arc::clone(&self.disk), on_disk(location)?, location.clone());
        blocking(move || {
            let read = disk
                .status(&path)
                .and_then(|status| Ok((status, read(&*disk, &path)?)));
            match read {
                Ok((status, bytes)) => {
                    let mut meta = meta_of(location, &status);
                    // It may have been replaced between the two.
                    meta.size = bytes.len() as u64;
                    Ok((meta, Bytes::from(bytes)))
                }
                Err(error) => Err(failed_at(&location, error)),
            }
        })
        .await
    }

    /// All of a file of the log, checked.
    async fn checked(&self, location: &Path, kind: Kind) -> Result<(ObjectMeta, Bytes)> {
        let (meta, bytes) = self.whole(location).await?;
        let verdict = match kind {
            Kind::Commit => integrity::check_commit(&bytes),
            Kind::Checkpoint | Kind::Hint => {
                let (disk, path) = (Arc::clone(&self.disk), on_disk(location)?);
                let sums = blocking(move || sums_beside(&*disk, &path).map_err(failed)).await?;
                integrity::check_beside(&bytes, sums.as_deref())
            }
        };
        let Verdict::Damaged(what) = verdict else {
            return Ok((meta, bytes));
        };
        let path = on_disk(location)?;
        let error =
            otlake_base::Error::new(Code::TableCorrupt, format!("{}: {what}", path.display()));
        if kind == Kind::Hint {
            // Readers find the newest checkpoint without it.
            tracing::warn!(target: "otlake::catalog", "a hint is passed over: {error}");
            return Err(Error::NotFound {
                path: location.to_string(),
                source: error.into(),
            });
        }
        tracing::error!(target: "otlake::catalog", "a table's log is damaged: {error}");
        self.metrics.damaged(match kind {
            Kind::Commit => "commit",
            _ => "checkpoint",
        });
        *self.damage.lock() = Some(Damage {
            path,
            kind,
            error: error.clone(),
        });
        Err(failed(error))
    }
    async fn put_durably(
        &self,
        location: &Path,
        payload: PutPayload,
        create: bool,
    ) -> Result<PutResult> {
        let path = on_disk(location)?;
        let kind = Kind::of(location.as_ref());
        let disk = Arc::clone(&self.disk);
        let outcome =
            tokio::task::spawn_blocking(move || put_checked(&*disk, &path, payload, kind, create))
                .await
                .map_err(failed)?;
        match outcome {
            Ok(()) => Ok(PutResult {
                e_tag: None,
                version: None,
            }),
            Err(source) if create && source.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists {
                    path: location.to_string(),
                    source: source.into(),
                })
            }
            Err(source) => Err(failed(source)),
        }
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.put_durably(location, payload, true).await,
            PutMode::Overwrite => self.put_durably(location, payload, false).await,
            PutMode::Update(_) => Err(Error::NotImplemented {
                operation: "put with mode Update".to_owned(),
                implementer: STORE.to_owned(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload {
            store: self.clone(),
            location: location.clone(),
            parts: Vec::new(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (meta, bytes) = match Kind::of(location.as_ref()) {
            Some(kind) if !options.head => self.checked(location, kind).await?,
            _ => self.whole(location).await?,
        };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(failed)?,
            None => 0..meta.size,
        };
        let bytes = bytes.slice(range.start as usize..range.end as usize);
        let stream = futures::stream::once(std::future::ready(Ok(bytes)));
        Ok(GetResult {
            payload: GetResultPayload::Stream(Box::pin(stream)),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (_, bytes) = match Kind::of(location.as_ref()) {
            Some(kind) => self.checked(location, kind).await?,
            None => self.whole(location).await?,
        };
        let slice = |range: &Range<u64>| {
            let (start, end) = (range.start as usize, (range.end as usize).min(bytes.len()));
            if start > end {
                return Err(failed("a range behind the end of the file"));
            }
            Ok(bytes.slice(start..end))
        };
        ranges.iter().map(slice).collect()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let disk = Arc::clone(&self.disk);
        let concurrency = disk.concurrency();
        locations
            .map_ok(move |location| {
                let disk = Arc::clone(&disk);
                async move {
                    let path = on_disk(&location)?;
                    blocking(move || match disk.remove(&path) {
                        Ok(()) => Ok(location),
                        // Another node has deleted it, which is what was wanted.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(location),
                        Err(error) => Err(failed_at(&location, error)),
                    })
                    .await
                }
            })
            .try_buffered(concurrency)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (disk, prefix, offset) = (
            Arc::clone(&self.disk),
            prefix.cloned().unwrap_or_default(),
            offset.clone(),
        );
        futures::stream::once(async move {
            let folder = on_disk_folder(&prefix)?;
            let all = move || Listing::all(&*disk, &folder, &prefix, &offset);
            let metas = blocking(all).await?.into_iter().map(Ok);
            Ok::<_, Error>(futures::stream::iter(metas))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (disk, prefix) = (Arc::clone(&self.disk), prefix.cloned().unwrap_or_default());
        let folder = on_disk_folder(&prefix)?;
        let listing = blocking(move || Listing::one(&*disk, &folder, &prefix)).await?;
        Ok(ListResult {
            common_prefixes: listing.folders,
            objects: listing.objects,
        })
    }

    // Delta's log neither copies nor renames on a store that can create if absent.
    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented {
            operation: "copy".to_owned(),
            implementer: STORE.to_owned(),
        })
    }
}

/// The folder of a prefix; of none, the root.
fn on_disk_folder(prefix: &Path) -> Result<PathBuf> {
    match prefix.as_ref() {
        "" => Ok(PathBuf::from("/")),
        _ => on_disk(prefix),
    }
}

/// Parts wait in memory for the one write: only checkpoints could come this way.
#[derive(Debug)]
struct Upload {
    store: DurableStore,
    location: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = std::mem::take(&mut self.parts);
        let payload: PutPayload = parts.iter().flat_map(|part| part.iter().cloned()).collect();
        self.store.put_durably(&self.location, payload, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
