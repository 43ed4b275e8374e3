//! Counts requests and their time.

use std::fmt::{self, Debug, Display, Formatter};
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use otlake_base::{Clock, Metrics};

/// Times what the store is asked for.
#[derive(Clone)]
pub(crate) struct Meter {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Meter {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Meter {
        Meter { clock, metrics }
    }

    /// Waits for an answer and counts it. That something is not there, or is there already, is an
    /// answer like any other.
    pub(crate) async fn time<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = self.clock.monotonic();
        let answer = request.await;
        let took = self.clock.monotonic().saturating_sub(started);
        let outcome = match &answer {
            Ok(_)
            | Err(
                Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. },
            ) => "ok",
            Err(_) => "failed",
        };
        let bucket = &self.metrics.bucket;
        let labels = vec![("operation", operation), ("outcome", outcome)];
        bucket.requests.get_or_create(&labels).inc();
        let seconds = bucket
            .seconds
            .get_or_create(&vec![("operation", operation)]);
        seconds.observe(took.as_secs_f64());
        answer
    }

    /// Counts bytes that went to the store.
    pub(crate) fn sent(&self, bytes: u64) {
        self.metrics.bucket.sent_bytes.inc_by(bytes);
    }

    /// Counts bytes that came from it.
    pub(crate) fn received(&self, bytes: u64) {
        self.metrics.bucket.received_bytes.inc_by(bytes);
    }
}

/// A store that is counted, but for streams of answers: their callers count those.
pub(crate) struct Metered {
    store: Arc<dyn ObjectStore>,
    meter: Meter,
}

impl Metered {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, meter: Meter) -> Metered {
        Metered { store, meter }
    }
}

impl Debug for Metered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.store, f)
    }
}

impl Display for Metered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let put = self.store.put_opts(location, payload, options);
        let put = self.meter.time("put", put).await?;
        self.meter.sent(bytes);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "head" } else { "get" };
        let is_head = options.head;
        let got = self.store.get_opts(location, options);
        let got = self.meter.time(operation, got).await?;
        if !is_head {
            self.meter.received(got.range.end - got.range.start);
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.store.list_with_delimiter(prefix);
        self.meter.time("list", listed).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.store.copy_opts(from, to, options);
        self.meter.time("copy", copied).await
    }
}
