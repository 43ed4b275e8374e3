//! A bucket in memory that fails when it is told to.

use std::fmt::{self, Display, Formatter};
use std::path::Path as LocalPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use otlake_base::{Metrics, SystemClock};
use parking_lot::Mutex;

use crate::metered::Meter;
use crate::rows::Random;
use crate::{Address, Bucket};

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faulty {
    pub(crate) inner: InMemory,
    /// Puts that are done and whose answers are lost.
    pub(crate) lost: AtomicUsize,
    /// Puts that are refused with a conflict that is not settled, and not done.
    pub(crate) unsettled: AtomicUsize,
    /// Puts that fail and are not done.
    pub(crate) failing: AtomicUsize,
    /// Parts of uploads that are taken before one fails; none fails at 0.
    pub(crate) parts: AtomicUsize,
    /// Completions that are done and whose answers are lost.
    pub(crate) lost_completions: AtomicUsize,
    /// Uploads that were aborted.
    pub(crate) aborted: AtomicUsize,
    /// Whether aborting fails, too.
    pub(crate) is_dead: AtomicBool,
    /// Whether a name that is taken is given again when that was not to be.
    pub(crate) overwrites: AtomicBool,
    /// What every request is refused with.
    pub(crate) refusal: Mutex<Option<&'static str>>,
    /// Draws what becomes of each put; all are good without.
    pub(crate) chance: Mutex<Option<Random>>,
    /// Puts that were given up, and are still on their way.
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    /// Requests of all kinds but parts.
    pub(crate) requests: AtomicUsize,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl Display for Faulty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

pub(crate) fn failed(text: &str) -> Error {
    Error::Generic {
        store: "Faulty",
        source: text.into(),
    }
}

/// Whether one of so many is left; it is used up.
fn due(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// What becomes of a put by chance.
enum Fate {
    Good,
    Lost,
    Failing,
    Unsettled,
    Late,
}

impl Faulty {
    fn fate(&self) -> Fate {
        let mut chance = self.chance.lock();
        let Some(random) = chance.as_mut() else {
            return Fate::Good;
        };
        match random.below(100) {
            0..15 => Fate::Lost,
            15..22 => Fate::Failing,
            22..25 => Fate::Unsettled,
            25..35 => Fate::Late,
            _ => Fate::Good,
        }
    }

    /// Some of those that are on their way arrive.
    async fn arrive(&self) {
        let arriving = {
            let mut chance = self.chance.lock();
            let Some(random) = chance.as_mut() else {
                return;
            };
            match random.below(2) {
                0 => std::mem::take(&mut *self.late.lock()),
                _ => Vec::new(),
            }
        };
        for (location, payload, options) in arriving {
            // Nobody waits for the answer.
            let _ = self.inner.put_opts(&location, payload, options).await;
        }
    }

    fn answers(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match *self.refusal.lock() {
            None => Ok(()),
            Some(text) => Err(failed(text)),
        }
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        self.answers()?;
        self.arrive().await;
        match self.fate() {
            Fate::Good => {}
            Fate::Lost => {
                self.lost.fetch_add(1, Ordering::SeqCst);
            }
            Fate::Failing => return Err(failed("500 Internal Server Error")),
            Fate::Unsettled => {
                self.unsettled.fetch_add(1, Ordering::SeqCst);
            }
            Fate::Late => {
                self.late.lock().push((location.clone(), payload, options));
                return Err(failed("the answer takes too long"));
            }
        }
        if due(&self.failing) {
            return Err(failed("500 Internal Server Error"));
        }
        if due(&self.unsettled) {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "409 Conflict".into(),
            });
        }
        if self.overwrites.load(Ordering::SeqCst) {
            options.mode = PutMode::Overwrite;
        }
        let put = self.inner.put_opts(location, payload, options).await;
        match due(&self.lost) {
            true => Err(failed("the answer was lost")),
            false => put,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.answers()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.answers()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.answers()?;
        self.inner.create_multipart(path).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        if self.parts.load(Ordering::SeqCst) > 0 && self.parts.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(failed("503 Slow Down"));
        }
        self.inner.put_part(path, id, part, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let completed = self.inner.complete_multipart(path, id, parts).await;
        match due(&self.lost_completions) {
            true => Err(failed("the answer was lost")),
            false => completed,
        }
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(failed("it does not answer"));
        }
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort_multipart(path, id).await
    }
}

pub(crate) fn address() -> Address {
    Address::parse("s3://lake/tables").unwrap()
}

pub(crate) fn meter() -> Meter {
    Meter::new(Arc::new(SystemClock), Arc::new(Metrics::new()))
}

/// A bucket over a store, for a node with this data folder.
pub(crate) fn bucket(store: &Arc<Faulty>, data_dir: &LocalPath) -> Bucket {
    let stores = (Arc::clone(store), Arc::clone(store));
    Bucket::on(address(), stores, meter(), data_dir).unwrap()
}
