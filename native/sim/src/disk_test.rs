use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use otlake_base::disk::{Disk, create_folders, read, real};

use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};
use crate::faults::Faults;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(seed, Arc::new(SimClock::default()))
}

fn put(disk: &dyn Disk, path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut file = disk.create(path)?;
    file.write_all(&mut [IoSlice::new(bytes)])?;
    if sync { file.sync() } else { Ok(()) }
}

/// What every disk must do; run on the simulated and on the machine's.
fn contract(disk: &dyn Disk, root: &Path) {
    let kind = |outcome: io::Result<()>| outcome.expect_err("it must fail").kind();
    let (a, b, folder) = (root.join("a"), root.join("b"), root.join("folder"));
    create_folders(disk, root, &folder.join("below")).expect("folders");
    put(disk, &a, b"first", true).expect("a file");
    let taken = kind(put(disk, &a, b"again", true));
    assert_eq!(taken, io::ErrorKind::AlreadyExists);
    disk.link(&a, &b).expect("a second name");
    assert_eq!(kind(disk.link(&a, &b)), io::ErrorKind::AlreadyExists);
    disk.remove(&a).expect("a removal");
    assert_eq!(kind(disk.remove(&a)), io::ErrorKind::NotFound);
    assert_eq!(read(disk, &b).expect("its bytes"), b"first");
    put(disk, &a, b"second", false).expect("a file");
    disk.rename(&a, &b).expect("a rename");
    assert_eq!(read(disk, &b).expect("its bytes"), b"second");
    assert_eq!(kind(read(disk, &a).map(|_| ())), io::ErrorKind::NotFound);
    let mut names: Vec<(String, bool)> = disk
        .list(root)
        .expect("a listing")
        .into_iter()
        .map(|entry| (entry.name, entry.folder))
        .collect();
    names.sort();
    assert_eq!(names, [("b".into(), false), ("folder".into(), true)]);
    let status = disk.status(&b).expect("a status");
    assert_eq!((status.folder, status.bytes), (false, 6));
    let mut file = disk.create(&a).expect("a file");
    file.allocate(1000).expect("space");
    file.write_all(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")])
        .expect("a write");
    assert_eq!(file.length().expect("a length"), 1000);
    file.truncate(4).expect("less");
    assert_eq!(read(disk, &a).expect("its bytes"), b"abc\0");
    let held = disk.lock(&root.join("LOCK"), "me").expect("a lock");
    let refused = disk.lock(&root.join("LOCK"), "you").map(|_| ());
    assert_eq!(kind(refused), io::ErrorKind::WouldBlock);
    drop(held);
    disk.lock(&root.join("LOCK"), "you").expect("it is free");
    disk.remove_folder(&folder).expect_err("it is not empty");
    disk.remove_folder(&folder.join("below"))
        .expect("it is empty");
    disk.remove_folder(&folder).expect("it is empty");
    disk.sync_folder(root).expect("a sync");
}

#[test]
fn the_simulated_disk_and_the_machine_s_keep_one_contract() {
    contract(&disk(1), Path::new("/"));
    let root = tempfile::tempdir().expect("a folder");
    contract(&*real(), root.path());
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_some_seeds_lose_the_rest() {
    let (synced, named, unsynced) = (Path::new("/s"), Path::new("/n"), Path::new("/u"));
    let bytes = vec![7; 20_000];
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let before = disk(seed);
        put(&before, synced, &bytes, true).expect("a file");
        put(&before, unsynced, &bytes, false).expect("a file");
        before.sync_folder(Path::new("/")).expect("a sync");
        put(&before, named, &bytes, true).expect("a file");
        let after = before.reboot(Fate::PowerCut, seed);
        assert_eq!(after.bytes_of(synced).as_ref(), Some(&bytes));
        match after.bytes_of(named) {
            None => lost += 1,
            Some(found) => assert_eq!(found, bytes),
        }
        let found = after.bytes_of(unsynced).expect("its name was synced");
        if found == bytes {
            kept += 1;
        } else if found.contains(&7) {
            torn += 1;
        }
        assert_eq!(
            before.reboot(Fate::Kill, seed).bytes_of(named).as_ref(),
            Some(&bytes)
        );
    }
    assert!(lost > 20 && kept > 0 && torn > 20, "{lost} {kept} {torn}");
}

#[test]
fn a_failed_sync_loses_pages_that_a_second_one_does_not_bring_back() {
    let path = Path::new("/file");
    let bytes = vec![7; 40_000];
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk(seed);
        let mut file = disk.create(path).expect("a file");
        disk.sync_folder(Path::new("/")).expect("a sync");
        file.write_all(&mut [IoSlice::new(&bytes)])
            .expect("a write");
        disk.set_faults(Faults {
            sync: 1000,
            ..Faults::default()
        });
        file.sync().expect_err("it fails");
        disk.set_faults(Faults::default());
        file.sync().expect("the pages are taken for clean");
        assert_eq!(disk.bytes_of(path).as_ref(), Some(&bytes));
        let after = disk.reboot(Fate::PowerCut, seed);
        lost += u64::from(after.bytes_of(path).as_ref() != Some(&bytes));
    }
    assert!(lost > 40, "{lost}");
}

