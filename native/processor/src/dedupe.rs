//! Requests stored a moment ago, so that a client's resend of the same bytes is stored once (I3).
//!
//! A client that did not hear the acknowledgement sends the identical request again. Each signal
//! has a window of content hashes (XXH3, 128 bits, over tenant and protobuf bytes), bounded in
//! time and in number. It survives a restart: what is in the log is hashed again by replay, and
//! what is not is in a file that is durable before the log may forget the record.
//!
//! ```text
//! <data>/dedupe/<signal>.window
//!   "OTLAKDUP" version:u32 crc32c:u32 count:u64  { hash:u128 received_unix_nano:u64 } * count
//! ```
//!
//! Numbers are little-endian; the checksum covers everything else. A window that is damaged or
//! absent costs nothing that was acknowledged: resends from before it are then stored again, and
//! compaction removes those that are spans.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::disk::{Disk, create_folders, existing_above, read};
use otlake_base::{Code, Error, Metrics, Result, Signal};
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 8] = *b"OTLAKDUP";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const ENTRY_BYTES: usize = 24;

/// The identity of a request's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentHash(u128);

impl ContentHash {
    /// Of `body`, the protobuf request, as `tenant` sent it.
    pub(crate) fn of(tenant: &str, body: &[u8]) -> ContentHash {
        let mut hasher = Xxh3::new();
        hasher.update(&(tenant.len() as u64).to_le_bytes());
        hasher.update(tenant.as_bytes());
        hasher.update(body);
        ContentHash(hasher.digest128())
    }
}

/// How long and how many requests are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    /// Age in nanoseconds; 0 remembers nothing.
    pub(crate) nanos: u64,
    /// Requests of one signal; beyond it the oldest are forgotten (I5).
    pub(crate) requests: usize,
}

/// What a request is to the window.
pub(crate) enum Claim {
    /// The first of its content: it holds the place until it is stored or dropped.
    First(Ticket),
    /// The same content is stored.
    Stored,
    /// The same content is being stored; the receiver changes when that has ended.
    InFlight(watch::Receiver<()>),
}

/// The windows of all signals.
pub(crate) struct Dedupe {
    windows: [Arc<Window>; 3],
}

impl Dedupe {
    /// Reads what the last start left below `folder`.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_UNUSABLE` where the folder cannot be made.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        limits: WindowLimits,
        metrics: &Metrics,
    ) -> Result<Dedupe> {
        create_folders(&*disk, existing_above(&*disk, folder), folder).map_err(|error| {
            Error::new(
                Code::NodeDirectoryUnusable,
                format!("{}: {error}", folder.display()),
            )
        })?;
        let windows = Signal::ALL.map(|signal| {
            let path = folder.join(format!("{}.window", signal.name()));
            Arc::new(Window::load(Arc::clone(&disk), path, limits, metrics))
        });
        Ok(Dedupe { windows })
    }

    /// Whether a request of this content may be stored now.
    pub(crate) fn claim(&self, signal: Signal, hash: ContentHash, now: u64) -> Claim {
        Window::claim(&self.windows[signal.index()], hash, now)
    }

    /// Takes in a request that replay found in the log.
    pub(crate) fn replayed(&self, signal: Signal, hash: ContentHash, received: u64) {
        let window = &self.windows[signal.index()];
        window.state.lock().remember(hash, received, window.limits);
    }

    /// Makes the signal's window durable: after it the log may forget the records in it.
    ///
    /// # Errors
    /// `TABLE_IO`.
    pub(crate) fn persist(&self, signal: Signal) -> Result<()> {
        self.windows[signal.index()].persist()
    }
}

struct Window {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    limits: WindowLimits,
    state: Mutex<State>,
    /// One writer of the file at a time.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    entries: HashMap<ContentHash, Entry>,
    /// The stored ones, oldest first.
    order: VecDeque<(u64, ContentHash)>,
}

enum Entry {
    InFlight(watch::Sender<()>),
    Stored,
}

