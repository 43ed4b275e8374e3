//! Decisions on disk, where a restart finds them.
//!
//! ```text
//! <data>/sampling/<number, 16 hex>.decisions      one file after the other, the last one grows
//!   "OTLAKSMP" version:u32 zero:u32
//!   { count:u32 !count:u32 crc32c:u32  { key:u128 decision:u64 } * count } *     one block for each flush
//! ```
//!
//! Numbers are little-endian; a block's checksum covers its decisions, and its count stands there twice,
//! the second time with every bit turned: one that was damaged must not pass for a cut. A block is durable
//! before the flush that it is of commits, so one that a crash cut off was of no effect, and is passed
//! over. A file that holds a quarter of what is remembered is closed, and the oldest is deleted once those
//! after it hold as much as is remembered (I5).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::disk::{Disk, DiskFile, create_folders, existing_above, read};
use otlake_base::{Code, Error, Metrics, Result};

use crate::decisions::{Decision, Key};

const MAGIC: [u8; 8] = *b"OTLAKSMP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const BLOCK_BYTES: usize = 12;
const ENTRY_BYTES: usize = 24;
const EXTENSION: &str = "decisions";
/// The limit comes to a file so many times.
const FILES: usize = 4;
/// Beyond so many files, which many starts leave, they become one.
const MOST_FILES: usize = 4 * FILES;
/// What the counter of damaged files calls one.
const KIND: &str = "decisions";

type Entry = (Key, Decision);

/// The files.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    max: usize,
    /// Oldest first; the last is open if one is.
    files: VecDeque<File>,
    open: Option<Box<dyn DiskFile>>,
    next: u64,
}

struct File {
    path: PathBuf,
    entries: usize,
}

impl Journal {
    /// Hands what the folder holds to `found`, oldest first.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_UNUSABLE` where the folder cannot be made or read.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        max: usize,
        metrics: &Metrics,
        mut found: impl FnMut(Key, Decision),
    ) -> Result<Journal> {
        let unusable = |error: io::Error| {
            let text = format!("{}: {error}", folder.display());
            Error::new(Code::NodeDirectoryUnusable, text)
        };
        create_folders(&*disk, existing_above(&*disk, folder), folder).map_err(unusable)?;
        let mut numbers = Vec::new();
        for entry in disk.list(folder).map_err(unusable)? {
            match number_of(&entry.name) {
                Some(number) => numbers.push((number, folder.join(entry.name))),
                // What a crash left of making one file of several.
                None if entry.name.ends_with(".tmp") => {
                    disk.remove(&folder.join(entry.name)).map_err(unusable)?;
                }
                None => {}
            }
        }
        numbers.sort_unstable();
        let mut journal = Journal {
            disk,
            folder: folder.to_owned(),
            max: max.max(1),
            files: VecDeque::new(),
            open: None,
            next: numbers.last().map_or(1, |(number, _)| number + 1),
        };
        let (mut all, mut is_clean) = (Vec::new(), true);
        for (_, path) in numbers {
            let bytes = read(&*journal.disk, &path).map_err(unusable)?;
            let before = all.len();
            match entries(&bytes, &mut all) {
                Ok(End::Whole) => {}
                Ok(End::CutOff) => is_clean = false,
                Err(what) => {
                    is_clean = false;
                    metrics.damaged(KIND);
                    tracing::error!(
                        target: "otlake::sample", path = %path.display(),
                        "decisions of sampling are lost, and late spans of their traces are decided anew: {what}"
                    );
                }
            }
            let entries = all.len() - before;
            journal.files.push_back(File { path, entries });
        }
        for (key, decision) in &all {
            found(*key, *decision);
        }
        if !is_clean || journal.files.len() > MOST_FILES {
            let newest = &all[all.len().saturating_sub(journal.max)..];
            if let Err(error) = journal.replace(newest) {
                tracing::warn!(target: "otlake::sample", "files of decisions stay as they are: {error}");
            }
        }
        Ok(journal)
    }

    /// Makes one file of all.
    fn replace(&mut self, all: &[Entry]) -> io::Result<()> {
        let path = self.folder.join(name_of(self.next));
        let staged = path.with_extension("tmp");
        let mut file = self.disk.create(&staged)?;
        let (header, block) = (header(), block(all));
        file.write_all(&mut [IoSlice::new(&header), IoSlice::new(&block)])?;
        file.sync()?;
        drop(file);
        self.disk.rename(&staged, &path)?;
        self.disk.sync_folder(&self.folder)?;
        self.next += 1;
        for old in self.files.drain(..) {
            self.disk.remove(&old.path)?;
        }
        let entries = all.len();
        self.files.push_back(File { path, entries });
        Ok(())
    }

    /// Makes decisions durable.
    ///
    /// # Errors
    /// `TABLE_IO`; they may be appended again.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        self.write(entries).map_err(|error| {
            // What is behind a write that failed is not known: the next one begins a file.
            self.open = None;
            Error::new(Code::TableIo, format!("{}: {error}", self.folder.display()))
        })
    }

    fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        let block = block(entries);
        let mut slices = Vec::with_capacity(2);
        let header = header();
        let is_new = self.open.is_none();
        if is_new {
            let path = self.folder.join(name_of(self.next));
            self.next += 1;
            self.open = Some(self.disk.create(&path)?);
            self.files.push_back(File { path, entries: 0 });
            slices.push(IoSlice::new(&header));
        }
        slices.push(IoSlice::new(&block));
        if let Some(file) = &mut self.open {
            file.write_all(&mut slices)?;
            file.sync()?;
        }
        if is_new {
            self.disk.sync_folder(&self.folder)?;
        }
        if let Some(last) = self.files.back_mut() {
            last.entries += entries.len();
            if last.entries >= self.max.div_ceil(FILES) {
                self.open = None;
            }
        }
        self.trim();
        Ok(())
    }

    /// Deletes files of decisions that nobody remembers.
    fn trim(&mut self) {
        let mut held: usize = self.files.iter().map(|file| file.entries).sum();
        while let Some(oldest) = self.files.front()
            && self.files.len() > 1
            && held - oldest.entries >= self.max
        {
            match self.disk.remove(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(
                        target: "otlake::sample", path = %oldest.path.display(),
                        "a file of old decisions stays for now: {error}"
                    );
                    return;
                }
                _ => held -= oldest.entries,
            }
            self.files.pop_front();
        }
    }
}

