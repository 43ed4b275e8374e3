//! The durable store of both groups, Raft's and Paxos's: one redb file, in which every commit is fsynced before it
//! is answered, and every value carries a checksum of its own.
//!
//! ```text
//! table "meta"            name -> crc32c:u32 bytes      format, node, store, group, vote, …
//! table "raft_log"        index:u64 -> crc32c:u32 bytes
//! table "raft_snapshot"   piece:u64 -> crc32c:u32 bytes
//! tables "paxos_log" and "paxos_snapshot" likewise
//! ```
//!
//! A checksum covers its key too, so that a value at the wrong place is found (I6). redb takes the
//! newest whole commit when it opens a file that a crash has torn, and none that is half there.
//!
//! The file is made under another name and renamed when it is whole: a file of its own name is one
//! that was whole once.

use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::disk::create_durably;
use otlake_base::{Code, Disk, Error, RealDisk, Result};
use parking_lot::RwLock;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::limits::STORE_CACHE_BYTES;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Whose log and snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Raft's.
    Raft,
    /// Paxos's.
    Paxos,
}

impl Log {
    fn entries(self) -> TableDefinition<'static, u64, &'static [u8]> {
        TableDefinition::new(match self {
            Log::Raft => "raft_log",
            Log::Paxos => "paxos_log",
        })
    }

    fn snapshot(self) -> TableDefinition<'static, u64, &'static [u8]> {
        TableDefinition::new(match self {
            Log::Raft => "raft_snapshot",
            Log::Paxos => "paxos_snapshot",
        })
    }
}

/// What this version writes and reads.
const FORMAT: u32 = 1;
/// A snapshot is kept in pieces of this size: a value of redb is one run of pages.
const PIECE_BYTES: usize = 256 * 1024;

