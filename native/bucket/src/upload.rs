//! Large files in parts, and what is left of uploads that were cut off.
//!
//! The store keeps the parts of an upload that is never completed, and bills them. So the id of
//! each upload stands in a file of the data folder, `<spool>/<id>.upload`, from its begin to its
//! end, and those that an earlier start left are aborted. (One whose data folder is lost is for a
//! rule of the bucket: docs/operations.md.)

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path as LocalPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error as StoreError, PutPayload};
use otlake_base::limits::{BUCKET_PART_BYTES, BUCKET_PARTS_AT_ONCE};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::failure::told;
use crate::metered::Meter;
use crate::spool::Spool;

const SUFFIX: &str = ".upload";

/// Puts files that are not to be in memory as a whole, where a store does not do it in parts.
#[async_trait]
pub trait LargeFiles: Send + Sync + 'static {
    /// Puts a file, which is there whole when this returns, and not at all before.
    async fn put_large(
        &self,
        key: &Path,
        parts: BoxStream<'static, io::Result<Bytes>>,
    ) -> io::Result<()>;
}

/// How a store is given large files.
#[derive(Clone)]
pub(crate) enum Large {
    /// By uploads in parts.
    Parts(Uploads),
    /// By its own way.
    Whole(Arc<dyn LargeFiles>),
}

impl Large {
    /// Puts a file, which is there whole when this returns, and not at all before.
    pub(crate) async fn put(&self, key: &Path, spool: Arc<Mutex<Spool>>) -> io::Result<()> {
        let large = match self {
            Large::Parts(uploads) => return uploads.put(key, spool).await,
            Large::Whole(large) => large,
        };
        let length = spool.lock().length();
        let parts = stream::iter((0..length).step_by(BUCKET_PART_BYTES)).map(move |at| {
            let bytes = (length - at).min(BUCKET_PART_BYTES as u64) as usize;
            spool.lock().part(at, bytes)
        });
        large.put_large(key, parts.boxed()).await
    }
}

/// Uploads in parts.
#[derive(Clone)]
pub(crate) struct Uploads {
    store: Arc<dyn MultipartStore>,
    meter: Meter,
    folder: PathBuf,
    /// The notes of this start's.
    own: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Uploads {
    pub(crate) fn new(store: Arc<dyn MultipartStore>, meter: Meter, folder: &LocalPath) -> Uploads {
        Uploads {
            store,
            meter,
            folder: folder.to_owned(),
            own: Arc::default(),
        }
    }

    /// Puts a file, which is there whole when this returns, and not at all before.
    pub(crate) async fn put(&self, key: &Path, spool: Arc<Mutex<Spool>>) -> io::Result<()> {
        let begun = self.store.create_multipart(key);
        let id = self
            .meter
            .time("create_upload", begun)
            .await
            .map_err(told)?;
        let note = self.note(key, &id)?;
        let sent = self.parts(key, &id, &spool).await;
        if sent.is_err() {
            // What this cannot abort, the next start does.
            self.abort(key, &id, &note).await;
            return sent;
        }
        self.forget(&note);
        Ok(())
    }

    async fn parts(&self, key: &Path, id: &String, spool: &Mutex<Spool>) -> io::Result<()> {
        let length = spool.lock().length();
        let count = length.div_ceil(BUCKET_PART_BYTES as u64);
        let parts: Vec<_> = stream::iter(0..count)
            .map(|number| async move {
                let at = number * BUCKET_PART_BYTES as u64;
                let bytes = (length - at).min(BUCKET_PART_BYTES as u64) as usize;
                let part = spool.lock().part(at, bytes)?;
                let put = self
                    .store
                    .put_part(key, id, number as usize, PutPayload::from(part));
                let put = self.meter.time("put_part", put).await.map_err(told)?;
                self.meter.sent(bytes as u64);
                Ok::<_, io::Error>(put)
            })
            .buffered(BUCKET_PARTS_AT_ONCE)
            .try_collect()
            .await?;
        let completed = self.store.complete_multipart(key, id, parts);
        let completed = self.meter.time("complete_upload", completed).await;
        completed.map(drop).map_err(told)
    }

    async fn abort(&self, key: &Path, id: &String, note: &LocalPath) {
        let aborted = self.store.abort_multipart(key, id);
        match self.meter.time("abort_upload", aborted).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => self.forget(note),
            Err(error) => {
                tracing::warn!(
                    target: "otlake::bucket", key = key.as_ref(),
                    "parts of an upload stay until the next start: {error}"
                );
                self.own.lock().remove(note);
            }
        }
    }

    fn note(&self, key: &Path, id: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let note = self.folder.join(format!("{}{SUFFIX}", Uuid::new_v4()));
        self.own.lock().insert(note.clone());
        fs::write(&note, format!("{key}\n{id}\n"))?;
        Ok(note)
    }

    fn forget(&self, note: &LocalPath) {
        if let Err(error) = fs::remove_file(note) {
            tracing::warn!(
                target: "otlake::bucket", note = %note.display(),
                "an upload that has ended is aborted at the next start: {error}"
            );
        }
        self.own.lock().remove(note);
    }

    /// Aborts what earlier starts left; how many.
    pub(crate) async fn sweep(&self) -> io::Result<usize> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut swept = 0;
        for entry in entries {
            let note = entry?.path();
            let is_note = note.extension().is_some_and(|end| *end == SUFFIX[1..]);
            if !is_note || self.own.lock().contains(&note) {
                continue;
            }
            let text = fs::read_to_string(&note)?;
            let mut lines = text.lines();
            let (key, id) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
            match Path::parse(key) {
                Ok(key) if !id.is_empty() => self.abort(&key, &id.to_owned(), &note).await,
                // A crash tore it before the upload had a part.
                _ => self.forget(&note),
            }
            swept += 1;
        }
        Ok(swept)
    }
}
