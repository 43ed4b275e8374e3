//! Reads every file of a data folder and tells what is damaged (I6). It takes no lock and writes
//! nothing, so it runs beside a node as well as without one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::checksum::Checked;
use otlake_base::disk::{Disk, read, real};
use otlake_base::{Code, DataFile, Error, Result, Table};
use otlake_catalog::verify as tables;
use otlake_log::verify as log;

use crate::data_dir::SAMPLING;
use crate::{blocking, dedupe};

/// What one file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, below the data folder.
    pub path: PathBuf,
    /// `segment`, `commit`, `file`, `window`, `decisions`, or `table` for a table whose files cannot be told.
    pub kind: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether it is whole.
    pub checked: Checked,
}

enum Item {
    Segment(usize),
    LogFile(PathBuf),
    DataFile(Table, PathBuf, Box<DataFile>),
    Window(PathBuf),
    /// What tail sampling has decided.
    Decisions(PathBuf),
    /// A table whose newest version cannot be read, and why.
    Unlisted(PathBuf, String),
}

/// A check of a data folder, file by file.
pub struct Verification {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    segments: Arc<Vec<log::Segment>>,
    items: std::vec::IntoIter<(Item, u64)>,
    total_bytes: u64,
}

impl Verification {
    /// Lists what there is to check.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_UNUSABLE` for a folder that holds no data of ours; `LOG_IO`, `TABLE_IO`.
    pub async fn plan(root: &Path) -> Result<Verification> {
        Self::plan_on(real(), root, &root.join("tables")).await
    }

    /// As `plan`, on a given disk, with the tables in a folder of their own.
    ///
    /// # Errors
    /// As `plan`.
    pub async fn plan_on(
        disk: Arc<dyn Disk>,
        root: &Path,
        tables_folder: &Path,
    ) -> Result<Verification> {
        let is_folder = |path: &Path| disk.status(path).is_ok_and(|status| status.folder);
        let length = |path: &Path| disk.status(path).map_or(0, |status| status.bytes);
        let log_folder = root.join("log");
        if !is_folder(&log_folder) && !is_folder(tables_folder) {
            return Err(Error::new(
                Code::NodeDirectoryUnusable,
                format!("{} holds neither a log nor tables", root.display()),
            ));
        }
        let segments = match is_folder(&log_folder) {
            true => log::segments(&*disk, &log_folder)?,
            false => Vec::new(),
        };
        let mut items: Vec<(Item, u64)> = segments
            .iter()
            .enumerate()
            .map(|(index, segment)| (Item::Segment(index), segment.bytes))
            .collect();
        for table in Table::ALL {
            let folder = tables_folder.join(table.name());
            if !is_folder(&folder) {
                continue;
            }
            let files = tables::log_files(&*disk, &folder)?.into_iter();
            items.extend(files.map(|(path, bytes)| (Item::LogFile(path), bytes)));
            match tables::data_files(Arc::clone(&disk), table, &folder).await {
                Ok(files) => items.extend(files.into_iter().map(|file| {
                    let bytes = file.size;
                    (Item::DataFile(table, folder.clone(), Box::new(file)), bytes)
                })),
                Err(error) => items.push((Item::Unlisted(folder, error.message), 0)),
            }
        }
        let windows = root.join("dedupe");
        for entry in disk.list(&windows).unwrap_or_default() {
            let path = windows.join(entry.name);
            if path.extension().is_some_and(|end| end == "window") {
                let bytes = length(&path);
                items.push((Item::Window(path), bytes));
            }
        }
        let decisions = root.join(SAMPLING);
        for entry in disk.list(&decisions).unwrap_or_default() {
            let path = decisions.join(entry.name);
            if path.extension().is_some_and(|end| end == "decisions") {
                let bytes = length(&path);
                items.push((Item::Decisions(path), bytes));
            }
        }
        Ok(Verification {
            root: root.to_owned(),
            segments: Arc::new(segments),
            total_bytes: items.iter().map(|(_, bytes)| bytes).sum(),
            items: items.into_iter(),
            disk,
        })
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Checks the next file; none after the last.
    ///
    /// # Errors
    /// `LOG_IO`, `TABLE_IO` where it cannot be read; the next call goes on behind it.
    pub async fn next(&mut self) -> Option<Result<Finding>> {
        let (item, bytes) = self.items.next()?;
        Some(self.check(item, bytes).await)
    }

    async fn check(&self, item: Item, bytes: u64) -> Result<Finding> {
        let disk = Arc::clone(&self.disk);
        let (path, kind, checked) = match item {
            Item::Segment(index) => {
                let segments = Arc::clone(&self.segments);
                let path = segments[index].path.clone();
                let checked =
                    blocking(move || log::check_segment(&*disk, &segments, index)).await?;
                (path, "segment", checked)
            }
            Item::LogFile(path) => {
                let file = path.clone();
                let checked = blocking(move || tables::check_log_file(&*disk, &file)).await?;
                (path, "commit", checked)
            }
            Item::DataFile(table, folder, file) => {
                let path = folder.join(&file.path);
                let (root, name) = (folder.clone(), file.path.clone());
                let checked =
                    blocking(move || tables::check_data_file(&*disk, &root, &file)).await?;
                let checked = match checked {
                    Checked::Gone if self.is_named(table, &folder, &name).await => {
                        Checked::Damaged("it is missing".to_owned())
                    }
                    checked => checked,
                };
                (path, "file", checked)
            }
            Item::Window(path) => {
                let file = path.clone();
                let check = |bytes: &[u8]| dedupe::decode(bytes).map(drop);
                let checked = blocking(move || check_small(&*disk, &file, check)).await?;
                (path, "window", checked)
            }
            Item::Decisions(path) => {
                let file = path.clone();
                let check = otlake_sample::check_journal;
                let checked = blocking(move || check_small(&*disk, &file, check)).await?;
                (path, "decisions", checked)
            }
            Item::Unlisted(path, message) => (path, "table", Checked::Damaged(message)),
        };
        let path = path
            .strip_prefix(&self.root)
            .map(Path::to_owned)
            .unwrap_or(path);
        Ok(Finding {
            path,
            kind,
            bytes,
            checked,
        })
    }

    /// Whether the newest version still names a file that is not there: compaction may have
    /// replaced it meanwhile.
    async fn is_named(&self, table: Table, folder: &Path, name: &str) -> bool {
        match tables::data_files(Arc::clone(&self.disk), table, folder).await {
            Ok(files) => files.iter().any(|file| file.path == name),
            Err(_) => true,
        }
    }
}

/// Checks a file that is read as a whole.
fn check_small(
    disk: &dyn Disk,
    path: &Path,
    check: impl Fn(&[u8]) -> std::result::Result<(), &'static str>,
) -> Result<Checked> {
    match read(disk, path) {
        Ok(bytes) => Ok(match check(&bytes) {
            Ok(()) => Checked::Whole,
            Err(what) => Checked::Damaged(what.to_owned()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Checked::Gone),
        Err(error) => Err(Error::new(
            Code::TableIo,
            format!("{}: {error}", path.display()),
        )),
    }
}
