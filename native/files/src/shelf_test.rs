use std::fs;
use std::path::Path;
use std::sync::Arc;

use otlake_base::Metrics;
use otlake_base::disk::real;
use tempfile::TempDir;

use crate::sheet::{Sheet, Summing};
use crate::shelf::{Shelf, Writing};
use crate::testing::bytes;

fn open(folder: &TempDir) -> Shelf {
    Shelf::open(real(), folder.path(), 0, Arc::new(Metrics::strict())).unwrap()
}

fn keep(shelf: &Shelf, key: &str, content: &[u8]) {
    let mut writing = begin(shelf, key);
    writing.write(content).unwrap();
    let sheet = writing.finish(5).unwrap();
    shelf.keep(writing, &sheet, key).unwrap();
}

fn begin(shelf: &Shelf, key: &str) -> Writing {
    let (folder, _) = key.rsplit_once('/').unwrap();
    shelf.begin(folder).unwrap()
}

/// How many files are in the folder of one, itself included.
fn files_beside(path: &Path) -> usize {
    fs::read_dir(path.parent().unwrap()).unwrap().count()
}

const KEY: &str = "spans/tenant=a/day=2026-01-01/x.parquet";

#[test]
fn i2_a_copy_is_there_after_a_start_anew_and_one_that_was_cut_off_is_not() {
    let folder = TempDir::new().unwrap();
    let content = bytes(200_000);
    {
        let shelf = open(&folder);
        keep(&shelf, KEY, &content);
        let mut writing = shelf.begin("spans/tenant=a/day=2026-01-01").unwrap();
        writing.write(b"half").unwrap();
        // The process ends here.
        std::mem::forget(writing);
    }
    // A crash came between a file's name and its sums, or the other way round.
    let day = folder.path().join("tables/spans/tenant=a/day=2026-01-01");
    fs::write(day.join("unsummed.parquet"), b"abc").unwrap();
    let sums = folder.path().join("sums/spans/tenant=a/day=2026-01-01");
    fs::write(sums.join("unnamed.parquet"), b"abc").unwrap();
    let shelf = open(&folder);
    assert_eq!(shelf.data(), [KEY]);
    assert_eq!(shelf.read(KEY, &(0..u64::MAX)).unwrap().unwrap(), content);
    let part = shelf.read(KEY, &(65_530..65_540)).unwrap().unwrap();
    assert_eq!(part, content.slice(65_530..65_540));
    assert_eq!(shelf.sheet(KEY).unwrap().unwrap().modified_unix_nano, 5);
    for folder in [day, sums] {
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }
}

#[test]
fn i6_every_flipped_bit_of_a_copy_and_of_its_sums_is_found_where_it_is_read() {
    let folder = TempDir::new().unwrap();
    let content = bytes(70_000);
    keep(&open(&folder), KEY, &content);
    let file = folder.path().join("tables").join(KEY);
    let sums = folder.path().join("sums").join(KEY);
    for path in [&file, &sums] {
        let whole = fs::read(path).unwrap();
        for at in (0..whole.len()).step_by(whole.len().div_ceil(97)) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            let shelf = open(&folder);
            assert_eq!(shelf.read(KEY, &(0..70_000)).unwrap(), None, "byte {at}");
            // From then on it is none that others could have.
            assert!(!shelf.has(KEY) && shelf.data().is_empty());
            // Another takes its place.
            keep(&shelf, KEY, &content);
            assert_eq!(shelf.read(KEY, &(0..70_000)).unwrap().unwrap(), content);
        }
    }
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..69_000]).unwrap();
    assert_eq!(open(&folder).read(KEY, &(0..70_000)).unwrap(), None);
}

#[test]
fn i6_a_copy_that_comes_late_neither_replaces_a_sound_one_nor_hides_that_it_is_damaged() {
    let folder = TempDir::new().unwrap();
    let content = bytes(70_000);
    let shelf = open(&folder);
    keep(&shelf, KEY, &content);
    let path = folder.path().join("tables").join(KEY);
    let mut flipped = content.to_vec();
    flipped[66_000] ^= 1;
    fs::write(&path, &flipped).unwrap();
    keep(&shelf, KEY, &content);
    assert_eq!(fs::read(&path).unwrap(), flipped);
    assert_eq!(shelf.read(KEY, &(0..70_000)).unwrap(), None);
    // The next one is needed.
    keep(&shelf, KEY, &content);
    assert_eq!(shelf.read(KEY, &(0..70_000)).unwrap().unwrap(), content);
    assert_eq!(files_beside(&path), 1);
}

