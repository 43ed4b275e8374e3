//! One bit of one file, changed at rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::checksum::{BlockSums, Checked};
use otlake_base::invariant::Invariant;
use otlake_base::{Code, Error};
use otlake_processor::{Job, Verification};

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
        // A checksum that fits is not for a verification to doubt.
        let named = self.mutation != Mutation::None || self.named(&path);
        let must = match kind {
            Flipped::Commit | Flipped::Window => true,
            Flipped::Checkpoint => self.is_checked(&path),
            // Only as far as something is lost by it: below.
            Flipped::Segment | Flipped::Data => false,
        };
        if must && !named {
            self.unnamed(&path);
        }
        match (self.open_once(), kind) {
            (Ok(life), Flipped::Data) => {
                if self.names(&life, &path) && !named {
                    self.unnamed(&path);
                }
                let look = Look::after_flip(Loss::Data(&path));
                self.compare(&life, look);
                // Nor do its rows get into another file, with checksums that fit.
                if self.job_alone(&life, Job::Compact, true) {
                    self.compare(&life, look);
                }
            }
            (Ok(life), Flipped::Segment) => {
                let lost = self.compare(&life, Look::after_flip(Loss::OneRequest));
                if lost > 0 && !named {
                    self.unnamed(&path);
                }
            }
            // What a checkpoint says, the one before it and commits say too, so it keeps nobody
            // out. A commit below one is not read any more. What a window of resends loses is not
            // told from new requests.
            (Ok(life), _) => {
                self.compare(&life, Look::after_flip(Loss::None));
            }
            (Err(error), Flipped::Commit) if error.code == Code::TableCorrupt => {}
            (Err(error), _) => {
                let what = format!("after a bit of {}: {error}", path.display());
                self.broken(Invariant::I6Detected, what);
            }
        }
        self.disk.crash_in(0);
    }

    fn unnamed(&mut self, path: &Path) {
        let what = format!("verification does not name {}", path.display());
        self.broken(Invariant::I6Detected, what);
    }

    /// Whether a verification of the folder names the file, or the one that it holds the checksums
    /// of.
    fn named(&mut self, path: &Path) -> bool {
        let damaged = self.verify();
        damaged.iter().any(|named| named == &checked_by(path))
    }

    /// The files that a verification of the folder calls damaged.
    pub(super) fn verify(&mut self) -> Vec<PathBuf> {
        let disk = Arc::new(self.disk.clone());
        let found = self.runtime.block_on(async {
            let root = Path::new(FOLDER);
            let mut verification = Verification::plan_on(disk, root, &root.join("tables")).await?;
            let mut damaged = Vec::new();
            while let Some(finding) = verification.next().await {
                let finding = finding?;
                if matches!(finding.checked, Checked::Damaged(_)) {
                    damaged.push(root.join(finding.path));
                }
            }
            Ok::<_, Error>(damaged)
        });
        found.unwrap_or_else(|error| {
            self.broken(Invariant::I6Detected, format!("a verification: {error}"));
            Vec::new()
        })
    }

    /// Whether a file of a table's log and its checksums are both there.
    fn is_checked(&self, path: &Path) -> bool {
        let file = checked_by(path);
        let name = file.file_name().and_then(|name| name.to_str());
        let sums = file.with_file_name(format!(".{}.crc32c", name.unwrap_or_default()));
        self.disk.bytes_of(&file).is_some() && self.disk.bytes_of(&sums).is_some()
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
}

/// The file that a file of checksums stands beside; another file itself.
fn checked_by(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    let of = name
        .and_then(|name| name.strip_prefix('.'))
        .and_then(|name| name.strip_suffix(".crc32c"));
    of.map_or(path.to_path_buf(), |of| path.with_file_name(of))
}
