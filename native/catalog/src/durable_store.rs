//! A local object store whose writes survive a crash, and whose reads find what changed on disk.
//!
//! `object_store`'s own writes reach the disk when the kernel pleases: after a power cut a
//! commit could be there in name and empty, and a Delta table with a torn commit cannot be
//! read at all. Here a file is synced before it gets its name, and its folder after.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result, UploadPart,
};
use otlake_base::{Code, Metrics};
use otlake_shard::durable::{create_dirs, sync_dir};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::integrity::{self, Kind, Verdict};

/// The store's name in its errors.
const STORE: &str = "DurableStore";

/// A store with `/` at the file system's root.
#[derive(Clone)]
pub(crate) struct DurableStore {
    local: LocalFileSystem,
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

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: STORE,
        source: source.into(),
    }
}

/// The checksums that stand beside a file, if any do.
pub(crate) fn sums_beside(path: &FsPath) -> io::Result<Option<Vec<u8>>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    match fs::read(path.with_file_name(integrity::sums_name(name))) {
        Ok(sums) => Ok(Some(sums)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file with what it can be checked by.
fn put_checked(
    path: &FsPath,
    payload: PutPayload,
    kind: Option<Kind>,
    create: bool,
) -> io::Result<()> {
    match (kind, path.file_name().and_then(|name| name.to_str())) {
        (Some(Kind::Commit), _) => {
            let sealed = integrity::seal(&Bytes::from(payload));
            put_blocking(path, &PutPayload::from(sealed), create)
        }
        (Some(Kind::Checkpoint | Kind::Hint), Some(name)) => {
            let bytes = Bytes::from(payload);
            // First, so that the file never stands there unchecked. A crash between the two
            // leaves a checkpoint that is passed over.
            let sums = integrity::sums_file(&bytes);
            let beside = path.with_file_name(integrity::sums_name(name));
            put_blocking(&beside, &PutPayload::from(sums), false)?;
            put_blocking(path, &PutPayload::from(bytes), create)
        }
        _ => put_blocking(path, &payload, create),
    }
}

fn put_blocking(path: &FsPath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    create_dirs(dir)?;
    // A name that ends in `#` and digits is one that every `object_store` passes over when it
    // lists, so that no reader takes the unfinished file for a commit.
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!("#{}", Uuid::new_v4().as_u64_pair().0));
    let staged = PathBuf::from(staged);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staged)?;
        for part in payload.iter() {
            file.write_all(part)?;
        }
        file.sync_all()?;
        drop(file);
        // A hard link fails where the name is taken: that is the compare-and-swap of commits.
        if create {
            fs::hard_link(&staged, path)
        } else {
            fs::rename(&staged, path)
        }
    })();
    if create || written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written?;
    sync_dir(dir)
}

impl DurableStore {
    pub(crate) fn new(metrics: Arc<Metrics>) -> DurableStore {
        DurableStore {
            local: LocalFileSystem::default(),
            metrics,
            damage: Arc::default(),
        }
    }

    /// The last damage that a read found since this was last asked.
    pub(crate) fn take_damage(&self) -> Option<Damage> {
        self.damage.lock().take()
    }

    /// All of a file of the log, checked.
    async fn checked(&self, location: &Path, kind: Kind) -> Result<(ObjectMeta, Bytes)> {
        let got = self.local.get_opts(location, GetOptions::default()).await?;
        let meta = got.meta.clone();
        let bytes = got.bytes().await?;
        let verdict = match kind {
            Kind::Commit => integrity::check_commit(&bytes),
            Kind::Checkpoint | Kind::Hint => {
                let path = self.local.path_to_filesystem(location)?;
                let sums = tokio::task::spawn_blocking(move || sums_beside(&path))
                    .await
                    .map_err(failed)?
                    .map_err(failed)?;
                integrity::check_beside(&bytes, sums.as_deref())
            }
        };
        let Verdict::Damaged(what) = verdict else {
            return Ok((meta, bytes));
        };
        let path = self.local.path_to_filesystem(location)?;
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
        let path = self.local.path_to_filesystem(location)?;
        let kind = Kind::of(location.as_ref());
        let outcome =
            tokio::task::spawn_blocking(move || put_checked(&path, payload, kind, create))
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
        let Some(kind) = Kind::of(location.as_ref()).filter(|_| !options.head) else {
            return self.local.get_opts(location, options).await;
        };
        let (meta, bytes) = self.checked(location, kind).await?;
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
        let Some(kind) = Kind::of(location.as_ref()) else {
            return self.local.get_ranges(location, ranges).await;
        };
        let (_, bytes) = self.checked(location, kind).await?;
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
        self.local.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.local.list_with_delimiter(prefix).await
    }

    // Delta's log neither copies nor renames on a store that can create if absent.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.local.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.local.rename_opts(from, to, options).await
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
