use otlake_base::Code;
use otlake_base::disk::RealDisk;

use crate::DataDir;

#[test]
fn a_folder_is_one_process_s_until_it_lets_go() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("new/folder");
    let first = DataDir::open(&RealDisk, &path).expect("a new folder");
    let refused = DataDir::open(&RealDisk, &path)
        .err()
        .expect("the folder is taken");
    assert_eq!(refused.code, Code::NodeDirectoryLocked);
    assert!(
        refused.message.contains(&std::process::id().to_string()),
        "{}",
        refused.message
    );
    drop(first);
    DataDir::open(&RealDisk, &path).expect("the folder is free");
}

#[test]
fn what_cannot_be_a_folder_is_unusable() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("file");
    std::fs::write(&file, "taken").expect("a file");
    for path in [file.clone(), file.join("below")] {
        let refused = DataDir::open(&RealDisk, &path)
            .err()
            .expect("a file is no folder");
        assert_eq!(refused.code, Code::NodeDirectoryUnusable);
    }
}