impl State {
    fn remember(&mut self, hash: ContentHash, received: u64, limits: WindowLimits) {
        if limits.nanos == 0 {
            return;
        }
        if !matches!(
            self.entries.insert(hash, Entry::Stored),
            Some(Entry::Stored)
        ) {
            self.order.push_back((received, hash));
        }
        self.forget(received, limits);
    }

    fn forget(&mut self, now: u64, limits: WindowLimits) {
        while let Some((received, hash)) = self.order.front() {
            let expired = received.saturating_add(limits.nanos) < now;
            if !expired && self.order.len() <= limits.requests {
                break;
            }
            self.entries.remove(hash);
            self.order.pop_front();
        }
    }
}

impl Window {
    fn load(disk: Arc<dyn Disk>, path: PathBuf, limits: WindowLimits, metrics: &Metrics) -> Window {
        let mut state = State::default();
        match read(&*disk, &path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(entries) => {
                    for (hash, received) in entries {
                        state.remember(hash, received, limits);
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

    fn claim(window: &Arc<Window>, hash: ContentHash, now: u64) -> Claim {
        let mut state = window.state.lock();
        state.forget(now, window.limits);
        match state.entries.get(&hash) {
            Some(Entry::Stored) => Claim::Stored,
            Some(Entry::InFlight(ended)) => Claim::InFlight(ended.subscribe()),
            None => {
                // A window of no length still makes two of the same at once into one.
                let (ended, _) = watch::channel(());
                state.entries.insert(hash, Entry::InFlight(ended));
                Claim::First(Ticket {
                    window: Arc::clone(window),
                    hash,
                    open: true,
                })
            }
        }
    }

    fn persist(&self) -> Result<()> {
        let _alone = self.writing.lock();
        let bytes = encode(&self.state.lock().order);
        replace_durably(&*self.disk, &self.path, &bytes)
            .map_err(|error| Error::new(Code::TableIo, format!("{}: {error}", self.path.display())))
    }
}

/// The right to store a content. Dropping it without `stored` lets the next one try.
pub(crate) struct Ticket {
    window: Arc<Window>,
    hash: ContentHash,
    open: bool,
}

impl Ticket {
    /// The content is durable.
    pub(crate) fn stored(mut self, received: u64) {
        self.open = false;
        let mut state = self.window.state.lock();
        // Its sender goes, which tells those who wait.
        state.entries.remove(&self.hash);
        state.remember(self.hash, received, self.window.limits);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.window.state.lock().entries.remove(&self.hash);
        }
    }
}

fn encode(order: &VecDeque<(u64, ContentHash)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + order.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(order.len() as u64).to_le_bytes());
    for (received, hash) in order {
        bytes.extend_from_slice(&hash.0.to_le_bytes());
        bytes.extend_from_slice(&received.to_le_bytes());
    }
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The entries of a window's file, oldest first; else what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Vec<(ContentHash, u64)>, &'static str> {
    let array = |at: usize| -> [u8; 4] { std::array::from_fn(|index| bytes[at + index]) };
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err("it is not a window file");
    }
    if u32::from_le_bytes(array(12)) != checksum(bytes) {
        return Err("its checksum is wrong");
    }
    if u32::from_le_bytes(array(8)) != FORMAT_VERSION {
        return Err("another version wrote it");
    }
    let entries = bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
    Ok(entries
        .map(|entry| {
            let hash = u128::from_le_bytes(std::array::from_fn(|index| entry[index]));
            let received = u64::from_le_bytes(std::array::from_fn(|index| entry[16 + index]));
            (ContentHash(hash), received)
        })
        .collect())
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn replace_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("window.tmp");
    // What a crash left of an earlier attempt.
    match disk.remove(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&staged)?;
    file.write_all(&mut [IoSlice::new(bytes)])?;
    file.sync()?;
    drop(file);
    disk.rename(&staged, path)?;
    match path.parent() {
        Some(folder) => disk.sync_folder(folder),
        None => Ok(()),
    }
}
