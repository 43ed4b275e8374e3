//! Decisions on a disk that fails, and in files that were cut off or damaged.

use std::fs;
use std::path::{Path, PathBuf};

use otlake_base::Metrics;
use otlake_base::disk::real;

use crate::decisions::{Decision, Key};
use crate::journal::{Journal, check};

type Entry = (Key, Decision);

fn entries(from: u64, count: u64) -> Vec<Entry> {
    let decision = |number| match number % 3 {
        0 => Decision::Dropped,
        1 => Decision::Kept(0),
        _ => Decision::Kept(number << 40),
    };
    (from..from + count)
        .map(|number| (Key(u128::from(number) << 70), decision(number)))
        .collect()
}

/// The journal, what it held, and how much damage was found.
fn open(folder: &Path, max: usize) -> (Journal, Vec<Entry>, u64) {
    let metrics = Metrics::new();
    let mut found = Vec::new();
    let take = |key, decision| found.push((key, decision));
    let journal = Journal::open(real(), folder, max, &metrics, take).expect("it opens");
    let kind = vec![("kind", "decisions")];
    let damaged = metrics.corruption.get_or_create(&kind).get();
    (journal, found, damaged)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("one").path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_appended_is_found_in_its_order_by_the_next_start() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let mut expected = Vec::new();
    for start in 0..3u64 {
        let (mut journal, found, _) = open(&folder, 1_000);
        assert_eq!(found, expected);
        for block in 0..3 {
            let block = entries(start * 100 + block * 10, 10);
            journal.append(&block).expect("room");
            expected.extend(block);
        }
    }
    assert_eq!(files(&folder).len(), 3);
    for file in files(&folder) {
        assert_eq!(check(&fs::read(file).expect("a file")), Ok(()));
    }
}

#[test]
fn i5_files_are_deleted_once_later_ones_hold_the_limit() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let (mut journal, _, _) = open(&folder, 100);
    for block in 0..100 {
        journal.append(&entries(block * 10, 10)).expect("room");
        assert!(files(&folder).len() <= 6, "block {block}");
    }
    drop(journal);
    let (_, found, _) = open(&folder, 100);
    assert!(found.len() >= 100 && found.len() <= 150, "{}", found.len());
    assert_eq!(found[found.len() - 100..], entries(900, 100));
}

#[test]
fn i5_many_starts_do_not_leave_many_files() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let mut expected = Vec::new();
    for start in 0..60 {
        let (mut journal, found, _) = open(&folder, 1_000);
        assert_eq!(found, expected, "start {start}");
        journal.append(&entries(start, 1)).expect("room");
        expected.extend(entries(start, 1));
        assert!(files(&folder).len() <= 18, "start {start}");
    }
}

#[test]
fn a_block_that_a_crash_cut_off_is_passed_over_wherever_it_was_cut() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let (mut journal, _, _) = open(&folder, 1_000);
    let (first, second) = (entries(0, 3), entries(3, 2));
    journal.append(&first).expect("room");
    let whole = fs::read(&files(&folder)[0]).expect("the file").len();
    journal.append(&second).expect("room");
    let bytes = fs::read(&files(&folder)[0]).expect("the file");
    drop(journal);
    for cut in 0..bytes.len() {
        let folder = root.path().join(format!("cut {cut}"));
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("0000000000000001.decisions");
        fs::write(&path, &bytes[..cut]).expect("a file");
        assert_eq!(check(&bytes[..cut]), Ok(()), "cut at {cut}");
        let (mut journal, found, damaged) = open(&folder, 1_000);
        let expected = if cut < whole { &[][..] } else { &first };
        assert_eq!((&found[..], damaged), (expected, 0), "cut at {cut}");
        journal.append(&second).expect("room");
        drop(journal);
        let (_, found, _) = open(&folder, 1_000);
        assert_eq!(found, [expected, &second].concat(), "cut at {cut}");
    }
}

#[test]
fn i6_every_flipped_bit_is_found_and_the_decisions_before_it_are_kept() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let (mut journal, _, _) = open(&folder, 1_000);
    journal.append(&entries(0, 2)).expect("room");
    journal.append(&entries(2, 2)).expect("room");
    drop(journal);
    let path = files(&folder).remove(0);
    let bytes = fs::read(&path).expect("the file");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped).is_err(), "bit {bit}");
        if bit % 37 != 0 {
            continue;
        }
        let folder = root.path().join(format!("bit {bit}"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("0000000000000001.decisions"), &flipped).expect("a file");
        let (_, found, damaged) = open(&folder, 1_000);
        assert_eq!(damaged, 1, "bit {bit}");
        assert!(
            entries(0, 4).starts_with(&found) && found.len() < 4,
            "bit {bit}"
        );
        // It was written anew, and is whole from then on.
        let (_, again, damaged) = open(&folder, 1_000);
        assert_eq!((again, damaged), (found, 0), "bit {bit}");
    }
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("sampling");
    let (mut journal, _, _) = open(&folder, 1_000);
    journal.append(&entries(0, 2)).expect("room");
    drop(journal);
    let (mut journal, _, _) = open(&folder, 1_000);
    // The next file cannot be made where its name is a folder's.
    fs::create_dir(folder.join(format!("{:016x}.decisions", 2))).expect("a folder");
    let error = journal.append(&entries(2, 2)).expect_err("no file");
    assert_eq!(error.code, otlake_base::Code::TableIo);
    journal.append(&entries(2, 2)).expect("another file");
    journal.append(&entries(4, 2)).expect("the same file");
    drop(journal);
    fs::remove_dir(folder.join(format!("{:016x}.decisions", 2))).expect("a folder");
    let (_, found, damaged) = open(&folder, 1_000);
    assert_eq!((found, damaged), (entries(0, 6), 0));
}
