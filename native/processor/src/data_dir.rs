//! The data folder, which one process uses at a time.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use otlake_base::disk::{Disk, create_durably, read};
use otlake_base::{Code, Error, Result};

/// The folder of what tail sampling has decided.
pub(crate) const SAMPLING: &str = "sampling";

/// Bytes of a lock file that a message repeats.
const OWNER_BYTES: usize = 32;

/// The folder, locked. The lock ends with the process whatever ends it, so a crash leaves
/// nothing to clean up; the file itself stays.
pub struct DataDir {
    root: PathBuf,
    _lock: Box<dyn Any + Send + Sync>,
}

impl DataDir {
    /// Creates the folder, durably, where it is absent, and locks it.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_LOCKED`, `NODE_DIRECTORY_UNUSABLE`.
    pub fn open(disk: &dyn Disk, root: &Path) -> Result<DataDir> {
        let unusable = |error: &dyn std::fmt::Display| unusable(root, error);
        create(disk, root)?;
        let path = root.join("LOCK");
        let owner = format!("process {}\n", std::process::id());
        let lock = match disk.lock(&path, &owner) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The number is for people; without it the message still says what is wrong.
                let owner = read(disk, &path).unwrap_or_default();
                let owner = String::from_utf8_lossy(&owner[..owner.len().min(OWNER_BYTES)]);
                let owner = match owner.trim() {
                    "" => "another process",
                    owner => owner,
                };
                return Err(Error::new(
                    Code::NodeDirectoryLocked,
                    format!("{} is in use by {owner}", root.display()),
                ));
            }
            Err(error) => return Err(unusable(&error)),
        };
        Ok(DataDir {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// The log's folder.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The folder of the windows that tell resends.
    pub fn dedupe(&self) -> PathBuf {
        self.root.join("dedupe")
    }

    /// The folder of what tail sampling has decided.
    pub fn sampling(&self) -> PathBuf {
        self.root.join(SAMPLING)
    }

    /// The tables' folder, where they are this node's alone.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }
}

/// Creates a folder, durably, where it is absent.
///
/// # Errors
/// `NODE_DIRECTORY_UNUSABLE`.
pub(crate) fn create(disk: &dyn Disk, folder: &Path) -> Result<()> {
    create_durably(disk, folder).map_err(|error| unusable(folder, &error))
}

fn unusable(folder: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        Code::NodeDirectoryUnusable,
        format!("{}: {error}", folder.display()),
    )
}
