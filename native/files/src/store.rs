//! The files as an object store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Display, Formatter};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use otlake_base::limits::FILES_CHUNK_BYTES;
use otlake_base::{Code, Error, Result};
use otlake_bucket::LargeFiles;

use crate::files::{ASK_TIME, Files, FilesLink, disk_failed, unexpected};
use crate::log::{Meta, part};
use crate::names::{in_log, is_data, is_log};
use crate::shelf::Writing;
use crate::wire::{Answer, Request, What};

/// The store's name in its errors.
const STORE: &str = "Files";
/// Files that are deleted at once.
const DELETES: usize = 16;

/// The files of all nodes.
pub(crate) struct Store(pub(crate) Arc<Files>);

impl Debug for Store {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

impl Display for Store {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Generic {
        store: STORE,
        source: source.into(),
    }
}

fn not_found(location: &Path) -> StoreError {
    StoreError::NotFound {
        path: location.to_string(),
        source: "no node has it".into(),
    }
}

fn meta_of(location: Path, meta: Meta) -> ObjectMeta {
    let modified = i64::try_from(meta.modified_unix_nano).unwrap_or(i64::MAX);
    ObjectMeta {
        location,
        last_modified: DateTime::from_timestamp_nanos(modified),
        size: meta.bytes,
        e_tag: None,
        version: None,
    }
}

/// What another node has of a file.
enum Found {
    Meta(Meta),
    Bytes(Bytes),
}

/// What a folder holds, by key.
#[derive(Default)]
struct Listed {
    files: BTreeMap<String, Meta>,
    folders: BTreeSet<String>,
}

impl Files {
    /// What is told of a file; none where there is no such file.
    async fn meta(self: &Arc<Self>, key: &str) -> Result<Option<Meta>> {
        if let Some((folder, name)) = in_log(key) {
            return self.log_meta(folder, name).await;
        }
        if !is_data(key) {
            return Ok(None);
        }
        let (shelf, own) = (Arc::clone(&self.shelf), key.to_owned());
        let sheet = self.blocking(move || match shelf.has(&own) {
            true => shelf.sheet(&own),
            false => Ok(None),
        });
        if let Ok(Some(sheet)) = sheet.await {
            return Ok(Some(Meta::from(&*sheet)));
        }
        Ok(match self.of_others(key, None).await? {
            Some(Found::Meta(meta)) => Some(meta),
            _ => None,
        })
    }