/// A change of the store. Those of one commit are all there after a crash, or none is.
#[derive(Debug)]
pub(crate) enum Change {
    /// Sets a value of the table `meta`.
    Set(&'static str, Vec<u8>),
    /// Removes one.
    Unset(&'static str),
    /// Puts an entry into the log, in place of what has its index.
    Entry(Log, u64, Vec<u8>),
    /// Removes entries from an index on.
    TruncateFrom(Log, u64),
    /// Removes entries up to an index, this one included.
    PurgeTo(Log, u64),
    /// Puts a snapshot in place of the last.
    Snapshot(Log, Arc<[u8]>),
}

/// An open store. It is closed when it is dropped.
pub(crate) struct Store {
    /// None once the store is closed: others may hold it longer.
    database: RwLock<Option<Database>>,
    path: PathBuf,
}

impl Store {
    /// Opens the store at `path`, making it and its folder where there is none.
    ///
    /// # Errors
    /// `METADATA_CORRUPT` where it is damaged beyond what a crash leaves, `METADATA_VERSION` where it
    /// is of a newer otlake, `NODE_DIRECTORY_LOCKED` where another has it open, `METADATA_IO`.
    pub(crate) fn open(path: &Path, node: &str) -> Result<Store> {
        let folder = path.parent().unwrap_or(Path::new("."));
        create_durably(&RealDisk, folder).map_err(|error| io(path, &error))?;
        let fresh = path.with_extension("new");
        if !path.try_exists().map_err(|error| io(path, &error))? {
            // One that is there is from a start that was cut off: nothing was ever told of it.
            match RealDisk.remove(&fresh) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(&fresh, &error));
                }
                _ => {}
            }
            let database = guarded(&fresh, || builder().create(&fresh))?
                .map_err(|error| failed(&fresh, &error.into()))?;
            let store = Store::new(database, fresh.clone());
            store.found(node, RealDisk.unique(folder))?;
            drop(store);
            RealDisk
                .rename(&fresh, path)
                .and_then(|()| RealDisk.sync_folder(folder))
                .map_err(|error| io(path, &error))?;
        }
        let database =
            guarded(path, || builder().open(path))?.map_err(|error| failed(path, &error.into()))?;
        let store = Store::new(database, path.to_owned());
        store.check(node)?;
        Ok(store)
    }

    /// As `open`, over a file that a test holds; founded where it is empty.
    #[cfg(test)]
    pub(crate) fn over(backend: impl redb::StorageBackend, node: &str, id: u128) -> Result<Store> {
        let path = PathBuf::from("in memory");
        let empty = backend.len().map_err(|error| {
            Error::new(
                Code::MetadataIo,
                format!("the store has no length: {error:?}"),
            )
        })? == 0;
        let database = guarded(&path, || builder().create_with_backend(backend))?
            .map_err(|error| failed(&path, &error.into()))?;
        let store = Store::new(database, path);
        if empty {
            store.found(node, id)?;
        }
        store.check(node)?;
        Ok(store)
    }

    fn new(database: Database, path: PathBuf) -> Store {
        Store {
            database: RwLock::new(Some(database)),
            path,
        }
    }

    fn found(&self, node: &str, id: u128) -> Result<()> {
        self.commit(
            vec![
                Change::Set("format", FORMAT.to_le_bytes().to_vec()),
                Change::Set("node", node.as_bytes().to_vec()),
                Change::Set("store", id.to_le_bytes().to_vec()),
            ],
            true,
        )
    }

    fn check(&self, node: &str) -> Result<()> {
        let format = self.get("format")?.and_then(|bytes| bytes.try_into().ok());
        match format.map(u32::from_le_bytes) {
            Some(FORMAT) => {}
            Some(format) if format > FORMAT => {
                return Err(Error::new(
                    Code::MetadataVersion,
                    format!(
                        "{} has format {format}; this node knows {FORMAT}",
                        self.path.display()
                    ),
                ));
            }
            _ => return Err(self.corrupt("it does not say its format")),
        }
        let name = self.get("node")?.unwrap_or_default();
        if name != node.as_bytes() {
            return Err(Error::new(
                Code::MetadataForeign,
                format!(
                    "{} is of the node `{}`, and this one is `{node}`",
                    self.path.display(),
                    String::from_utf8_lossy(&name)
                ),
            ));
        }
        Ok(())
    }

    /// The random number that this store was given when it was made.
    pub(crate) fn id(&self) -> Result<u128> {
        self.number("store")?
            .ok_or_else(|| self.corrupt("it has no id"))
    }

    /// A number of 128 bits of the table `meta`.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u128>> {
        match self.get(name)? {
            None => Ok(None),
            Some(bytes) => bytes
                .try_into()
                .map(|bytes| Some(u128::from_le_bytes(bytes)))
                .map_err(|_| self.corrupt(&format!("`{name}` is no number"))),
        }
    }

    /// Makes all changes with one commit. Returns when they are on stable storage, or, where not
    /// `durable`, when they are sure to be before anything that is committed later.
    ///
    /// # Errors
    /// `METADATA_IO`, `METADATA_CORRUPT`. Afterwards nothing is known of the changes: whoever gets an
    /// error must not go on with this store.
    pub(crate) fn commit(&self, changes: Vec<Change>, durable: bool) -> Result<()> {
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(closed)?;
        guarded(&self.path, || {
            write(database, changes, durable).map_err(|error| failed(&self.path, &error))
        })?
    }

    /// Closes the file once those are done that use it now. A second call changes nothing.
    pub(crate) fn close(&self) {
        let database = self.database.write().take();
        if let Err(error) = guarded(&self.path, || drop(database)) {
            tracing::error!(target: "otlake::metadata", %error, "a store was not closed");
        }
    }

    /// A value of the table `meta`.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|transaction| {
            let table = match transaction.open_table(META) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })?
        .map(|value| self.open_value(name.as_bytes(), value))
        .transpose()
    }

    /// Entries of the log in a range, as many as there are and, but for the first, fit into
    /// `max_bytes`.
    pub(crate) fn entries(
        &self,
        log: Log,
        range: impl RangeBounds<u64> + Clone,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        let found = self.read(|transaction| {
            let table = match transaction.open_table(log.entries()) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut found = Vec::new();
            let mut bytes = 0;
            for entry in table.range(range.clone())? {
                let (index, value) = entry?;
                bytes += value.value().len();
                if bytes > max_bytes && !found.is_empty() {
                    break;
                }
                found.push((index.value(), value.value().to_vec()));
            }
            Ok(found)
        })?;
        found
            .into_iter()
            .map(|(index, value)| Ok((index, self.open_value(&index.to_le_bytes(), value)?)))
            .collect()
    }

    /// The first and the last index of the log.
    pub(crate) fn bounds(&self, log: Log) -> Result<Option<(u64, u64)>> {
        self.read(|transaction| {
            let table = match transaction.open_table(log.entries()) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let first = table.first()?.map(|(index, _)| index.value());
            let last = table.last()?.map(|(index, _)| index.value());
            Ok(first.zip(last))
        })
    }

    /// The snapshot's bytes.
    pub(crate) fn snapshot(&self, log: Log) -> Result<Vec<u8>> {
        let pieces = self.read(|transaction| {
            let table = match transaction.open_table(log.snapshot()) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut pieces = Vec::new();
            for piece in table.iter()? {
                let (number, value) = piece?;
                pieces.push((number.value(), value.value().to_vec()));
            }
            Ok(pieces)
        })?;
        let mut bytes = Vec::new();
        for (expected, (number, value)) in pieces.into_iter().enumerate() {
            if number != expected as u64 {
                return Err(self.corrupt("a piece of its snapshot is missing"));
            }
            bytes.extend(self.open_value(&number.to_le_bytes(), value)?);
        }
        Ok(bytes)
    }

    fn read<T>(
        &self,
        read: impl Fn(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(closed)?;
        guarded(&self.path, || {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            read(&transaction)
        })?
        .map_err(|error| failed(&self.path, &error))
    }

    fn open_value(&self, key: &[u8], mut value: Vec<u8>) -> Result<Vec<u8>> {
        let whole = value
            .split_first_chunk::<4>()
            .is_some_and(|(crc, bytes)| u32::from_le_bytes(*crc) == checksum(key, bytes));
        if !whole {
            return Err(self.corrupt("a value's checksum does not match"));
        }
        value.drain(..4);
        Ok(value)
    }

    /// As an error of this store that what it holds cannot be.
    pub(crate) fn corrupt(&self, what: &str) -> Error {
        corrupt(&self.path, what)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(STORE_CACHE_BYTES);
    // The file is small, and a node must not vote by what damage has made of it.
    builder.set_check_integrity_on_open(true);
    builder
}

fn write(database: &Database, changes: Vec<Change>, durable: bool) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    let durability = if durable {
        Durability::Immediate
    } else {
        Durability::None
    };
    transaction
        .set_durability(durability)
        .map_err(redb::Error::from)?;
    for change in changes {
        apply(&transaction, change)?;
    }
    transaction.commit()?;
    Ok(())
}

