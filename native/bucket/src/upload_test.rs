use std::fs;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use otlake_base::disk::{Disk, real};
use otlake_base::limits::BUCKET_PART_BYTES;

use crate::testing::{Faulty, bucket};

fn stage(disk: &dyn Disk, path: &Path) {
    let mut file = disk.create(path).unwrap();
    let bytes = vec![7; 3 * BUCKET_PART_BYTES];
    file.write_all(&mut [IoSlice::new(&bytes)]).unwrap();
}

fn notes(data_dir: &Path) -> usize {
    fs::read_dir(data_dir.join("spool")).unwrap().count()
}

#[test]
fn an_upload_that_fails_leaves_nothing_in_the_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Faulty::default());
    let disk = bucket(&store, folder.path()).disk(real());
    let (staged, target) = (
        Path::new("/s3:/lake/tables/.x.tmp"),
        Path::new("/s3:/lake/tables/x"),
    );
    stage(&*disk, staged);
    store.parts.store(2, Ordering::SeqCst);
    assert!(disk.rename(staged, target).is_err());
    assert_eq!(store.aborted.load(Ordering::SeqCst), 1);
    assert_eq!(notes(folder.path()), 0);
    disk.rename(staged, target).unwrap();
    assert_eq!(
        disk.status(target).unwrap().bytes,
        3 * BUCKET_PART_BYTES as u64
    );
}

#[test]
fn uploads_that_a_crash_left_are_aborted_by_the_next_start_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Faulty::default());
    let path = Path::new("/s3:/lake/tables/x.parquet");
    let staged = Path::new("/s3:/lake/tables/.x.tmp");
    let first = bucket(&store, folder.path());
    let disk = first.disk(real());
    stage(&*disk, staged);
    // The store goes away in the middle, and stays away until the process ends.
    store.parts.store(2, Ordering::SeqCst);
    store.is_dead.store(true, Ordering::SeqCst);
    assert!(disk.rename(staged, path).is_err());
    assert_eq!(notes(folder.path()), 1);
    drop((disk, first));
    // Next to it is a note that a crash tore, and a file that is none.
    fs::write(folder.path().join("spool/torn.upload"), "key-alone").unwrap();
    fs::write(folder.path().join("spool/else.txt"), "x").unwrap();
    store.is_dead.store(false, Ordering::SeqCst);
    let second = bucket(&store, folder.path());
    second.sweep();
    assert_eq!(store.aborted.load(Ordering::SeqCst), 1);
    assert_eq!(notes(folder.path()), 1, "what is no note stays");
    second.sweep();
    assert_eq!(store.aborted.load(Ordering::SeqCst), 1);
}