#[test]
fn i10_a_full_disk_takes_what_it_has_room_for_and_gets_room_by_removals() {
    let disk = disk(1);
    put(&disk, Path::new("/old"), &[1; 100], true).expect("a file");
    disk.set_free(Some(10));
    let mut file = disk.create(Path::new("/new")).expect("a file");
    assert_eq!(file.write(&[IoSlice::new(&[2; 100])]).expect("a part"), 10);
    let full = file.write(&[IoSlice::new(&[2; 100])]).expect_err("no room");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.remove(Path::new("/old")).expect("a removal");
    assert_eq!(file.write(&[IoSlice::new(&[2; 90])]).expect("all"), 90);
}

#[test]
fn i10_a_full_disk_is_as_full_after_a_start_and_what_a_power_cut_took_is_room() {
    let before = disk(1);
    put(&before, Path::new("/synced"), &[1; 100], true).expect("a file");
    before.sync_folder(Path::new("/")).expect("a sync");
    before.set_free(Some(60));
    // Its name is not synced.
    put(&before, Path::new("/lost"), &[2; 50], true).expect("a file");
    assert_eq!(before.reboot(Fate::Kill, 1).free(), Some(10));
    let after: Vec<Option<u64>> = (0..20)
        .map(|seed| before.reboot(Fate::PowerCut, seed).free())
        .collect();
    assert!(
        after.contains(&Some(10)) && after.contains(&Some(60)),
        "{after:?}"
    );
    assert!(after.iter().all(|free| [Some(10), Some(60)].contains(free)));
}

#[test]
fn an_operation_fails_where_it_is_told_to_and_no_other() {
    let disk = disk(1);
    disk.fail_in(1);
    let mut file = disk.create(Path::new("/file")).expect("a file");
    file.write_all(&mut [IoSlice::new(b"a")])
        .expect_err("the second operation");
    file.sync().expect("a sync");
    disk.sync_folder(Path::new("/")).expect("a sync");
}

#[test]
fn a_disk_that_is_down_stays_down_for_those_who_hold_it() {
    let before = disk(1);
    let mut file = before.create(Path::new("/file")).expect("a file");
    before.crash_in(1);
    file.write_all(&mut [IoSlice::new(b"a")])
        .expect("the last one");
    file.sync().expect_err("it is down");
    let after = before.reboot(Fate::Kill, 1);
    file.write_all(&mut [IoSlice::new(b"b")])
        .expect_err("it is down");
    assert_eq!(after.bytes_of(Path::new("/file")), Some(b"a".to_vec()));
}
