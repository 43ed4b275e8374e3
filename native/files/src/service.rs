//! What this node answers to others.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::limits::{FILES_CHUNK_BYTES, FILES_NAMES};
use otlake_base::{Code, Error, Result};
use otlake_peer::Service;

use crate::files::{Files, disk_failed};
use crate::names::{checked as checked_key, is_data, is_log, split};
use crate::sheet::Sheet;
use crate::wire::{Answer, Request, What, checked, decode, encode};

/// Answers the other nodes' questions.
pub struct FilesService(Weak<Files>);

impl FilesService {
    /// For these files; it does not keep them.
    pub fn new(files: &Arc<Files>) -> FilesService {
        FilesService(Arc::downgrade(files))
    }
}

#[async_trait]
impl Service for FilesService {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        let files = self.0.upgrade().ok_or_else(|| {
            let what = "the node is starting or stopping";
            Error::new(Code::NodeState, what)
        })?;
        let (request, body) = decode(&request)?;
        let (answer, bytes) = files.answer(&from, request, body).await?;
        encode(&answer, &bytes)
    }
}

fn invalid(error: std::io::Error) -> Error {
    Error::new(Code::PeerProtocol, format!("files: {error}"))
}

fn sum_of(text: &str) -> Result<u128> {
    u128::from_str_radix(text, 16)
        .map_err(|_| Error::new(Code::PeerProtocol, format!("files: `{text}` is no sum")))
}

/// Checks what another node names.
fn checked_what(what: &What) -> Result<()> {
    match what {
        What::Key(key) => checked_key(key).map_err(invalid),
        What::Content { folder, sum } => {
            checked_key(&format!("{folder}/x")).map_err(invalid)?;
            sum_of(sum)?;
            match is_log(folder) {
                true => Ok(()),
                false => {
                    let said = format!("files: `{folder}` is no table's log");
                    Err(Error::new(Code::PeerProtocol, said))
                }
            }
        }
    }
}

impl Files {
    async fn answer(
        self: &Arc<Self>,
        from: &Arc<str>,
        request: Request,
        body: Bytes,
    ) -> Result<(Answer, Bytes)> {
        let nothing = Bytes::new();
        match request {
            Request::Take {
                what,
                sheet,
                inline,
                crc,
            } => {
                checked_what(&what)?;
                let sheet = Arc::new(Sheet::from_text(&sheet).map_err(invalid)?);
                let bytes = match inline {
                    true => Some(checked(body, crc)?),
                    false => None,
                };
                self.take(from, &what, &sheet, bytes).await?;
                Ok((Answer::Done, nothing))
            }
            Request::Read { what, start, end } => {
                checked_what(&what)?;
                let range = start..end.min(start.saturating_add(FILES_CHUNK_BYTES as u64));
                let files = Arc::clone(self);
                let read = self.blocking(move || files.own(&what, &range)).await;
                Ok(match read.map_err(disk_failed)? {
                    None => (Answer::Absent, nothing),
                    Some(bytes) => {
                        let crc = crc32c::crc32c(&bytes);
                        (Answer::Bytes { crc }, bytes)
                    }
                })
            }
            Request::Describe { what } => {
                checked_what(&what)?;
                let files = Arc::clone(self);
                let sheet = self.blocking(move || files.own_sheet(&what)).await;
                let sheet = sheet.map_err(disk_failed)?;
                let told = sheet.map_or(Answer::Absent, |sheet| Answer::Sheet(sheet.to_text()));
                Ok((told, nothing))
            }
            Request::List {
                folder,
                after,
                deep,
            } => {
                let shelf = Arc::clone(&self.shelf);
                let listed = self.blocking(move || {
                    let page = shelf.page(&folder, &after, deep, FILES_NAMES);
                    let mut files = Vec::with_capacity(page.files.len());
                    for key in page.files {
                        // One that is damaged is told of, too: it is there to be deleted.
                        if let Ok(Some(sheet)) = shelf.sheet(&key) {
                            files.push((key, sheet.bytes, sheet.modified_unix_nano));
                        }
                    }
                    Ok((files, page.folders, page.more))
                });
                let (files, folders, more) = listed.await.map_err(disk_failed)?;
                let folders = folders.into_iter().collect();
                let listed = Answer::Listed {
                    files,
                    folders,
                    more,
                };
                Ok((listed, nothing))
            }
            Request::Delete { keys } => {
                for key in keys.into_iter().filter(|key| is_data(key)) {
                    checked_key(&key).map_err(invalid)?;
                    self.delete_own(key).await?;
                }
                Ok((Answer::Done, nothing))
            }
            Request::Offer { keys } => Ok((self.offered(from, &keys)?, nothing)),
            Request::Have { keys } => {
                for key in &keys {
                    checked_key(key).map_err(invalid)?;
                }
                let places = self.having(keys).await?;
                Ok((Answer::Having { places }, nothing))
            }
        }
    }

