//! The data folder, which one process uses at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use otlake_base::{Code, Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The folder, locked. The lock ends with the process whatever ends it, so a crash leaves
/// nothing to clean up; the file itself stays.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder where it is absent, and locks it.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_LOCKED`, `NODE_DIRECTORY_UNUSABLE`.
    pub fn open(root: &Path) -> Result<DataDir> {
        let unusable = |error: &dyn std::fmt::Display| {
            Error::new(
                Code::NodeDirectoryUnusable,
                format!("{}: {error}", root.display()),
            )
        };
        std::fs::create_dir_all(root).map_err(|error| unusable(&error))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join("LOCK"))
            .map_err(|error| unusable(&error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                // The number is for people; without it the message still says what is wrong.
                let _ = (&lock).take(32).read_to_string(&mut owner);
                let owner = owner.trim();
                let owner = if owner.is_empty() {
                    "another process"
                } else {
                    owner
                };
                return Err(Error::new(
                    Code::NodeDirectoryLocked,
                    format!("{} is in use by {owner}", root.display()),
                ));
            }
            Err(error) => return Err(unusable(&error)),
        }
        let owner = format!("process {}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(owner.as_bytes()))
            .map_err(|error| unusable(&error))?;
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

    /// The tables' folder.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }
}
