use std::fs;
use std::io::{ErrorKind, IoSlice, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use otlake_base::disk::{Disk, Reader, read, real};
use otlake_base::limits::{BUCKET_PART_BYTES, BUCKET_SPOOL_BYTES};

use crate::testing::{Faulty, bucket};

struct Fixture {
    store: Arc<Faulty>,
    disk: Arc<dyn Disk>,
    folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Faulty::default());
    let disk = bucket(&store, folder.path()).disk(real());
    Fixture {
        store,
        disk,
        folder,
    }
}

fn at(name: &str) -> std::path::PathBuf {
    Path::new("/s3:/lake/tables").join(name)
}

fn stage(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(&at(name)).unwrap();
    file.write_all(&mut [IoSlice::new(bytes)]).unwrap();
    file.sync().unwrap();
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 249) as u8).collect()
}

#[test]
fn a_file_is_there_whole_once_it_has_its_name_and_not_before() {
    let Fixture {
        store,
        disk,
        folder,
    } = fixture();
    let sizes = [
        0,
        1,
        BUCKET_SPOOL_BYTES + 1,
        BUCKET_PART_BYTES,
        BUCKET_PART_BYTES + 1,
        2 * BUCKET_PART_BYTES + 77,
    ];
    for size in sizes {
        let (name, written) = (format!("a=1/{size}.parquet"), bytes(size));
        stage(&*disk, "a=1/.x.tmp", &written);
        assert_eq!(read(&*disk, &at("a=1/.x.tmp")).unwrap(), written);
        let status = disk.status(&at(&name)).unwrap_err();
        assert_eq!(status.kind(), ErrorKind::NotFound);
        disk.rename(&at("a=1/.x.tmp"), &at(&name)).unwrap();
        assert_eq!(read(&*disk, &at(&name)).unwrap(), written);
        let status = disk.status(&at(&name)).unwrap();
        assert_eq!((status.bytes, status.folder), (size as u64, false));
        let staged = disk.open(&at("a=1/.x.tmp")).err().unwrap();
        assert_eq!(staged.kind(), ErrorKind::NotFound);
        // A part of it is read where it stands.
        if size > 10 {
            let mut file = disk.open(&at(&name)).unwrap();
            let mut part = [0; 5];
            assert_eq!(file.read_at(size as u64 - 5, &mut part).unwrap(), 5);
            assert_eq!(part, written[size - 5..]);
        }
    }
    assert_eq!(disk.list(&at("a=1")).unwrap().len(), sizes.len());
    assert_eq!(store.aborted.load(Ordering::SeqCst), 0);
    // Neither a file nor a note of an upload is left over.
    assert_eq!(
        fs::read_dir(folder.path().join("spool")).unwrap().count(),
        0
    );
}

#[test]
fn a_staged_file_that_is_removed_was_never_in_the_bucket() {
    let Fixture { store, disk, .. } = fixture();
    stage(&*disk, "a=1/.x.tmp", b"abc");
    let taken = disk.create(&at("a=1/.x.tmp")).err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    disk.remove(&at("a=1/.x.tmp")).unwrap();
    assert!(disk.list(&at("a=1")).unwrap().is_empty());
    assert_eq!(store.requests.load(Ordering::SeqCst), 1, "only the list");
    disk.create(&at("a=1/.x.tmp")).unwrap();
}

#[test]
fn i3_of_two_that_give_a_name_one_succeeds() {
    let Fixture { disk, .. } = fixture();
    stage(&*disk, "log/0.json#1", b"mine");
    stage(&*disk, "log/0.json#2", b"yours");
    disk.link(&at("log/0.json#1"), &at("log/0.json")).unwrap();
    let second = disk.link(&at("log/0.json#2"), &at("log/0.json"));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(read(&*disk, &at("log/0.json")).unwrap(), b"mine");
}