    /// Deletes this node's copy for good.
    pub(crate) async fn delete_own(&self, key: String) -> Result<()> {
        self.forget(&key);
        self.lacking.lock().remove(&key);
        let shelf = Arc::clone(&self.shelf);
        let removed = self.blocking(move || shelf.remove(&key)).await;
        removed.map(drop).map_err(disk_failed)
    }

    /// What is missing here of what another node has, which is fetched from now on.
    fn offered(&self, from: &Arc<str>, keys: &[String]) -> Result<Answer> {
        let (mut missing, mut deleted) = (Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            checked_key(key).map_err(invalid)?;
            if self.is_forgotten(key) {
                deleted.push(at);
            } else if !self.shelf.has(key) && is_data(key) {
                missing.push(at);
                self.waiting.push(key, from);
            }
        }
        Ok(Answer::Offered { missing, deleted })
    }

    /// Bytes of this node's copy; none where there is no sound one.
    fn own(&self, what: &What, range: &std::ops::Range<u64>) -> std::io::Result<Option<Bytes>> {
        match what {
            What::Key(key) => self.shelf.read(key, range),
            What::Content { folder, sum } => {
                let Ok(sum) = sum_of(sum) else {
                    return Ok(None);
                };
                if let Some(bytes) = self.shelf.read_staged(folder, sum, range)? {
                    return Ok(Some(bytes));
                }
                match self.named(folder, sum) {
                    None => Ok(None),
                    Some(key) => self.shelf.read(&key, range),
                }
            }
        }
    }

    fn own_sheet(&self, what: &What) -> std::io::Result<Option<Arc<Sheet>>> {
        match what {
            What::Key(key) if !self.shelf.has(key) => Ok(None),
            What::Key(key) => self.shelf.sheet(key),
            What::Content { folder, sum } => {
                let Ok(sum) = sum_of(sum) else {
                    return Ok(None);
                };
                if let Some(sheet) = self.shelf.staged_sheet(folder, sum)? {
                    return Ok(Some(sheet));
                }
                match self.named(folder, sum) {
                    None => Ok(None),
                    Some(key) => self.shelf.sheet(&key),
                }
            }
        }
    }

    /// The key that has a content of a log here; none where none has.
    fn named(&self, folder: &str, sum: u128) -> Option<String> {
        // What is asked for is mostly what has come last.
        let names = self.shelf.names(folder);
        let mut names = names.into_keys().rev();
        let key = names.find(|name| self.shelf.sum(&format!("{folder}/{name}")) == Some(sum))?;
        Some(format!("{folder}/{key}"))
    }

    /// Takes a file of another node; it is on stable storage when this returns.
    async fn take(
        self: &Arc<Self>,
        from: &Arc<str>,
        what: &What,
        sheet: &Arc<Sheet>,
        bytes: Option<Bytes>,
    ) -> Result<()> {
        let busy = |_| Error::new(Code::NodeState, "the node is stopping");
        let _room = self.takes.acquire().await.map_err(busy)?;
        if self.has_already(what, sheet) {
            return Ok(());
        }
        let was_forgotten = matches!(what, What::Key(key) if self.is_forgotten(key));
        let writing = match bytes {
            Some(bytes) => {
                let (shelf, folder) = (Arc::clone(&self.shelf), Self::folder_of(what).to_owned());
                let written = self.blocking(move || {
                    let mut writing = shelf.begin(&folder)?;
                    writing.write(&bytes)?;
                    Ok(writing)
                });
                let writing = written.await.map_err(disk_failed)?;
                self.finished(writing, (what, sheet)).await?
            }
            None => {
                let link = self.link()?;
                self.fetch(&link, (from, what), sheet, false).await?
            }
        };
        match what {
            What::Key(key) if is_log(split(key).0) => {
                let said = format!("files: {key} is of a log, whose names are agreed on");
                Err(Error::new(Code::PeerProtocol, said))
            }
            What::Key(key) => {
                let kept = self.keep_copy(writing, sheet, (key, was_forgotten)).await;
                match kept.map_err(disk_failed)? {
                    true => Ok(()),
                    false => {
                        let said = format!("{key} was deleted while it was copied");
                        Err(Error::new(Code::TableIo, said))
                    }
                }
            }
            What::Content { folder, .. } => {
                let (shelf, folder) = (Arc::clone(&self.shelf), folder.clone());
                let (sheet, now) = (Arc::clone(sheet), self.now());
                let staged = self.blocking(move || shelf.stage(writing, &sheet, &folder, now));
                staged.await.map_err(disk_failed)
            }
        }
    }

    fn has_already(&self, what: &What, sheet: &Sheet) -> bool {
        match what {
            What::Key(key) => self.shelf.sum(key) == Some(sheet.sum),
            // One that has a name may lose it before the new name is given: it is kept once more.
            What::Content { folder, .. } => self.shelf.is_staged(folder, sheet.sum),
        }
    }
}
