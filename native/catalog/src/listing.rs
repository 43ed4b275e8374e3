//! What the folders of a disk hold, as an object store lists it: files by their whole path, in its
//! order, without those that are being written.

use std::io;
use std::path::Path as FsPath;

use chrono::DateTime;
use object_store::path::Path;
use object_store::{ObjectMeta, Result};
use otlake_base::disk::{Disk, Status};

use crate::durable_store::failed_at;

/// Files and folders.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<ObjectMeta>,
    pub(crate) folders: Vec<Path>,
}

/// What is told of a file.
pub(crate) fn meta_of(location: Path, status: &Status) -> ObjectMeta {
    let modified = i64::try_from(status.modified_unix_nano).unwrap_or(i64::MAX);
    ObjectMeta {
        location,
        last_modified: DateTime::from_timestamp_nanos(modified),
        size: status.bytes,
        e_tag: None,
        version: None,
    }
}

/// Whether a name ends in `#` and digits: a file that is not finished.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl Listing {
    /// A folder, which `prefix` names; nothing where there is none.
    pub(crate) fn one(disk: &dyn Disk, folder: &FsPath, prefix: &Path) -> Result<Listing> {
        let mut listing = Listing::default();
        let entries = match disk.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            entries => entries.map_err(|error| failed_at(prefix, error))?,
        };
        for entry in entries.iter().filter(|entry| !is_staged(&entry.name)) {
            let location = prefix.clone().join(entry.name.as_str());
            if entry.folder {
                listing.folders.push(location);
                continue;
            }
            match disk.status(&folder.join(&entry.name)) {
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed_at(&location, error)),
                Ok(status) => listing.objects.push(meta_of(location, &status)),
            }
        }
        listing.folders.sort();
        listing.objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listing)
    }

    /// A folder and all below it.
    pub(crate) fn all(disk: &dyn Disk, folder: &FsPath, prefix: Path) -> Result<Listing> {
        let mut all = Listing::default();
        let mut left = vec![(folder.to_path_buf(), prefix)];
        while let Some((folder, prefix)) = left.pop() {
            let one = Listing::one(disk, &folder, &prefix)?;
            for below in one.folders {
                if let Some(name) = below.filename() {
                    left.push((folder.join(name), below.clone()));
                }
            }
            all.objects.extend(one.objects);
        }
        all.objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(all)
    }
}