#[test]
fn i3_a_lost_answer_to_a_commit_is_told_by_what_is_there() {
    let Fixture { store, disk, .. } = fixture();
    stage(&*disk, "log/0.json#1", b"mine");
    store.lost.store(1, Ordering::SeqCst);
    disk.link(&at("log/0.json#1"), &at("log/0.json")).unwrap();
    // The store refused the client's own second attempt: what is there is this commit.
    disk.link(&at("log/0.json#1"), &at("log/0.json")).unwrap();
    // Another's is there, and the answer that says so was lost.
    stage(&*disk, "log/0.json#2", b"yours");
    store.lost.store(1, Ordering::SeqCst);
    let second = disk.link(&at("log/0.json#2"), &at("log/0.json"));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
    // Nothing is there, and may come to be: that is neither.
    store.failing.store(1, Ordering::SeqCst);
    let third = disk.link(&at("log/0.json#2"), &at("log/1.json"));
    assert_eq!(third.unwrap_err().kind(), ErrorKind::Other);
    disk.link(&at("log/0.json#2"), &at("log/1.json")).unwrap();
    assert_eq!(read(&*disk, &at("log/1.json")).unwrap(), b"yours");
}

#[test]
fn a_conflict_that_is_not_settled_is_asked_again() {
    let Fixture { store, disk, .. } = fixture();
    stage(&*disk, "log/0.json#1", b"mine");
    store.unsettled.store(2, Ordering::SeqCst);
    disk.link(&at("log/0.json#1"), &at("log/0.json")).unwrap();
    store.unsettled.store(usize::MAX, Ordering::SeqCst);
    let never = disk.link(&at("log/0.json#1"), &at("log/1.json"));
    assert_eq!(never.unwrap_err().kind(), ErrorKind::Other);
}

