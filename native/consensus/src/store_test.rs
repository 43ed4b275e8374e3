//! What a crash leaves of the file: whole commits, or a clear refusal.

use std::io;
use std::sync::Arc;

use otlake_base::Code;
use parking_lot::Mutex;
use redb::StorageBackend;

use crate::store::{Change, Log, Store};
use crate::testing::draw;

/// A file in memory that knows what was synced and what was only written since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    synced: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Write>,
    /// Whether it takes nothing more.
    full: bool,
}

#[derive(Clone, Debug)]
enum Write {
    At(u64, Vec<u8>),
    Length(u64),
}

fn put(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length as usize, 0),
        Write::At(at, data) => {
            let (at, end) = (*at as usize, *at as usize + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(data);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let pages = self.0.lock();
        let at = offset as usize;
        match pages.now.get(at..at + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write_down(Write::Length(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut pages = self.0.lock();
        pages.synced = pages.now.clone();
        pages.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write_down(Write::At(offset, data.to_vec()))
    }
}

impl Disk {
    /// Lets it be full, or have room again.
    pub(crate) fn fill(&self, full: bool) {
        self.0.lock().full = full;
    }

    fn write_down(&self, write: Write) -> Result<(), io::Error> {
        let mut pages = self.0.lock();
        if pages.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut pages.now, &write);
        pages.since.push(write);
        Ok(())
    }

    fn of(bytes: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(Pages {
            synced: bytes.clone(),
            now: bytes,
            since: Vec::new(),
            full: false,
        })))
    }

    /// What is on the disk after a crash now: what was synced, and any of what was written since,
    /// the last of it cut at any byte.
    pub(crate) fn crash(&self, chance: &mut u64) -> Disk {
        let pages = self.0.lock();
        let mut bytes = pages.synced.clone();
        for write in &pages.since {
            match (draw(chance) % 3, write) {
                (0, _) => {}
                (1, Write::At(at, data)) if !data.is_empty() => {
                    let cut = draw(chance) as usize % data.len();
                    put(&mut bytes, &Write::At(*at, data[..cut].to_vec()));
                }
                (_, write) => put(&mut bytes, write),
            }
        }
        Disk::of(bytes)
    }
}

fn entry(index: u64) -> Vec<u8> {
    vec![index as u8; 10 + (index as usize * 37) % 3000]
}

fn commit(store: &Store, index: u64) {
    let changes = vec![
        Change::Entry(Log::Raft, index, entry(index)),
        Change::Set("vote", index.to_le_bytes().to_vec()),
    ];
    store.commit(changes, true).unwrap();
}

/// Checks that a store holds the first entries, at least `least` of them, and the vote of the last.
fn holds(store: &Store, least: u64) -> u64 {
    let entries = store.entries(Log::Raft, .., usize::MAX).unwrap();
    let last = entries.len() as u64;
    assert!(last >= least, "{least} were committed, {last} are there");
    for (expected, (index, bytes)) in (1..).zip(entries) {
        assert_eq!((index, bytes), (expected, entry(expected)));
    }
    let vote = store
        .get("vote")
        .unwrap()
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    assert_eq!(
        vote,
        (last > 0).then_some(last),
        "a commit is there as a whole"
    );
    last
}

#[test]
fn a_crash_at_any_write_leaves_every_commit_that_was_answered() {
    let mut chance = 77;
    println!("seed {chance}");
    for _ in 0..60 {
        let mut disk = Disk::default();
        let mut done = 0;
        for _ in 0..4 {
            let store = Store::over(disk.clone(), "a", 7).unwrap();
            done = holds(&store, done);
            for _ in 0..draw(&mut chance) % 12 {
                done += 1;
                commit(&store, done);
            }
            // One more that nobody waited for.
            store
                .commit(
                    vec![
                        Change::Entry(Log::Raft, done + 1, entry(done + 1)),
                        Change::Set("vote", (done + 1).to_le_bytes().to_vec()),
                    ],
                    false,
                )
                .unwrap();
            let after = disk.crash(&mut chance);
            std::mem::forget(store);
            disk = after;
        }
        holds(&Store::over(disk, "a", 7).unwrap(), done);
    }
}

#[test]
fn a_crash_within_a_commit_leaves_the_last_answered_one() {
    let mut chance = 78;
    println!("seed {chance}");
    for round in 0..60 {
        let disk = Disk::default();
        let store = Store::over(disk.clone(), "a", 7).unwrap();
        for index in 1..=round % 7 {
            commit(&store, index);
        }
        // The state of the disk at every sync and between: as often as something is written.
        let (seen, count) = (Arc::new(Mutex::new(Vec::new())), draw(&mut chance) % 40);
        let spy = Spy {
            disk: disk.clone(),
            at: Arc::new(Mutex::new(count)),
            seen: Arc::clone(&seen),
            chance: Arc::new(Mutex::new(chance)),
        };
        drop(store);
        let store = Store::over(spy, "a", 7).unwrap();
        commit(&store, round % 7 + 1);
        drop(store);
        let images = std::mem::take(&mut *seen.lock());
        for image in images {
            holds(&Store::over(image, "a", 7).unwrap(), round % 7);
        }
    }
}

