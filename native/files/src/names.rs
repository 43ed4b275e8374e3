//! Which names there are: data files by their paths, and the files of tables' logs.

use std::io;

use object_store::path::Path;

/// The folder of a table's log.
const LOG: &str = "_delta_log";
/// What the name of a content begins with that has none yet, before its sum.
pub(crate) const STAGED: &str = ".staged-";
/// What the name of a file begins with that is being written.
pub(crate) const PART: &str = ".part-";
/// What stands before the name of a file whose content is about to be replaced, where its sums wait.
pub(crate) const NEXT: &str = ".next-";

/// The folder and the name of a key.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// The folder and the name, of a file of a table's log.
pub(crate) fn in_log(key: &str) -> Option<(&str, &str)> {
    let (folder, name) = split(key);
    is_log(folder).then_some((folder, name))
}

/// Whether a folder is that of a table's log.
pub(crate) fn is_log(folder: &str) -> bool {
    split(folder).1 == LOG
}

/// Whether a name is one of a data file. There are no others beside those of logs: what asks for one
/// asks for a folder.
pub(crate) fn is_data(key: &str) -> bool {
    in_log(key).is_none() && key.ends_with(".parquet")
}

/// Checks a key that another node named: it must stay below the folder of files.
pub(crate) fn checked(key: &str) -> io::Result<()> {
    let name = split(key).1;
    let is_own = [STAGED, PART, NEXT].iter().any(|own| name.starts_with(own));
    let is_plain = Path::parse(key).is_ok_and(|path| path.as_ref() == key);
    match is_plain && !is_own && !key.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{key}` is no name of a file"),
        )),
    }
}