#[test]
fn i2_a_file_whose_answer_was_lost_is_taken_for_there_only_if_it_is_whole() {
    let Fixture { store, disk, .. } = fixture();
    for size in [3, BUCKET_PART_BYTES + 3] {
        let name = at(&format!("{size}.parquet"));
        stage(&*disk, ".x.tmp", &bytes(size));
        store.lost.store(1, Ordering::SeqCst);
        store.lost_completions.store(1, Ordering::SeqCst);
        disk.rename(&at(".x.tmp"), &name).unwrap();
        store.lost.store(0, Ordering::SeqCst);
        assert_eq!(read(&*disk, &name).unwrap(), bytes(size));
    }
    // What was not done is an error, and the same call can be made again.
    stage(&*disk, ".x.tmp", b"abc");
    store.failing.store(1, Ordering::SeqCst);
    assert!(disk.rename(&at(".x.tmp"), &at("y.parquet")).is_err());
    assert_eq!(
        disk.status(&at("y.parquet")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    disk.rename(&at(".x.tmp"), &at("y.parquet")).unwrap();
    // A hint is rewritten: that one of its length is there tells nothing.
    stage(&*disk, "hint#1", b"old");
    disk.rename(&at("hint#1"), &at("hint")).unwrap();
    stage(&*disk, "hint#2", b"new");
    store.failing.store(1, Ordering::SeqCst);
    assert!(disk.rename(&at("hint#2"), &at("hint")).is_err());
}

#[test]
fn folders_are_what_files_have_before_their_names() {
    let Fixture { store, disk, .. } = fixture();
    for name in [
        "t/_delta_log/1.json",
        "t/_delta_log/2.json",
        "t/a=1/b=2/x.parquet",
    ] {
        stage(&*disk, ".x.tmp", name.as_bytes());
        disk.rename(&at(".x.tmp"), &at(name)).unwrap();
    }
    for folder in [
        "t",
        "t/a=1",
        "t/a=1/b=2",
        "t/_delta_log",
        "",
        "/s3:/lake",
        "/s3:",
    ] {
        assert!(disk.status(&at(folder)).unwrap().folder, "{folder}");
    }
    assert_eq!(
        disk.status(&at("t/a=2")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // A name that another begins with is no folder.
    assert_eq!(
        disk.status(&at("t/a=")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let mut names: Vec<(String, bool)> = disk
        .list(&at("t"))
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, entry.folder))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [("_delta_log".to_owned(), true), ("a=1".to_owned(), true)]
    );
    assert!(disk.list(&at("nowhere")).unwrap().is_empty());
    let walked = |after: &str| -> Vec<(String, u64)> {
        let files = disk.walk(&at("t"), after).unwrap().into_iter();
        let mut files: Vec<_> = files.map(|(name, status)| (name, status.bytes)).collect();
        files.sort();
        files
    };
    let all = [
        ("_delta_log/1.json".to_owned(), 19),
        ("_delta_log/2.json".to_owned(), 19),
    ];
    assert_eq!(walked("")[..2], all);
    assert_eq!(walked("").len(), 3);
    assert_eq!(walked("_delta_log/1.json")[0], all[1]);
    assert_eq!(walked("a=1/b=2/x.parquet"), []);
    // A folder that was made here is known without a request.
    disk.create_folder(&at("u")).unwrap();
    let before = store.requests.load(Ordering::SeqCst);
    assert!(disk.status(&at("u")).unwrap().folder);
    let again = disk.create_folder(&at("u")).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.requests.load(Ordering::SeqCst), before);
}

#[test]
fn a_file_is_renamed_and_removed_in_the_bucket() {
    let Fixture { store, disk, .. } = fixture();
    stage(&*disk, ".x.tmp", b"abc");
    disk.rename(&at(".x.tmp"), &at("1.checkpoint.parquet"))
        .unwrap();
    disk.rename(
        &at("1.checkpoint.parquet"),
        &at("1.checkpoint.parquet.damaged"),
    )
    .unwrap();
    let names: Vec<String> = disk
        .list(&at(""))
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, ["1.checkpoint.parquet.damaged"]);
    disk.remove(&at("1.checkpoint.parquet.damaged")).unwrap();
    assert!(disk.list(&at("")).unwrap().is_empty());
    let nothing = disk.rename(&at("nothing"), &at("something")).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    assert!(store.inner.is_empty_now());
}

#[test]
fn what_is_not_below_the_mount_is_the_machines() {
    let Fixture {
        store,
        disk,
        folder,
    } = fixture();
    let path = folder.path().join("file");
    let mut file = disk.create(&path).unwrap();
    file.write_all(&mut [IoSlice::new(b"local")]).unwrap();
    file.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"local");
    let mut text = String::new();
    Reader::open(&*disk, &path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "local");
    assert!(disk.status(folder.path()).unwrap().folder);
    assert_eq!(store.requests.load(Ordering::SeqCst), 0);
    // Another bucket is nobody's.
    let other = disk.open(Path::new("/s3:/other/x")).err().unwrap();
    assert_eq!(other.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_read_the_bucket_and_the_machine_through_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Faulty::default());
    let bucket = bucket(&store, folder.path());
    let (disk, files) = (bucket.disk(real()), bucket.files());
    let local = folder.path().join("local");
    fs::write(&local, b"0123456789").unwrap();
    tokio::task::spawn_blocking(move || {
        stage(&*disk, ".x.tmp", b"abcdefghij");
        disk.rename(&at(".x.tmp"), &at("x.parquet")).unwrap();
    })
    .await
    .unwrap();
    let local = Key::from_absolute_path(&local).unwrap();
    let remote = Key::from_absolute_path(at("x.parquet")).unwrap();
    for (key, whole) in [(&local, &b"0123456789"[..]), (&remote, b"abcdefghij")] {
        let got = files.get(key).await.unwrap();
        assert_eq!(got.meta.location, *key);
        assert_eq!(got.bytes().await.unwrap(), whole);
        let parts = files.get_ranges(key, &[1..3, 7..9]).await.unwrap();
        assert_eq!(parts, [&whole[1..3], &whole[7..9]]);
        assert_eq!(files.head(key).await.unwrap().size, 10);
    }
    assert!(files.put(&remote, "x".into()).await.is_err());
    assert!(files.delete(&remote).await.is_err());
}

/// Whether a store in memory holds nothing.
trait Empty {
    fn is_empty_now(&self) -> bool;
}

impl Empty for object_store::memory::InMemory {
    fn is_empty_now(&self) -> bool {
        use futures::StreamExt;
        use object_store::ObjectStore;
        futures::executor::block_on(self.list(None).next()).is_none()
    }
}
