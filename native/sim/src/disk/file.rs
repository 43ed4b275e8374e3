//! An open file of a simulated disk, and a lock.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use otlake_base::Clock;
use otlake_base::disk::DiskFile;

use super::{SimDisk, State, down, eio};
use crate::chance::Chance;
use crate::faults::Fault;
use crate::mutation::{self, Mutation};
use crate::volume::Id;

const SECTOR_BYTES: u64 = 512;

pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let path = &self.path;
        self.disk.state.lock().locks.retain(|locked| locked != path);
    }
}

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) id: Id,
    pub(super) at: usize,
}

impl SimFile {
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut State, Option<Fault>, Chance) -> (io::Result<T>, u64),
    ) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        let (fault, chance) = state.begin(operation, &self.path, &self.disk.clock)?;
        let (outcome, figure) = work(&mut state, fault, chance);
        state.end(operation, &self.path, &outcome, figure);
        outcome
    }
}

/// Whether lengths of this file are the same in each run of a seed: Delta's own files hold ids
/// that its library draws.
fn is_told(path: &Path) -> bool {
    !path
        .components()
        .any(|part| part.as_os_str() == "_delta_log")
}

impl DiskFile for SimFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter())
            .copied()
            .collect();
        let now = self.disk.clock.unix_nano();
        let (id, at) = (self.id, self.at);
        let told = is_told(&self.path);
        let written = self.with("write", |state, fault, mut chance| {
            let length = bytes.len() as u64;
            let sector = |upto: u64| {
                // Errors fall between sectors, not within one.
                let end = (at as u64 + upto) / SECTOR_BYTES * SECTOR_BYTES;
                end.saturating_sub(at as u64)
            };
            let take = match fault {
                None => length,
                Some(Fault::Error) => sector(chance.below(length + 1)),
                // Some of it, but not nothing.
                Some(Fault::Short) => match sector(chance.below(length + 1)) {
                    0 => length,
                    part => part,
                },
            };
            let part = &bytes[..take.min(length) as usize];
            let outcome = match state.volume.write(id, at, part, now) {
                Ok(_) if matches!(fault, Some(Fault::Error)) => Err(eio()),
                Ok(0) if !part.is_empty() => Err(io::ErrorKind::StorageFull.into()),
                outcome => outcome,
            };
            let figure = outcome.as_ref().map_or(0, |written| *written as u64);
            (outcome, if told { figure } else { 0 })
        })?;
        self.at += written;
        Ok(written)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state.lock();
        if state.crashed {
            return Err(down());
        }
        let file = state.volume.file(self.id)?;
        let from = file.cache.len().min(at as usize);
        let read = into.len().min(file.cache.len() - from);
        into[..read].copy_from_slice(&file.cache[from..from + read]);
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        if state.crashed {
            return Err(down());
        }
        Ok(state.volume.file(self.id)?.cache.len() as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (id, path) = (self.id, self.path.clone());
        let is_segment = path.extension().is_some_and(|end| end == "seg");
        self.with("sync", |state, fault, mut chance| {
            let outcome = match (fault, state.mutation) {
                (_, Mutation::AcknowledgeBeforeSync) if is_segment => Ok(()),
                (None, mutation) => {
                    if let Ok(file) = state.volume.file(id)
                        && let Some(forgetful) = mutation::forgetful(mutation, &path, &file.cache)
                    {
                        let _ = state.volume.replace(id, forgetful);
                    }
                    state.volume.sync(id)
                }
                (Some(_), mutation) => {
                    let failed = state.volume.fail_sync(id, &mut chance);
                    match mutation {
                        // The second one finds clean pages and is content.
                        Mutation::RetrySync if is_segment => state.volume.sync(id),
                        _ => failed.and(Err(eio())),
                    }
                }
            };
            (outcome, 0)
        })
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        let id = self.id;
        self.with("allocate", |state, fault, _| {
            let outcome = match fault {
                Some(_) => Err(eio()),
                None => state.volume.resize(id, bytes),
            };
            (outcome, bytes)
        })
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let id = self.id;
        self.with("truncate", |state, fault, _| {
            let outcome = match fault {
                Some(_) => Err(eio()),
                None => state.volume.resize(id, bytes),
            };
            (outcome, bytes)
        })
    }
}