fn apply(transaction: &WriteTransaction, change: Change) -> Result<(), redb::Error> {
    match change {
        Change::Set(name, bytes) => {
            let value = sealed(name.as_bytes(), &bytes);
            transaction
                .open_table(META)?
                .insert(name, value.as_slice())?;
        }
        Change::Unset(name) => {
            transaction.open_table(META)?.remove(name)?;
        }
        Change::Entry(log, index, bytes) => {
            let value = sealed(&index.to_le_bytes(), &bytes);
            transaction
                .open_table(log.entries())?
                .insert(index, value.as_slice())?;
        }
        Change::TruncateFrom(log, index) => {
            transaction
                .open_table(log.entries())?
                .retain_in(index.., |_, _| false)?;
        }
        Change::PurgeTo(log, index) => {
            transaction
                .open_table(log.entries())?
                .retain_in(..=index, |_, _| false)?;
        }
        Change::Snapshot(log, bytes) => {
            let mut table = transaction.open_table(log.snapshot())?;
            table.retain(|_, _| false)?;
            for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
                let number = number as u64;
                table.insert(number, sealed(&number.to_le_bytes(), piece).as_slice())?;
            }
        }
    }
    Ok(())
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), bytes)
}

fn sealed(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(4 + bytes.len());
    value.extend(checksum(key, bytes).to_le_bytes());
    value.extend(bytes);
    value
}

/// Damage can make redb panic where it trusts a page: that is damage too, and no end of the node.
fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| corrupt(path, "its pages do not fit each other"))
}

/// As an error that the store was closed.
pub(crate) fn closed() -> Error {
    Error::new(Code::HandleClosed, "the metadata group's store is closed")
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(
        Code::MetadataCorrupt,
        format!("the metadata store {} is damaged: {what}", path.display()),
    )
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::MetadataIo,
        format!("the metadata store {}: {error}", path.display()),
    )
}

fn failed(path: &Path, error: &redb::Error) -> Error {
    match error {
        redb::Error::DatabaseAlreadyOpen => Error::new(
            Code::NodeDirectoryLocked,
            format!("the metadata store {} is in use", path.display()),
        ),
        redb::Error::UpgradeRequired(version) => Error::new(
            Code::MetadataVersion,
            format!(
                "the metadata store {} has version {version}",
                path.display()
            ),
        ),
        redb::Error::Corrupted(what) => corrupt(path, what),
        redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => {
            corrupt(path, "a table has other types")
        }
        // What redb itself says of a file that ends too early, or is none of its own.
        redb::Error::Io(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            corrupt(path, &error.to_string())
        }
        error => Error::new(
            Code::MetadataIo,
            format!("the metadata store {}: {error}", path.display()),
        ),
    }
}
