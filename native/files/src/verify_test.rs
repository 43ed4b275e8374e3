//! The check of a node's copies, beside the node and without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use otlake_base::checksum::Checked;
use otlake_base::disk::real;

use crate::records::{TABLE, at};
use crate::tables_test::{flush, open};
use crate::testing::{Nodes, eventually};
use crate::{Copies, Finding, Found, Verification, named_files};

const COMMITS: u64 = 4;

/// What is found of each copy, by its key.
async fn verify(folder: &Path) -> BTreeMap<String, Finding> {
    let copies = Copies::of(real(), folder).unwrap().expect("there are some");
    let mut verification = Verification::plan(copies).await.unwrap();
    let total = verification.total_bytes();
    let mut found = BTreeMap::new();
    while let Some(finding) = verification.next().await {
        let finding = finding.expect("it can be read");
        found.insert(finding.key.clone(), finding);
    }
    assert_eq!(found.values().map(|each| each.bytes).sum::<u64>(), total);
    found
}

fn is_damaged(finding: &Finding) -> bool {
    matches!(finding.found, Found::Here(Checked::Damaged(_)))
}

fn commit(version: u64) -> String {
    format!("{}/_delta_log/{version:020}.json", TABLE.name())
}

/// Three nodes with a table of some commits, which are on every disk; the files that it names, and its
/// version.
async fn filled() -> (Nodes, Vec<String>, u64) {
    let nodes = Nodes::start().await;
    let n1 = open(&nodes["n1"]).await;
    for sequence in 1..=COMMITS {
        flush(&n1, &[at(1, sequence)]).await;
    }
    let snapshot = n1.table.snapshot();
    let version = snapshot.version as u64;
    let named = snapshot.files.iter();
    let named = named.map(|file| format!("{}/{}", TABLE.name(), file.path));
    let named: Vec<String> = named.collect();
    assert_eq!(named.len() as u64, COMMITS);
    let is_there = |folder: &Path, key: &str| {
        let files = folder.join("files");
        files.join("sums").join(key).exists() && files.join("tables").join(key).exists()
    };
    eventually("the log is on every disk", || async {
        let has_all = |folder| (0..=version).all(|version| is_there(folder, &commit(version)));
        nodes.running().all(|node| has_all(&node.folder))
    })
    .await;
    eventually("every file is on two disks", || async {
        named.iter().all(|key| {
            let holders = nodes.running().filter(|node| is_there(&node.folder, key));
            holders.count() >= 2
        })
    })
    .await;
    (nodes, named, version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn i6_beside_nodes_all_copies_are_whole_and_what_only_others_have_is_told_apart() {
    let (nodes, named, _) = filled().await;
    // One that the node thinks it has, and whose disk does not.
    let lost = &named[0];
    for folder in ["tables", "sums"] {
        let path = nodes["n1"].folder.join("files").join(folder).join(lost);
        fs::remove_file(path).unwrap();
    }
    for node in nodes.running() {
        let found = verify(&node.folder).await;
        assert!(!found.values().any(is_damaged), "{found:?}");
        for key in &named {
            let finding = &found[key];
            assert_eq!(finding.kind, "file");
            // A copy can come meanwhile, and none goes.
            if !node.copy(key).exists() {
                assert_eq!(finding.found, Found::Elsewhere, "{key}");
            }
        }
        let whole = Found::Here(Checked::Whole);
        assert_eq!(found[&commit(1)].found, whole);
        assert_eq!(found[&commit(1)].kind, "commit");
        let told = named_files(real(), &node.folder, TABLE).await.unwrap();
        assert_eq!(told.len(), named.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn i6_a_flipped_bit_of_a_copy_or_of_what_it_is_checked_by_is_found_and_named() {
    let (mut nodes, named, version) = filled().await;
    nodes.stop("n1").await;
    let folder = nodes.folder("n1");
    assert!(!verify(&folder).await.values().any(is_damaged));
    for key in [&named[1], &commit(2), &commit(version)] {
        for kind in ["tables", "sums"] {
            let path = folder.join("files").join(kind).join(key);
            let whole = fs::read(&path).unwrap();
            for at in [0, whole.len() / 2, whole.len() - 1] {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x08;
                fs::write(&path, flipped).unwrap();
                let found = verify(&folder).await;
                let damaged = found.values().filter(|found| is_damaged(found));
                let damaged: Vec<&str> = damaged.map(|found| found.key.as_str()).collect();
                assert_eq!(damaged, [key.as_str()], "{kind}, byte {at}");
                fs::write(&path, &whole).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_that_is_still_to_come_hides_those_behind_it_and_none_before() {
    let (mut nodes, named, version) = filled().await;
    nodes.stop("n1").await;
    let folder = nodes.folder("n1");
    for kind in ["tables", "sums"] {
        fs::remove_file(folder.join("files").join(kind).join(commit(version - 1))).unwrap();
    }
    // What is being written, and what has no name, is nobody's.
    let log = folder
        .join("files/tables")
        .join(TABLE.name())
        .join("_delta_log");
    fs::write(log.join(".part-00"), b"half").unwrap();
    fs::write(log.join(".staged-00"), b"{}").unwrap();
    let found = verify(&folder).await;
    assert!(!found.values().any(is_damaged), "{found:?}");
    let of = |kind: &str| {
        let found = named.iter().filter_map(|key| found.get(key));
        found.filter(|found| found.kind == kind).count() as u64
    };
    assert_eq!(of("file") + of("unnamed"), COMMITS);
    assert!(of("unnamed") > 0 && of("file") > 0, "{found:?}");
    let told = named_files(real(), &folder, TABLE).await.unwrap();
    assert_eq!(told.len() as u64, of("file"));
}

#[tokio::test]
async fn a_data_folder_without_copies_has_none_and_no_node_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Copies::of(real(), folder.path()).unwrap().is_none());
    let named = named_files(real(), folder.path(), TABLE).await.unwrap();
    assert!(named.is_empty());
    fs::create_dir_all(folder.path().join("files/tables/spans")).unwrap();
    let copies = Copies::of(real(), folder.path()).unwrap().expect("copies");
    assert!(!copies.are_open().unwrap());
    let lock = real().lock(&folder.path().join("files/LOCK"), "a node");
    assert!(copies.are_open().unwrap());
    drop(lock);
    assert!(!copies.are_open().unwrap());
}
