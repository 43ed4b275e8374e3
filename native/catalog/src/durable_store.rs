//! A local object store whose writes survive a crash.
//!
//! `object_store`'s own writes reach the disk when the kernel pleases: after a power cut a
//! commit could be there in name and empty, and a Delta table with a torn commit cannot be
//! read at all. Here a file is synced before it gets its name, and its folder after.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use otlake_shard::durable::{create_dirs, sync_dir};
use uuid::Uuid;

/// The store's name in its errors.
const STORE: &str = "DurableStore";

/// A store with `/` at the file system's root.
#[derive(Clone, Debug, Default)]
pub(crate) struct DurableStore {
    local: LocalFileSystem,
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
    async fn put_durably(
        &self,
        location: &Path,
        payload: PutPayload,
        create: bool,
    ) -> Result<PutResult> {
        let path = self.local.path_to_filesystem(location)?;
        let outcome = tokio::task::spawn_blocking(move || put_blocking(&path, &payload, create))
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
        self.local.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.local.get_ranges(location, ranges).await
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