#[test]
fn a_copy_that_comes_once_its_file_is_deleted_does_not_come_into_being() {
    let folder = TempDir::new().unwrap();
    let shelf = open(&folder);
    keep(&shelf, KEY, b"first");
    let (mut writing, path) = (begin(&shelf, KEY), folder.path().join("tables").join(KEY));
    writing.write(b"first").unwrap();
    let sheet = writing.finish(5).unwrap();
    assert!(shelf.remove(KEY).unwrap());
    assert!(!shelf.keep_if(writing, &sheet, KEY, || false).unwrap());
    assert!(!shelf.has(KEY));
    assert_eq!(files_beside(&path), 0);
}

#[test]
fn of_copies_and_removals_of_one_key_at_once_memory_knows_what_the_disk_has() {
    let folder = TempDir::new().unwrap();
    let shelf = open(&folder);
    let path = folder.path().join("tables").join(KEY);
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| keep(&shelf, KEY, b"first"));
            }
            scope.spawn(|| shelf.remove(KEY).unwrap());
        });
        assert_eq!(shelf.has(KEY), path.exists());
        let read = shelf.read(KEY, &(0..9)).unwrap();
        assert_eq!(read.is_some(), shelf.has(KEY));
    }
}

#[test]
fn a_content_gets_its_name_once_and_is_nobodys_before() {
    let folder = TempDir::new().unwrap();
    let log = "spans/_delta_log";
    let shelf = open(&folder);
    let mut writing = shelf.begin(log).unwrap();
    writing.write(b"{}").unwrap();
    let sheet = writing.finish(1).unwrap();
    shelf.stage(writing, &sheet, log, 7).unwrap();
    assert!(shelf.names(log).is_empty() && shelf.logs().is_empty());
    let shelf = open(&folder);
    assert!(shelf.is_staged(log, sheet.sum));
    let staged = shelf.read_staged(log, sheet.sum, &(0..9)).unwrap();
    assert_eq!(&staged.unwrap()[..], b"{}");
    assert!(shelf.promote(log, sheet.sum, "a.json").unwrap());
    assert!(!shelf.promote(log, sheet.sum, "b.json").unwrap());
    let shelf = open(&folder);
    assert_eq!(shelf.sum("spans/_delta_log/a.json"), Some(sheet.sum));
    assert_eq!(shelf.names(log).len(), 1);
    // What gets no name goes.
    let mut writing = shelf.begin(log).unwrap();
    writing.write(b"{1}").unwrap();
    let other = writing.finish(1).unwrap();
    shelf.stage(writing, &other, log, 7).unwrap();
    shelf.unstage_before(7).unwrap();
    assert!(shelf.is_staged(log, other.sum));
    shelf.unstage_before(8).unwrap();
    assert!(!shelf.is_staged(log, other.sum));
    let names = fs::read_dir(folder.path().join("tables").join(log)).unwrap();
    assert_eq!(names.count(), 1);
}

#[test]
fn folders_are_told_page_by_page() {
    let folder = TempDir::new().unwrap();
    let shelf = open(&folder);
    let day = |day: usize, file: usize| format!("spans/tenant=a/day={day}/{file}.parquet");
    for at in 0..12 {
        keep(&shelf, &day(at / 4, at), b"x");
    }
    keep(&shelf, "spans/_delta_log/x.json", b"x");
    let (mut after, mut told) = (String::new(), Vec::new());
    loop {
        let page = shelf.page("spans", &after, true, 5);
        after = page.files.last().unwrap().clone();
        told.extend(page.files);
        if !page.more {
            break;
        }
    }
    let mut all: Vec<String> = (0..12).map(|at| day(at / 4, at)).collect();
    all.sort();
    assert_eq!(told, all);
    let page = shelf.page("spans/tenant=a", "", false, 5);
    assert!(page.files.is_empty() && page.folders.len() == 3 && !page.more);
    let page = shelf.page("spans/tenant=a/day=1", "", false, 5);
    assert_eq!((page.files.len(), page.folders.len()), (4, 0));
    // Not what merely begins so.
    assert_eq!(shelf.page("spans/tenant=a/day", "", true, 5).files.len(), 0);
}

#[test]
fn what_stands_beside_a_copy_is_read_as_it_was_written() {
    for size in [0, 1, 65_535, 65_536, 65_537, 200_000] {
        let content = bytes(size);
        let sheet = Sheet::of(&content, 17);
        assert_eq!(Sheet::from_text(&sheet.to_text()).unwrap(), sheet);
        assert!(sheet.blocks.fits(size as u64));
        let mut summing = Summing::default();
        content.chunks(777).for_each(|part| summing.add(part));
        assert_eq!(summing.finish(17), sheet);
        let text = sheet.to_text();
        for at in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1;
            let flipped = String::from_utf8_lossy(&flipped).into_owned();
            assert!(Sheet::from_text(&flipped).is_err(), "{at}: {flipped}");
        }
    }
}
