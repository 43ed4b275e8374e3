//! Files, folders and names that survive a crash: a name is durable only once the folder that
//! holds it is synced, and the same goes for that folder's own name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes the names within a folder durable.
///
/// # Errors
/// What the file system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder and its missing parents, each durable in the one above.
///
/// # Errors
/// What the file system says.
pub fn create_dirs(dir: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut current = dir;
    while !current.is_dir() {
        missing.push(current.to_path_buf());
        match current.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => current = parent,
            _ => break,
        }
    }
    for folder in missing.iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => {}
            // Another task made it meanwhile; its name is synced below all the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent)?,
            _ => sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}
