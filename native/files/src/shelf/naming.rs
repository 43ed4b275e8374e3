//! How contents get their names, so that wherever the machine goes down each is there whole, under its
//! name or as it was before.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use otlake_base::disk::{Status, read};

use super::{Held, Shelf, Writing, is_damage};
use crate::names::{NEXT, PART, STAGED, split};
use crate::sheet::Sheet;

impl Shelf {
    /// Gives a written file its name, with what it is checked by. Durable when this returns.
    pub(super) fn name(&self, mut writing: Writing, sheet: &Sheet, key: &str) -> io::Result<()> {
        let (folder, name) = split(key);
        let sums = self.folder(&self.sums(), folder)?;
        let replaces = self.held(key).is_some();
        let beside = match replaces {
            true => sums.join(format!("{NEXT}{name}")),
            false => sums.join(name),
        };
        let staged = sums.join(format!("{PART}{:032x}", self.disk.unique(&sums)));
        let written = (|| {
            let mut file = self.disk.create(&staged)?;
            file.write_all(&mut [IoSlice::new(sheet.to_text().as_bytes())])?;
            file.sync()?;
            drop(file);
            self.disk.rename(&staged, &beside)
        })();
        if written.is_err() {
            let _ = self.disk.remove(&staged);
        }
        written?;
        self.disk.sync_folder(&sums)?;
        let files = self.files().join(folder);
        writing.file = None;
        self.disk.rename(&writing.path, &files.join(name))?;
        writing.is_kept = true;
        self.disk.sync_folder(&files)?;
        if replaces {
            self.disk.rename(&beside, &sums.join(name))?;
            self.disk.sync_folder(&sums)?;
        }
        Ok(())
    }

    /// Gives a content of a log its name. False where it is not there, or damaged. Until it has its name,
    /// durably, it is there as it was: nobody else may have it, and its name may be decided.
    pub(crate) fn promote(&self, folder: &str, sum: u128, name: &str) -> io::Result<bool> {
        if !self.is_staged(folder, sum) {
            return Ok(false);
        }
        let staged = format!("{STAGED}{sum:032x}");
        let Some(sheet) = self.staged_sheet(folder, sum)? else {
            self.unstage(folder, sum)?;
            return Ok(false);
        };
        let key = format!("{folder}/{name}");
        let (sums, files) = (self.sums().join(folder), self.files().join(folder));
        let replaces = self.held(&key).is_some();
        let beside = match replaces {
            true => sums.join(format!("{NEXT}{name}")),
            false => sums.join(name),
        };
        self.link(&sums.join(&staged), &beside)?;
        self.disk.sync_folder(&sums)?;
        match self.disk.rename(&files.join(&staged), &files.join(name)) {
            // An attempt that failed behind this has done it.
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && self.is_content(&files.join(name), &sheet)? => {}
            renamed => renamed?,
        }
        self.disk.sync_folder(&files)?;
        if replaces {
            self.disk.rename(&beside, &sums.join(name))?;
            self.disk.sync_folder(&sums)?;
        }
        // What stays of it goes with the next start.
        let _ = self.disk.remove(&sums.join(&staged));
        let mut index = self.index.lock();
        index.staged.remove(&(folder.to_owned(), sum));
        let held = Held {
            bytes: sheet.bytes,
            sum: Some(sum),
            is_damaged: false,
        };
        let before = index.files.insert(key.clone(), held);
        index.bytes = index.bytes + held.bytes - before.map_or(0, |before| before.bytes);
        self.told(&index);
        drop(index);
        self.cache(&key, &sheet);
        Ok(true)
    }

    /// Gives a file a second name, in place of what an attempt that failed has left under it.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.disk.link(from, to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if read(&*self.disk, from)? == read(&*self.disk, to)? {
                    return Ok(());
                }
                self.disk.remove(to)?;
                self.disk.link(from, to)
            }
            linked => linked,
        }
    }

    /// A process that was killed has left names in the page cache: others may hear of them only once they
    /// are durable.
    pub(super) fn sync_names(
        &self,
        sums: &BTreeSet<String>,
        files: &[(String, Status)],
    ) -> io::Result<()> {
        let files = files.iter().map(|(key, _)| key.as_str());
        for (root, folders) in [
            (self.sums(), folders_of(sums.iter().map(String::as_str))),
            (self.files(), folders_of(files)),
        ] {
            for folder in folders {
                self.disk.sync_folder(&root.join(folder))?;
            }
        }
        Ok(())
    }

    /// Where a content was about to replace another when the machine went down: has the sums be those of
    /// the one that is there.
    pub(super) fn finish_replacing(&self, sums: &mut BTreeSet<String>) -> io::Result<()> {
        let next: Vec<String> = sums
            .iter()
            .filter(|key| split(key).1.starts_with(NEXT))
            .cloned()
            .collect();
        for key in next {
            sums.remove(&key);
            let (folder, name) = split(&key);
            let named = format!("{folder}/{}", &name[NEXT.len()..]);
            let path = self.sums().join(&key);
            let sheet = match read(&*self.disk, &path) {
                Ok(text) => Sheet::from_text(&String::from_utf8_lossy(&text)),
                Err(error) => Err(error),
            };
            let is_there = match sheet {
                Ok(sheet) => self.is_content(&self.files().join(&named), &sheet)?,
                Err(error) if is_damage(&error) => false,
                Err(error) => return Err(error),
            };
            match is_there {
                true => {
                    self.disk.rename(&path, &self.sums().join(&named))?;
                    self.disk.sync_folder(&self.sums().join(folder))?;
                    sums.insert(named);
                }
                false => self.disk.remove(&path)?,
            }
        }
        Ok(())
    }

    /// Whether a file has the content that a sheet is of.
    fn is_content(&self, path: &Path, sheet: &Sheet) -> io::Result<bool> {
        match self.disk.status(path) {
            Ok(status) if status.bytes != sheet.bytes => return Ok(false),
            Ok(_) => {}
            Err(error) if is_damage(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.checked(path, sheet, &(0..sheet.bytes)) {
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The folders that keys are in, and all above them up to the root, whose name is empty.
fn folders_of<'a>(keys: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut folders = BTreeSet::from([String::new()]);
    for key in keys {
        let mut folder = split(key).0;
        while !folder.is_empty() && folders.insert(folder.to_owned()) {
            folder = split(folder).0;
        }
    }
    folders
}
