//! One bit of one file, changed at rest.

use std::path::{Path, PathBuf};

use otlake_base::Code;
use otlake_base::checksum::BlockSums;
use otlake_base::invariant::Invariant;
use otlake_processor::Job;

use super::Driver;
use super::beginnings::FOLDER;
use super::check::{Look, Loss};
use crate::frames;
use crate::mutation::{self, Mutation};

/// What a file is, as far as its damage matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flipped {
    Segment,
    Data,
    Commit,
    Checkpoint,
    Window,
}

impl Flipped {
    const ALL: [Flipped; 5] = [
        Flipped::Segment,
        Flipped::Data,
        Flipped::Commit,
        Flipped::Checkpoint,
        Flipped::Window,
    ];

    fn of(path: &Path) -> Option<Flipped> {
        let name = path.file_name()?.to_str()?;
        if name.contains('#') {
            return None;
        }
        let in_log = path.parent()?.file_name()? == "_delta_log";
        match name.rsplit_once('.') {
            Some((_, "seg")) => Some(Flipped::Segment),
            Some((_, "window")) => Some(Flipped::Window),
            Some((_, "json")) if in_log => Some(Flipped::Commit),
            Some((_, "parquet" | "crc32c")) if in_log => Some(Flipped::Checkpoint),
            None if in_log && name == "_last_checkpoint" => Some(Flipped::Checkpoint),
            Some((_, "parquet")) => Some(Flipped::Data),
            _ => None,
        }
    }
}

impl Driver<'_> {
    /// Flips a bit while the node is down, of a kind of file and then of a file by chance, and
    /// looks whether it is told, and never served.
    pub(super) fn flip(&mut self) {
        let files = self.disk.files_below(Path::new(FOLDER));
        let of = |kind: Flipped| -> Vec<&(PathBuf, u64)> {
            let of_kind =
                |(path, bytes): &&(PathBuf, u64)| *bytes > 0 && Flipped::of(path) == Some(kind);
            files.iter().filter(of_kind).collect()
        };
        let mut kinds = Flipped::ALL.to_vec();
        kinds.retain(|kind| !of(*kind).is_empty());
        if kinds.is_empty() {
            return;
        }
        let kind = kinds[self.chance.below(kinds.len() as u64) as usize];
        let files = of(kind);
        let (path, bytes) = files[self.chance.below(files.len() as u64) as usize].clone();
        let whole = self.disk.bytes_of(&path).unwrap_or_default();
        self.report.flipped += 1;
        let upto = match kind {
            // Most of a segment is space set aside.
            Flipped::Segment if self.chance.per_mille(700) => {
                let last = frames::ranges(&whole).last().map(|range| range.end as u64);
                last.unwrap_or(bytes)
            }
            _ => bytes,
        };
        self.disk.flip(&path, self.chance.below(8 * upto));
        if kind == Flipped::Commit {
            self.undone();
        }
        self.skip_checksum(&path, kind, &whole);
        let commits_are_there = self.commits_are_there(&path);
        match (self.open_once(), kind) {
            (Ok(life), Flipped::Data) => {
                let look = Look::after_flip(Loss::Data(&path));
                self.compare(&life, look);
                // Nor do its rows get into another file, with checksums that fit.
                if self.job_alone(&life, Job::Compact, true) {
                    self.compare(&life, look);
                }
            }
            (Ok(life), Flipped::Segment) => {
                self.compare(&life, Look::after_flip(Loss::OneRequest));
            }
            // What a checkpoint says, commits say too; a commit below one is not read any more;
            // and what a window of resends loses is not told from new requests.
            (Ok(life), _) => self.compare(&life, Look::after_flip(Loss::None)),
            (Err(error), Flipped::Commit) if error.code == Code::TableCorrupt => {}
            (Err(error), Flipped::Checkpoint)
                if error.code == Code::TableCorrupt && !commits_are_there => {}
            (Err(error), _) => {
                let what = format!("after a bit of {}: {error}", path.display());
                self.broken(Invariant::I6Detected, what);
            }
        }
        self.disk.crash_in(0);
    }

    /// Gives what was flipped checksums that fit, where that is what is broken on purpose.
    fn skip_checksum(&mut self, path: &Path, kind: Flipped, whole: &[u8]) {
        let Some(flipped) = self.disk.bytes_of(path) else {
            return;
        };
        match (self.mutation, kind) {
            (Mutation::SkipChecksum, Flipped::Segment) => {
                self.disk.replace(path, frames::reseal(flipped));
            }
            (Mutation::SkipFileChecksum, Flipped::Data) => {
                let old = BlockSums::of(whole).to_text();
                let new = BlockSums::of(&flipped).to_text();
                for (commit, _) in self.disk.files_below(Path::new(FOLDER)) {
                    let bytes = self.disk.bytes_of(&commit).unwrap_or_default();
                    if mutation::is_commit(&commit)
                        && let Some(reworded) = mutation::reworded(&bytes, &old, &new)
                    {
                        self.disk.replace(&commit, reworded);
                    }
                }
            }
            (Mutation::SkipCommitChecksum, Flipped::Commit) => {
                if let Some(sealed) = mutation::reseal(flipped) {
                    self.disk.replace(path, sealed);
                }
            }
            (Mutation::SkipCheckpointChecksum, Flipped::Checkpoint) => {
                let name = path.file_name().and_then(|name| name.to_str());
                let beside = path.with_file_name(format!(".{}.crc32c", name.unwrap_or_default()));
                let sums = BlockSums::of(&flipped).to_text();
                let sums = format!("{} {sums}\n", flipped.len());
                self.disk.replace(&beside, sums.into_bytes());
            }
            _ => {}
        }
    }

    /// Whether the log that a file of a table's log is in still has every commit from the first.
    fn commits_are_there(&self, path: &Path) -> bool {
        let first = path.with_file_name(format!("{:020}.json", 0));
        self.disk.bytes_of(&first).is_some()
    }
}