    /// Bytes of a file; none where there is no such file.
    async fn read(self: &Arc<Self>, key: &str, range: &Range<u64>) -> Result<Option<Bytes>> {
        if let Some((folder, name)) = in_log(key) {
            return self.log_read(folder, name, range).await;
        }
        if !is_data(key) {
            return Ok(None);
        }
        match self.own_read(key, range).await {
            Ok(None) => {}
            Ok(read) => return Ok(read),
            // Another node's disk may do.
            Err(error) => tracing::warn!(target: "otlake::files", key, "not read here: {error}"),
        }
        if let Some(held) = self.shelf.held(key)
            && held.is_damaged
            && let Ok(link) = self.link()
        {
            // It is fetched anew, from whoever has it.
            for node in self.candidates(&link, key).into_iter().take(1) {
                self.waiting.push(key, &node);
            }
        }
        Ok(match self.of_others(key, Some(range)).await? {
            Some(Found::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// Asks other nodes for bytes of a file, or what is told of it, until one has it; none where none
    /// of them has. A node that is away is passed over; that nobody has it is told only where everybody
    /// was asked.
    async fn of_others(&self, key: &str, range: Option<&Range<u64>>) -> Result<Option<Found>> {
        let what = What::Key(key.to_owned());
        let link = self.link()?;
        let view = self.view();
        let away = view.members.iter().filter(|(_, alive)| !alive);
        let mut silent: Vec<String> = away.map(|(name, _)| name.to_string()).collect();
        if view.members.is_empty() {
            silent.push("the members are not known yet".to_owned());
        }
        for node in self.candidates(&link, key) {
            let asked = match range {
                Some(range) => {
                    let read = self.read_at(&link, &node, (&what, range), "read").await;
                    read.map(|read| read.map(Found::Bytes))
                }
                None => {
                    let sheet = self.describe_at(&link, &node, &what).await;
                    sheet.map(|sheet| sheet.map(|sheet| Found::Meta(Meta::from(&*sheet))))
                }
            };
            match asked {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => silent.push(format!("{node} ({error})")),
            }
        }
        if silent.is_empty() {
            return Ok(None);
        }
        let what = format!(
            "{key}: those who may have it are away: {}",
            silent.join(", ")
        );
        Err(Error::new(Code::TableIo, what))
    }

    /// A file in pieces.
    fn pieces(
        self: &Arc<Self>,
        location: &Path,
        range: Range<u64>,
    ) -> BoxStream<'static, StoreResult<Bytes>> {
        let (files, location) = (Arc::clone(self), location.clone());
        stream::try_unfold(range, move |left| {
            let (files, location) = (Arc::clone(&files), location.clone());
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let now = left.start..left.end.min(left.start + FILES_CHUNK_BYTES as u64);
                let read = files.read(location.as_ref(), &now).await.map_err(failed)?;
                let bytes = read.ok_or_else(|| not_found(&location))?;
                if bytes.len() as u64 != now.end - now.start {
                    return Err(failed(format!("{location} is shorter than it was")));
                }
                Ok(Some((bytes, now.end..left.end)))
            }
        })
        .boxed()
    }

    /// Writes a data file, and has others take copies.
    async fn put_data(self: &Arc<Self>, key: &str, writing: Writing) -> Result<()> {
        if !self.has_joined() {
            let what = format!("{key}: the node has not joined the others yet");
            return Err(Error::new(Code::TableIo, what));
        }
        let link = self.link()?;
        let (writing, sheet) = self.synced(writing, self.clock.unix_nano()).await?;
        self.keep(writing, &sheet, key).await.map_err(disk_failed)?;
        let what = What::Key(key.to_owned());
        let bytes = match sheet.bytes <= otlake_base::limits::FILES_INLINE_BYTES as u64 {
            true => self.own_read(key, &(0..sheet.bytes)).await?,
            false => None,
        };
        let copied = self.copy_out(&link, (&what, key), (&sheet, bytes)).await;
        copied.map(drop)
    }

    async fn begin(&self, key: &str) -> Result<Writing> {
        if !is_data(key) {
            let what = format!("{key} is neither a Parquet file nor one of a table's log");
            return Err(Error::new(Code::Internal, what));
        }
        let (shelf, folder) = (
            Arc::clone(&self.shelf),
            crate::names::split(key).0.to_owned(),
        );
        self.blocking(move || shelf.begin(&folder))
            .await
            .map_err(disk_failed)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        if let Some((folder, name)) = in_log(key) {
            return self.log_delete(folder, name).await;
        }
        let link = self.link()?;
        self.delete_own(key.to_owned()).await?;
        let request = Request::Delete {
            keys: vec![key.to_owned()],
        };
        let others = self.view().others(&link.name);
        let (link, request) = (&link, &request);
        let asked = others.iter().map(|node| async move {
            let asked = self.ask(link, node, request, (&[], ASK_TIME)).await;
            // It is listed by whoever still has it, and deleted again.
            if let Err(error) = asked {
                tracing::debug!(target: "otlake::files", key, %node, "deleted later: {error}");
            }
        });
        futures::future::join_all(asked).await;
        Ok(())
    }

    /// What is in a folder, or in it and all below.
    async fn listed(self: &Arc<Self>, folder: &str, is_deep: bool) -> Result<Listed> {
        let mut listed = Listed::default();
        let below = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        if is_log(folder) {
            // What this node knows of so far says nothing of what there is.
            for (name, meta) in self.log_list(folder).await? {
                listed.files.insert(format!("{folder}/{name}"), meta);
            }
            return Ok(listed);
        }
        self.hear_of_logs(folder, is_deep).await?;
        for log in self.logs() {
            let Some(rest) = log.strip_prefix(&below) else {
                continue;
            };
            if is_deep {
                for (name, meta) in self.log_list(&log).await? {
                    listed.files.insert(format!("{log}/{name}"), meta);
                }
            } else {
                let (first, _) = rest.split_once('/').unwrap_or((rest, ""));
                listed.folders.insert(first.to_owned());
            }
        }
        self.own_page(folder, is_deep, &mut listed).await?;
        if let Ok(link) = self.link() {
            for node in self.view().others(&link.name) {
                let told = self.page_at(&link, &node, (folder, is_deep), &mut listed);
                if let Err(error) = told.await {
                    tracing::debug!(
                        target: "otlake::files", folder, %node, "listed without a node: {error}"
                    );
                }
            }
        }
        Ok(listed)
    }

    /// Has this node know of the tables that others have made, where there can be any in a folder.
    async fn hear_of_logs(&self, folder: &str, is_deep: bool) -> Result<()> {
        if folder.contains('/') || !self.has_joined() {
            return Ok(());
        }
        match self.link()?.group.read().await {
            // Names of folders are told as far as they are known.
            Err(error) if !is_deep => {
                tracing::debug!(target: "otlake::files", folder, "listed as known: {error}");
                Ok(())
            }
            read => read.map(drop),
        }
    }

    /// The folders of all tables' logs.
    pub(crate) fn logs(&self) -> BTreeSet<String> {
        let mut logs = self.shelf.logs();
        logs.extend(self.made.lock().keys().cloned());
        if let Ok(link) = self.link() {
            logs.extend(link.group.local().files.keys().cloned());
        }
        logs
    }

    async fn own_page(&self, folder: &str, is_deep: bool, listed: &mut Listed) -> Result<()> {
        let (shelf, folder) = (Arc::clone(&self.shelf), folder.to_owned());
        let own = self.blocking(move || {
            let page = shelf.page(&folder, "", is_deep, usize::MAX);
            let mut files = Vec::with_capacity(page.files.len());
            for key in page.files {
                if let Ok(Some(sheet)) = shelf.sheet(&key) {
                    files.push((key, Meta::from(&*sheet)));
                }
            }
            Ok((files, page.folders))
        });
        let (files, folders) = own.await.map_err(disk_failed)?;
        listed.files.extend(files);
        listed.folders.extend(folders);
        Ok(())
    }

    async fn page_at(
        &self,
        link: &FilesLink,
        node: &str,
        (folder, deep): (&str, bool),
        listed: &mut Listed,
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let request = Request::List {
                folder: folder.to_owned(),
                after,
                deep,
            };
            let (answer, _) = self.ask(link, node, &request, (&[], ASK_TIME)).await?;
            let Answer::Listed {
                files,
                folders,
                more,
            } = answer
            else {
                return Err(unexpected(&answer));
            };
            let last = files.last().map(|(key, ..)| key.clone());
            listed.folders.extend(folders);
            let mut forgotten = Vec::new();
            for (key, bytes, modified_unix_nano) in files {
                // What was deleted a moment ago may be on its way there.
                if self.is_forgotten(&key) {
                    forgotten.push(key);
                    continue;
                }
                listed.files.entry(key).or_insert(Meta {
                    bytes,
                    modified_unix_nano,
                });
            }
            if !forgotten.is_empty() {
                // Or that node was not reached then: nobody else would tell it, as it is not listed.
                let request = Request::Delete { keys: forgotten };
                self.ask(link, node, &request, (&[], ASK_TIME)).await?;
            }
            match last {
                Some(last) if more => after = last,
                _ => return Ok(()),
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let replace = match options.mode {
            PutMode::Overwrite => true,
            PutMode::Create => false,
            PutMode::Update(_) => {
                return Err(StoreError::NotImplemented {
                    operation: "put with mode Update".to_owned(),
                    implementer: STORE.to_owned(),
                });
            }
        };
        let (key, bytes) = (location.as_ref(), Bytes::from(payload));
        let taken = || StoreError::AlreadyExists {
            path: location.to_string(),
            source: "the name is given".into(),
        };
        if let Some(log) = in_log(key) {
            let put = self.0.log_put(log, bytes, replace).await;
            if !put.map_err(failed)? {
                return Err(taken());
            }
        } else {
            if !replace && self.0.meta(key).await.map_err(failed)?.is_some() {
                return Err(taken());
            }
            let writing = self.0.begin(key).await.map_err(failed)?;
            let writing = self.0.appended(writing, bytes).await.map_err(failed)?;
            self.0.put_data(key, writing).await.map_err(failed)?;
        }
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(StoreError::NotImplemented {
            operation: "put in parts".to_owned(),
            implementer: STORE.to_owned(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let meta = self.0.meta(location.as_ref()).await.map_err(failed)?;
        let meta = meta_of(location.clone(), meta.ok_or_else(|| not_found(location))?);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(failed)?,
            None => 0..meta.size,
        };
        let payload = match options.head {
            true => stream::empty().boxed(),
            false => self.0.pieces(location, range.clone()),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let files = Arc::clone(&self.0);
        locations
            .map_ok(move |location| {
                let files = Arc::clone(&files);
                async move {
                    files.delete(location.as_ref()).await.map_err(failed)?;
                    Ok(location)
                }
            })
            .try_buffered(DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (files, prefix) = (Arc::clone(&self.0), prefix.cloned().unwrap_or_default());
        stream::once(async move {
            let listed = files.listed(prefix.as_ref(), true).await.map_err(failed)?;
            let metas = listed.files.into_iter().map(|(key, meta)| {
                let location = Path::parse(key).map_err(failed)?;
                Ok(meta_of(location, meta))
            });
            Ok::<_, StoreError>(stream::iter(metas.collect::<Vec<_>>()))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let listed = self
            .0
            .listed(prefix.as_ref(), false)
            .await
            .map_err(failed)?;
        let folders = listed.folders.iter().map(|folder| {
            let whole = match prefix.as_ref() {
                "" => folder.clone(),
                prefix => format!("{prefix}/{folder}"),
            };
            Path::parse(whole).map_err(failed)
        });
        let objects = listed.files.into_iter().map(|(key, meta)| {
            let location = Path::parse(key).map_err(failed)?;
            Ok(meta_of(location, meta))
        });
        Ok(ListResult {
            common_prefixes: folders.collect::<StoreResult<_>>()?,
            objects: objects.collect::<StoreResult<_>>()?,
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> StoreResult<()> {
        let bytes = self.get(from).await?.bytes().await?;
        self.put(to, PutPayload::from(part(&bytes, &(0..u64::MAX))))
            .await
            .map(drop)
    }
}

#[async_trait]
impl LargeFiles for Store {
    async fn put_large(
        &self,
        key: &Path,
        mut parts: BoxStream<'static, io::Result<Bytes>>,
    ) -> io::Result<()> {
        let put = async {
            if let Some(log) = in_log(key.as_ref()) {
                let parts: Vec<Bytes> = parts.try_collect().await.map_err(disk_failed)?;
                return self
                    .0
                    .log_put(log, parts.concat().into(), true)
                    .await
                    .map(drop);
            }
            let mut writing = self.0.begin(key.as_ref()).await?;
            while let Some(bytes) = parts.try_next().await.map_err(disk_failed)? {
                writing = self.0.appended(writing, bytes).await?;
            }
            self.0.put_data(key.as_ref(), writing).await
        };
        put.await.map_err(io::Error::other)
    }
}
