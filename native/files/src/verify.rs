//! Reads every copy of a data folder and tells what is damaged (I6), and which files of tables are not
//! there. It takes no lock, writes nothing and asks no node, so it runs beside one as well as without.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use otlake_base::checksum::Checked;
use otlake_base::disk::Disk;
use otlake_base::{Code, DataFile, Error, Result, Table};
use otlake_catalog::verify::data_files;

use crate::inspect::Copies;
use crate::names::in_log;
use crate::runtime::{TokioRuntime, blocking};

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is on this disk.
    Here(Checked),
    /// It is not on this disk, and the newest version of its table names it: other nodes have it.
    Elsewhere,
}

/// What one file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its path below the folder of tables; of a table whose files cannot be told its name.
    pub key: String,
    /// `commit` for a file of a table's log, `file` for one that the newest version names, `unnamed` for
    /// one that it does not, `table` for a table whose files cannot be told.
    pub kind: &'static str,
    /// Its length in bytes; 0 where it is not here.
    pub bytes: u64,
    /// What it is.
    pub found: Found,
}

enum Item {
    Log,
    Named(Box<DataFile>),
    Unnamed,
    Absent,
    /// Why a table's files cannot be told.
    Unlisted(String),
}

struct Task {
    key: String,
    bytes: u64,
    item: Item,
    /// Whether it was found to be damaged before: a node that runs may have replaced it meanwhile.
    is_again: bool,
}

/// A check of a data folder's copies, file by file.
pub struct Verification {
    copies: Copies,
    tasks: VecDeque<Task>,
    total_bytes: u64,
}

fn unread(error: impl std::fmt::Display) -> Error {
    Error::new(Code::TableIo, format!("files: {error}"))
}

/// The files that a table's newest version names, in a data folder: of its own tables, or of a cluster's
/// whose nodes keep them. None where there is no such table.
///
/// # Errors
/// `TABLE_CORRUPT`, `TABLE_IO` where the version cannot be read.
pub async fn named_files(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    table: Table,
) -> Result<Vec<DataFile>> {
    let copies = Copies::of(Arc::clone(&disk), data_dir).map_err(unread)?;
    let (reading, tables) = match &copies {
        Some(copies) => (copies.standing(), copies.tables()),
        None => (Arc::clone(&disk), data_dir.join("tables")),
    };
    let folder = tables.join(table.name());
    match disk.status(&folder.join("_delta_log")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unread(error)),
        Ok(_) => data_files(reading, table, &folder).await,
    }
}

impl Verification {
    /// Lists what there is to check.
    ///
    /// # Errors
    /// `TABLE_IO`.
    pub async fn plan(copies: Copies) -> Result<Verification> {
        let listing = copies.clone();
        let keys = blocking(&TokioRuntime, move || listing.keys())
            .await
            .map_err(unread)?;
        let mut tasks = VecDeque::new();
        let mut named: BTreeMap<String, DataFile> = BTreeMap::new();
        for table in Table::ALL {
            let log = format!("{}/_delta_log/", table.name());
            if !keys.iter().any(|(key, _)| key.starts_with(&log)) {
                continue;
            }
            let folder = copies.tables().join(table.name());
            match data_files(copies.standing(), table, &folder).await {
                Ok(files) => named.extend(
                    files
                        .into_iter()
                        .map(|file| (format!("{}/{}", table.name(), file.path), file)),
                ),
                Err(error) => tasks.push_back(Task {
                    key: table.name().to_owned(),
                    bytes: 0,
                    item: Item::Unlisted(error.message),
                    is_again: false,
                }),
            }
        }
        for (key, bytes) in keys {
            let item = match (in_log(&key), named.remove(&key)) {
                (Some(_), _) => Item::Log,
                (None, Some(file)) => Item::Named(Box::new(file)),
                (None, None) => Item::Unnamed,
            };
            tasks.push_back(Task {
                key,
                bytes,
                item,
                is_again: false,
            });
        }
        tasks.extend(named.into_keys().map(|key| Task {
            key,
            bytes: 0,
            item: Item::Absent,
            is_again: false,
        }));
        Ok(Verification {
            copies,
            total_bytes: tasks.iter().map(|task| task.bytes).sum(),
            tasks,
        })
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Checks the next file; none after the last.
    ///
    /// # Errors
    /// `TABLE_IO` where it cannot be read; the next call goes on behind it.
    pub async fn next(&mut self) -> Option<Result<Finding>> {
        loop {
            let mut task = self.tasks.pop_front()?;
            let found = match self.check(&task).await {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            // Sums are replaced before the file that they are of: whoever came between looks again.
            if matches!(found, Found::Here(Checked::Damaged(_)))
                && matches!(task.item, Item::Log | Item::Named(_) | Item::Unnamed)
                && !task.is_again
            {
                task.is_again = true;
                self.tasks.push_back(task);
                continue;
            }
            let Task {
                key, bytes, item, ..
            } = task;
            return Some(Ok(Finding {
                key,
                kind: item.kind(),
                bytes,
                found,
            }));
        }
    }

    async fn check(&self, task: &Task) -> Result<Found> {
        let key = task.key.clone();
        match &task.item {
            Item::Absent => return Ok(Found::Elsewhere),
            Item::Unlisted(why) => return Ok(Found::Here(Checked::Damaged(why.clone()))),
            Item::Named(file) => {
                let (copies, file) = (self.copies.clone(), file.clone());
                let agrees = blocking(&TokioRuntime, move || {
                    Ok(match copies.sheet(&key) {
                        Ok(Some(sheet)) => {
                            let sums = file.sums.as_deref();
                            sheet.bytes == file.size && sums.is_none_or(|it| *it == sheet.blocks)
                        }
                        // What is wrong with it is found below.
                        _ => true,
                    })
                });
                if !agrees.await.map_err(unread)? {
                    let what = "it is another file than the table's log names";
                    return Ok(Found::Here(Checked::Damaged(what.to_owned())));
                }
            }
            Item::Log | Item::Unnamed => {}
        }
        let (copies, key) = (self.copies.clone(), task.key.clone());
        let checked = blocking(&TokioRuntime, move || copies.check(&key)).await;
        let checked = checked.map_err(|error| unread(format!("{}: {error}", task.key)))?;
        Ok(match (&task.item, checked) {
            // The node has let go of it since: it belongs on others.
            (Item::Named(_), Checked::Gone) => Found::Elsewhere,
            (_, checked) => Found::Here(checked),
        })
    }
}

impl Item {
    fn kind(&self) -> &'static str {
        match self {
            Item::Log => "commit",
            Item::Named(_) | Item::Absent => "file",
            Item::Unnamed => "unnamed",
            Item::Unlisted(_) => "table",
        }
    }
}
