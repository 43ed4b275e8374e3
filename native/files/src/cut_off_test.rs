//! Copies whose naming is cut off, or fails, at each operation of the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use otlake_base::Metrics;
use otlake_base::disk::{Disk, real};
use tempfile::TempDir;

use crate::hooked_disk::HookedDisk;
use crate::inspect::Copies;
use crate::sheet::Sheet;
use crate::shelf::Shelf;

const LOG: &str = "spans/_delta_log";
const NAME: &str = "_last_checkpoint";
const KEY: &str = "spans/_delta_log/_last_checkpoint";

/// The machine's disk, which fails from one operation on that changes something, up to another; they are
/// counted once it is armed.
#[derive(Debug)]
struct Failing {
    is_armed: AtomicBool,
    done: AtomicUsize,
    from: usize,
    upto: usize,
}

impl Failing {
    fn new(from: usize, upto: usize) -> Arc<Failing> {
        Arc::new(Failing {
            is_armed: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            from,
            upto,
        })
    }

    fn has_failed(&self) -> bool {
        self.done.load(Ordering::Relaxed) > self.from
    }

    fn look(&self, operation: &str) -> io::Result<()> {
        // What a file gets before it has its name is nobody's yet.
        let is_within = matches!(operation, "write" | "sync" | "allocate");
        if is_within || !self.is_armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let at = self.done.fetch_add(1, Ordering::Relaxed);
        match (self.from..self.upto).contains(&at) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

fn open(disk: Arc<dyn Disk>, data: &Path) -> Shelf {
    Shelf::open(disk, &data.join("files"), 0, Arc::new(Metrics::strict())).unwrap()
}

/// The same, on a disk that fails behind it.
fn shelf_on(failing: &Arc<Failing>, data: &Path) -> Shelf {
    let look = Arc::clone(failing);
    let disk = HookedDisk(Arc::new(move |operation, _| look.look(operation)));
    let shelf = open(Arc::new(disk), data);
    failing.is_armed.store(true, Ordering::Relaxed);
    shelf
}

fn keep(shelf: &Shelf, content: &[u8]) -> io::Result<()> {
    let mut writing = shelf.begin(LOG)?;
    writing.write(content)?;
    let sheet = writing.finish(5)?;
    shelf.keep(writing, &sheet, KEY)
}

fn stage(shelf: &Shelf, content: &[u8]) -> Arc<Sheet> {
    let mut writing = shelf.begin(LOG).unwrap();
    writing.write(content).unwrap();
    let sheet = writing.finish(5).unwrap();
    shelf.stage(writing, &sheet, LOG, 0).unwrap();
    sheet
}

fn read(shelf: &Shelf) -> Option<Bytes> {
    shelf.read(KEY, &(0..u64::MAX)).unwrap()
}

/// A folder with a content that waits for its name, which another may have.
fn begun(before: Option<&[u8]>) -> (TempDir, Arc<Sheet>) {
    let folder = TempDir::new().unwrap();
    let shelf = open(real(), folder.path());
    if let Some(before) = before {
        keep(&shelf, before).unwrap();
    }
    let sheet = stage(&shelf, b"the next content");
    (folder, sheet)
}

/// Does it with a disk that fails so many operations from each on, until none fails any more.
fn at_each_operation(count: usize, mut done: impl FnMut(usize, Arc<Failing>) -> bool) {
    let mut at = 0;
    while done(at, Failing::new(at, at.saturating_add(count))) {
        at += 1;
    }
    assert!(at > 3, "{at}");
}

#[test]
fn i2_wherever_a_process_ends_while_a_content_gets_its_name_the_content_is_there() {
    for before in [None, Some(&b"the content before"[..])] {
        at_each_operation(usize::MAX, |at, failing| {
            let (folder, sheet) = begun(before);
            let shelf = shelf_on(&failing, folder.path());
            let promoted = shelf.promote(LOG, sheet.sum, NAME);
            drop(shelf);
            let shelf = open(real(), folder.path());
            let is_named = shelf.sum(KEY) == Some(sheet.sum);
            let is_staged = shelf.is_staged(LOG, sheet.sum);
            assert!(is_named != is_staged, "{before:?}, operation {at}");
            match is_named {
                true => assert_eq!(read(&shelf).unwrap(), &b"the next content"[..]),
                false => {
                    assert_eq!(read(&shelf).as_deref(), before, "operation {at}");
                    let bytes = shelf.read_staged(LOG, sheet.sum, &(0..99)).unwrap();
                    assert_eq!(bytes.unwrap(), &b"the next content"[..]);
                    assert!(promoted.is_err());
                }
            }
            failing.has_failed()
        });
    }
}

#[test]
fn i10_a_content_gets_its_name_on_a_disk_that_failed_once() {
    for before in [None, Some(&b"the content before"[..])] {
        at_each_operation(1, |at, failing| {
            let (folder, sheet) = begun(before);
            let shelf = shelf_on(&failing, folder.path());
            let first = shelf.promote(LOG, sheet.sum, NAME);
            if first.is_err() {
                assert!(
                    shelf.promote(LOG, sheet.sum, NAME).unwrap(),
                    "operation {at}"
                );
            }
            assert_eq!(read(&shelf).unwrap(), &b"the next content"[..]);
            let shelf = open(real(), folder.path());
            assert_eq!(read(&shelf).unwrap(), &b"the next content"[..]);
            failing.has_failed()
        });
    }
}

#[test]
fn i2_wherever_a_process_ends_while_a_content_replaces_another_one_of_them_is_there() {
    let contents: [&[u8]; 2] = [b"the content before", b"the next content"];
    at_each_operation(usize::MAX, |at, failing| {
        let folder = TempDir::new().unwrap();
        keep(&open(real(), folder.path()), contents[0]).unwrap();
        let shelf = shelf_on(&failing, folder.path());
        let kept = keep(&shelf, contents[1]);
        drop(shelf);
        // As a check of the folder sees it, before the next start.
        let copies = Copies::of(real(), folder.path()).unwrap().unwrap();
        let is = copies.check(KEY).unwrap();
        assert_eq!(is, otlake_base::checksum::Checked::Whole, "operation {at}");
        let shelf = open(real(), folder.path());
        let is = read(&shelf).expect("a content");
        assert!(contents.contains(&&is[..]), "operation {at}");
        if kept.is_ok() {
            assert_eq!(is, contents[1]);
        }
        let sums = folder.path().join("files/sums").join(LOG);
        assert_eq!(std::fs::read_dir(sums).unwrap().count(), 1);
        failing.has_failed()
    });
}

#[test]
fn i10_a_copy_that_could_not_be_deleted_is_told_of_until_it_is() {
    for at in 0..2 {
        let folder = TempDir::new().unwrap();
        keep(&open(real(), folder.path()), b"x").unwrap();
        let shelf = shelf_on(&Failing::new(at, at + 1), folder.path());
        shelf.remove(KEY).unwrap_err();
        // The file goes first, then what it is checked by.
        assert_eq!(shelf.names(LOG).len(), 1 - at);
        assert_eq!(shelf.remove(KEY).unwrap(), at == 0);
        assert!(shelf.names(LOG).is_empty());
        assert!(open(real(), folder.path()).names(LOG).is_empty());
    }
}
