//! From one node to others: a file that is written is there once enough of them have it on stable
//! storage; and one that a node lacks, it takes from another.
//!
//! Whoever is asked to take a file fetches its bytes from who asks, piece by piece and each when there
//! is room for it: so a slow disk slows down its own copy alone. Small ones come with the question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use otlake_base::limits::FILES_REPAIRS;
use otlake_base::limits::{FILES_CHUNK_BYTES, FILES_INLINE_BYTES, FILES_REPAIR_BYTES_PER_SECOND};
use otlake_base::{Code, Error, Result};

use crate::files::{Files, FilesLink, disk_failed, unexpected};
use crate::sheet::Sheet;
use crate::shelf::Writing;
use crate::wire::{Answer, Request, What};

/// How long another node may take for a copy, and beyond that by its size.
const TAKE_TIME: Duration = Duration::from_secs(15);
const TAKE_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

impl Files {
    /// Has other nodes take copies of a file that is on this node's disk, until as many have it as
    /// must, this one included. More are made meanwhile, and after this has returned. Gives the nodes
    /// that have it.
    ///
    /// # Errors
    /// `CLUSTER_QUORUM` where fewer have it than must: it is not there then.
    pub(crate) async fn copy_out(
        self: &Arc<Self>,
        link: &Arc<FilesLink>,
        (what, key): (&What, &str),
        (sheet, bytes): (&Arc<Sheet>, Option<Bytes>),
    ) -> Result<Vec<Arc<str>>> {
        let (wanted, needed) = (self.wanted(link, key), self.needed(link, key));
        let wanted = wanted.max(needed);
        let request = Arc::new(Request::Take {
            what: what.clone(),
            sheet: sheet.to_text(),
            inline: bytes.is_some(),
            crc: bytes.as_ref().map_or(0, |bytes| crc32c::crc32c(bytes)),
        });
        let time = TAKE_TIME + Duration::from_secs(sheet.bytes / TAKE_BYTES_PER_SECOND);
        let bytes = bytes.unwrap_or_default();
        let take = |node: Arc<str>| {
            let (files, link) = (Arc::clone(self), Arc::clone(link));
            let (request, bytes) = (Arc::clone(&request), bytes.clone());
            async move {
                let asked = files.ask(&link, &node, &request, (&bytes, time)).await;
                let taken = asked.and_then(|(answer, _)| match answer {
                    Answer::Done => Ok(()),
                    other => Err(unexpected(&other)),
                });
                files.metrics.files.copied(taken.is_ok());
                (node, taken)
            }
        };
        let mut left = self.candidates(link, key).into_iter();
        let mut holders = vec![Arc::clone(&link.name)];
        let mut under_way = FuturesUnordered::new();
        let mut last = None;
        under_way.extend(left.by_ref().take(wanted - 1).map(take));
        while holders.len() < needed {
            match under_way.next().await {
                Some((node, Ok(()))) => holders.push(node),
                Some((node, Err(error))) => {
                    tracing::debug!(target: "otlake::files", key, %node, "no copy: {error}");
                    last = Some(format!("{node}: {error}"));
                    under_way.extend(left.next().map(take));
                }
                None => {
                    self.metrics.files.refused.inc();
                    let why = last.map(|last| format!("; {last}")).unwrap_or_default();
                    let what = format!(
                        "{key}: {needed} nodes have to have it, and {} took it{why}",
                        holders.len()
                    );
                    return Err(Error::new(Code::ClusterQuorum, what));
                }
            }
        }
        if holders.len() < wanted {
            self.finish_copies(key, (wanted - holders.len(), under_way));
        }
        Ok(holders)
    }

    /// Goes on with copies that nobody waits for; what lacks some in the end is offered again.
    fn finish_copies<F>(
        self: &Arc<Self>,
        key: &str,
        (lacking, mut under_way): (usize, FuturesUnordered<F>),
    ) where
        F: Future<Output = (Arc<str>, Result<()>)> + Send + 'static,
    {
        let (files, key) = (Arc::downgrade(self), key.to_owned());
        self.runtime.spawn(Box::pin(async move {
            let mut made = 0;
            while let Some((_, taken)) = under_way.next().await {
                made += usize::from(taken.is_ok());
            }
            if made < lacking
                && let Some(files) = files.upgrade()
            {
                files.lacking.lock().insert(key);
            }
        }));
    }

    /// The bytes of a file that go with the question whether a node takes it.
    pub(crate) fn inline(bytes: &Bytes) -> Option<Bytes> {
        (bytes.len() <= FILES_INLINE_BYTES).then(|| bytes.clone())
    }

    /// Takes a file from a node that has it, and syncs it. It has no name yet.
    pub(crate) async fn fetch(
        &self,
        link: &FilesLink,
        (node, what): (&str, &What),
        sheet: &Arc<Sheet>,
        is_repair: bool,
    ) -> Result<Writing> {
        let purpose = if is_repair { "repair" } else { "read" };
        let (shelf, folder) = (Arc::clone(&self.shelf), Self::folder_of(what).to_owned());
        let mut writing = self
            .blocking(move || shelf.begin(&folder))
            .await
            .map_err(disk_failed)?;
        while writing.bytes() < sheet.bytes {
            let at = writing.bytes();
            let range = at..sheet.bytes.min(at + FILES_CHUNK_BYTES as u64);
            let read = self.read_at(link, node, (what, &range), purpose).await?;
            let bytes = read.ok_or_else(|| gone(what, node))?;
            if bytes.len() as u64 != range.end - range.start {
                let said = format!("{what}: {node} gave {} bytes of {range:?}", bytes.len());
                return Err(Error::new(Code::PeerProtocol, said));
            }
            let pause = match is_repair {
                true => repair_time(bytes.len() as u64),
                false => Duration::ZERO,
            };
            writing = self.appended(writing, bytes).await?;
            if !pause.is_zero() {
                self.runtime.sleep(pause).await;
            }
        }
        self.finished(writing, (what, sheet)).await
    }

    /// Syncs what was written, which has to be what its sheet says.
    pub(crate) async fn finished(
        &self,
        writing: Writing,
        (what, sheet): (&What, &Arc<Sheet>),
    ) -> Result<Writing> {
        let (writing, is) = self.synced(writing, sheet.modified_unix_nano).await?;
        match is == *sheet {
            true => Ok(writing),
            false => {
                let said = format!("{what}: its bytes are not those that its sums are of");
                Err(Error::new(Code::PeerProtocol, said))
            }
        }
    }
}

/// How long a repair rests after so many bytes, so that all of them together keep their pace.
fn repair_time(bytes: u64) -> Duration {
    let each = FILES_REPAIR_BYTES_PER_SECOND / FILES_REPAIRS as u64;
    Duration::from_micros(bytes.saturating_mul(1_000_000) / each)
}

pub(crate) fn gone(what: &What, node: &str) -> Error {
    Error::new(Code::TableIo, format!("{what}: {node} has no sound copy"))
}