/// A disk that keeps what a crash would leave after some number of writes.
#[derive(Clone, Debug)]
struct Spy {
    disk: Disk,
    at: Arc<Mutex<u64>>,
    seen: Arc<Mutex<Vec<Disk>>>,
    chance: Arc<Mutex<u64>>,
}

impl Spy {
    fn look(&self) {
        let mut at = self.at.lock();
        *at = at.wrapping_sub(1);
        if *at == 0 {
            let image = self.disk.crash(&mut self.chance.lock());
            self.seen.lock().push(image);
        }
    }
}

impl StorageBackend for Spy {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.look();
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.look();
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.look();
        self.disk.write(offset, data)
    }
}

#[test]
fn a_file_cut_at_any_byte_opens_with_whole_commits_or_is_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let store = Store::open(&path, "a").unwrap();
    for index in 1..=40 {
        commit(&store, index);
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut chance = 79;
    println!("seed {chance}, {} bytes", whole.len());
    let mut cuts: Vec<usize> = (0..200)
        .map(|_| draw(&mut chance) as usize % whole.len())
        .collect();
    cuts.extend([0, 1, 9, 63, 64, 4095, 4096, whole.len() - 1]);
    let mut refused = 0;
    for cut in cuts {
        let path = folder.path().join("cut.redb");
        std::fs::write(&path, &whole[..cut]).unwrap();
        match Store::open(&path, "a") {
            Ok(store) => {
                holds(&store, 40);
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.code, Code::MetadataCorrupt, "cut at {cut}: {error}");
            }
        }
        let _ = std::fs::remove_file(&path);
    }
    assert!(refused > 0);
}

#[test]
fn a_flipped_bit_is_found_and_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let store = Store::open(&path, "a").unwrap();
    for index in 1..=40 {
        commit(&store, index);
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut chance = 80;
    println!("seed {chance}");
    let mut found = 0;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        // Within the pages that hold something, mostly.
        let at = draw(&mut chance) as usize % bytes.len();
        let at = (0..)
            .map(|step| (at + step) % whole.len())
            .find(|at| whole[*at] != 0)
            .unwrap();
        bytes[at] ^= 1 << (draw(&mut chance) % 8);
        let path = folder.path().join("flipped.redb");
        std::fs::write(&path, &bytes).unwrap();
        let read = Store::open(&path, "a").and_then(|store| {
            let entries = store.entries(Log::Raft, .., usize::MAX)?;
            store.get("vote")?;
            Ok(entries)
        });
        match read {
            // What is there is what was written: a bit of an old or unused page.
            Ok(entries) => {
                assert_eq!(entries.len(), 40, "flipped at {at}");
                for (index, bytes) in entries {
                    assert_eq!(bytes, entry(index));
                }
            }
            Err(error) => {
                found += 1;
                let known = [
                    Code::MetadataCorrupt,
                    Code::MetadataVersion,
                    Code::MetadataForeign,
                ];
                assert!(known.contains(&error.code), "flipped at {at}: {error:?}");
            }
        }
        let _ = std::fs::remove_file(&path);
    }
    assert!(found > 50, "{found} were found");
}

#[test]
fn a_store_in_use_is_not_opened_twice_and_a_start_cut_off_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/metadata.redb");
    let store = Store::open(&path, "a").unwrap();
    let error = Store::open(&path, "a").err().unwrap();
    assert_eq!(error.code, Code::NodeDirectoryLocked);
    let id = store.id().unwrap();
    store.close();
    assert_eq!(store.get("vote").unwrap_err().code, Code::HandleClosed);
    assert_eq!(Store::open(&path, "a").unwrap().id().unwrap(), id);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(path.with_extension("new"), b"half a file").unwrap();
    assert_ne!(Store::open(&path, "a").unwrap().id().unwrap(), id);
}

#[test]
fn a_snapshot_of_many_pieces_comes_back_whole() {
    let store = Store::over(Disk::default(), "a", 7).unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    store
        .commit(
            vec![Change::Snapshot(Log::Paxos, Arc::from(bytes.as_slice()))],
            true,
        )
        .unwrap();
    assert_eq!(store.snapshot(Log::Paxos).unwrap(), bytes);
    store
        .commit(
            vec![Change::Snapshot(Log::Paxos, Arc::from(&b"small"[..]))],
            true,
        )
        .unwrap();
    assert_eq!(store.snapshot(Log::Paxos).unwrap(), b"small");
}
