//! What the folders of a disk hold, as an object store lists it: files by their whole path, in its
//! order, without those that are being written.

use std::io;
use std::path::Path as FsPath;

use chrono::DateTime;
use object_store::path::Path;
use object_store::{ObjectMeta, Result};
use otlake_base::disk::{Disk, Status};

use crate::durable_store::{failed, failed_at};

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
        let listed = match disk.list_with_status(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            listed => listed.map_err(|error| failed_at(prefix, error))?,
        };
        for (name, status) in listed.iter().filter(|(name, _)| !is_staged(name)) {
            let location = prefix.clone().join(name.as_str());
            match status.folder {
                true => listing.folders.push(location),
                false => listing.objects.push(meta_of(location, status)),
            }
        }
        listing.folders.sort();
        listing.objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(listing)
    }

    /// The files of a folder, which `prefix` names, and of all below it that come after `offset`.
    pub(crate) fn all(
        disk: &dyn Disk,
        folder: &FsPath,
        prefix: &Path,
        offset: &Path,
    ) -> Result<Vec<ObjectMeta>> {
        let below = match prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        // An offset that is not in the folder comes before all of it, or after.
        let after = match offset.as_ref().strip_prefix(&below) {
            Some(after) => after,
            None if offset.as_ref() < below.as_str() => "",
            None => return Ok(Vec::new()),
        };
        let listed = disk.walk(folder, after);
        let listed = listed.map_err(|error| failed_at(prefix, error))?;
        let mut objects = Vec::with_capacity(listed.len());
        for (name, status) in listed.iter().filter(|(name, _)| !is_staged(name)) {
            let location = Path::parse(format!("{below}{name}")).map_err(failed)?;
            objects.push(meta_of(location, status));
        }
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }
}
