//! One signal's window: requests claim their content, and hold it until they are stored.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::disk::{Disk, read};
use otlake_base::{Code, Error, Metrics, Result, ShardSet};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::WindowLimits;
use super::claim::Claim;
use super::content::Content;
use super::file::{decode, replace_durably};
use super::state::{Entry, InFlight, State};

pub(super) struct Window {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) limits: WindowLimits,
    pub(super) state: Mutex<State>,
    /// One writer of the file at a time.
    pub(super) writing: Mutex<()>,
}

impl Window {
    pub(super) fn load(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        limits: WindowLimits,
        metrics: &Metrics,
    ) -> Window {
        let mut state = State::default();
        match read(&*disk, &path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(entries) => {
                    for (content, received) in entries {
                        state.remember(content, received, limits);
                    }
                }
                Err(what) => {
                    metrics.damaged("window");
                    tracing::error!(
                        target: "otlake::dedupe", path = %path.display(),
                        "the window of resends begins empty: {what}"
                    );
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                target: "otlake::dedupe", path = %path.display(),
                "the window of resends begins empty: {error}"
            ),
        }
        Window {
            disk,
            path,
            limits,
            state: Mutex::new(state),
            writing: Mutex::new(()),
        }
    }

    pub(super) fn claim(window: &Arc<Window>, content: Content, now: u64) -> Claim {
        let mut state = window.state.lock();
        state.forget(now, window.limits);
        let stored = match state.entries.get(&content.hash) {
            Some(Entry::InFlight(flight)) => return Claim::InFlight(flight.ended.subscribe()),
            Some(entry) => entry.stored(),
            None => ShardSet::EMPTY,
        };
        let known = state.known(content.hash);
        if content.shards.is_within(&known) {
            return Claim::Stored;
        }
        if state.is_reserved(content, now) {
            return Claim::Reserved;
        }
        let undecided = state.copies.undecided(content);
        if !undecided.is_empty() {
            return Claim::Undecided(undecided);
        }
        let known = content.shards.both(&known);
        if !known.is_empty() {
            return Claim::Partly(known);
        }
        // A window of no length still makes two of the same at once into one.
        let (ended, _) = watch::channel(());
        let shards = content.shards;
        let entry = Entry::InFlight(Box::new(InFlight {
            ended,
            shards,
            stored,
        }));
        state.entries.insert(content.hash, entry);
        Claim::First(Ticket {
            window: Arc::clone(window),
            content,
            open: true,
        })
    }

    pub(super) fn readable(&self, content: Content, received: u64) {
        if self.limits.nanos > 0 {
            let mut state = self.state.lock();
            state
                .readable
                .insert(content.hash, (content.shards, received));
        }
    }

    pub(super) fn persist(&self) -> Result<()> {
        let _alone = self.writing.lock();
        let bytes = self.state.lock().encode();
        replace_durably(&*self.disk, &self.path, &bytes)
            .map_err(|error| Error::new(Code::TableIo, format!("{}: {error}", self.path.display())))
    }
}

/// The right to store a content. Dropping it without `stored` lets the next one try.
pub(crate) struct Ticket {
    window: Arc<Window>,
    content: Content,
    open: bool,
}

impl Ticket {
    /// The content is readable, and can come into files, before it may be acknowledged. Who sends it
    /// again goes on waiting; but the next start knows it as stored.
    pub(crate) fn readable(&self, received: u64) {
        self.window.readable(self.content, received);
    }

    /// The content is durable.
    pub(crate) fn stored(mut self, received: u64) {
        self.open = false;
        let mut state = self.window.state.lock();
        state.readable.remove(&self.content.hash);
        // Its sender goes, which tells those who wait.
        state.remember(self.content, received, self.window.limits);
        if self.window.limits.nanos == 0 {
            state.entries.remove(&self.content.hash);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut state = self.window.state.lock();
        let hash = self.content.hash;
        state.readable.remove(&hash);
        let stored = state.entries.remove(&hash).map(|entry| entry.stored());
        if let Some(stored) = stored.filter(|stored| !stored.is_empty()) {
            state.entries.insert(hash, Entry::of(stored));
        }
    }
}