fn name_of(number: u64) -> String {
    format!("{number:016x}.{EXTENSION}")
}

fn number_of(name: &str) -> Option<u64> {
    let (number, extension) = name.split_once('.')?;
    let is_ours = number.len() == 16 && extension == EXTENSION;
    u64::from_str_radix(number, 16).ok().filter(|_| is_ours)
}

fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header
}

fn block(entries: &[Entry]) -> Vec<u8> {
    let count = entries.len() as u32;
    let mut block = Vec::with_capacity(BLOCK_BYTES + entries.len() * ENTRY_BYTES);
    block.extend_from_slice(&count.to_le_bytes());
    block.extend_from_slice(&(!count).to_le_bytes());
    block.extend_from_slice(&[0; 4]);
    for (Key(key), decision) in entries {
        block.extend_from_slice(&key.to_le_bytes());
        block.extend_from_slice(&decision.number().to_le_bytes());
    }
    let crc = crc32c::crc32c(&block[BLOCK_BYTES..]);
    block[8..BLOCK_BYTES].copy_from_slice(&crc.to_le_bytes());
    block
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Within a block, as a crash leaves it.
    CutOff,
}

/// What a file of the folder `sampling` turned out to be: whole, or what is wrong with it.
///
/// # Errors
/// What is wrong.
pub fn check(bytes: &[u8]) -> std::result::Result<(), &'static str> {
    entries(bytes, &mut Vec::new()).map(drop)
}

fn entries(bytes: &[u8], into: &mut Vec<Entry>) -> std::result::Result<End, &'static str> {
    let header = header();
    let Some(mut rest) = bytes.strip_prefix(&header) else {
        return match header.starts_with(bytes) {
            true => Ok(End::CutOff),
            false if bytes.starts_with(&MAGIC) => Err("another version wrote it"),
            false => Err("it is not a file of decisions"),
        };
    };
    while !rest.is_empty() {
        let Some((head, behind)) = rest.split_at_checked(BLOCK_BYTES) else {
            return Ok(End::CutOff);
        };
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        if number(0) != !number(4) {
            return Err("a block's count is damaged");
        }
        let length = number(0) as usize * ENTRY_BYTES;
        let Some((block, behind)) = behind.split_at_checked(length) else {
            return Ok(End::CutOff);
        };
        if crc32c::crc32c(block) != number(8) {
            return Err("a block's checksum is wrong");
        }
        for entry in block.chunks_exact(ENTRY_BYTES) {
            let (key, decision) = entry.split_at(16);
            let key = u128::from_le_bytes(key.try_into().unwrap_or_default());
            let decision = u64::from_le_bytes(decision.try_into().unwrap_or_default());
            let decision = Decision::from_number(decision).ok_or("it decides what cannot be")?;
            into.push((Key(key), decision));
        }
        rest = behind;
    }
    Ok(End::Whole)
}
