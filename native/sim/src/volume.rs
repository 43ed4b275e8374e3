//! Files and folders in two states: what programs see, and what a power cut leaves.
//!
//! ```text
//! file     cache: bytes as written      durable: bytes as last synced     dirty: pages between
//! folder   now: names as programs see   durable: names as last synced     pending: changes between
//! ```
//!
//! A power cut keeps what is durable and, of the rest, what chance gives: whole pages, sectors of
//! a page, none; changes of names up to one, some of them, none. A kill of the process keeps all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use crate::chance::Chance;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// Number of a file or folder on its volume.
pub type Id = usize;

#[derive(Clone, Debug, Default)]
pub struct FileNode {
    pub cache: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    links: usize,
    pub modified: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Add(String, Id),
    Remove(String),
    Rename(String, String, Id),
}

#[derive(Clone, Debug, Default)]
pub struct FolderNode {
    pub now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
pub enum Node {
    File(FileNode),
    Folder(FolderNode),
}

/// One file system.
#[derive(Clone, Debug)]
pub struct Volume {
    nodes: Vec<Node>,
    /// Bytes that can still be taken; None: as many as one likes.
    pub free: Option<u64>,
}

const ROOT: Id = 0;

fn error<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

/// The folder that holds the name, and the name.
fn split(path: &Path) -> io::Result<(&Path, &str)> {
    match (path.parent(), path.file_name().and_then(OsStr::to_str)) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => error(io::ErrorKind::InvalidInput),
    }
}

impl Default for Volume {
    fn default() -> Self {
        Volume {
            nodes: vec![Node::Folder(FolderNode::default())],
            free: None,
        }
    }
}

impl Volume {
    pub fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let Node::Folder(folder) = &self.nodes[id] else {
                return error(io::ErrorKind::NotADirectory);
            };
            let found = name.to_str().and_then(|name| folder.now.get(name));
            id = *found.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    /// What a power cut surely leaves of a file; none where it may leave none.
    pub fn durable(&self, path: &Path) -> Option<&[u8]> {
        let mut id = ROOT;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let Node::Folder(folder) = &self.nodes[id] else {
                return None;
            };
            id = *folder.durable.get(name.to_str()?)?;
        }
        match &self.nodes[id] {
            Node::File(file) => Some(&file.durable),
            Node::Folder(_) => None,
        }
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub fn file(&self, id: Id) -> io::Result<&FileNode> {
        match &self.nodes[id] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => error(io::ErrorKind::IsADirectory),
        }
    }

    fn file_mut(&mut self, id: Id) -> io::Result<&mut FileNode> {
        match &mut self.nodes[id] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => error(io::ErrorKind::IsADirectory),
        }
    }

    pub fn folder(&self, path: &Path) -> io::Result<&FolderNode> {
        match &self.nodes[self.find(path)?] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => error(io::ErrorKind::NotADirectory),
        }
    }

    fn folder_mut(&mut self, path: &Path) -> io::Result<&mut FolderNode> {
        let id = self.find(path)?;
        match &mut self.nodes[id] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => error(io::ErrorKind::NotADirectory),
        }
    }

    /// Takes bytes of the free ones: as many as there are.
    fn take(&mut self, bytes: u64) -> u64 {
        let Some(free) = &mut self.free else {
            return bytes;
        };
        let taken = bytes.min(*free);
        *free -= taken;
        taken
    }

    fn give(&mut self, bytes: u64) {
        if let Some(free) = &mut self.free {
            *free += bytes;
        }
    }

    /// Gives a new node a name.
    pub fn add(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        let (parent, name) = split(path)?;
        if self.folder(parent)?.now.contains_key(name) {
            return error(io::ErrorKind::AlreadyExists);
        }
        if self.free == Some(0) {
            return error(io::ErrorKind::StorageFull);
        }
        let id = self.nodes.len();
        self.nodes.push(node);
        self.name(parent, name, id)?;
        Ok(id)
    }

    fn name(&mut self, parent: &Path, name: &str, id: Id) -> io::Result<()> {
        let folder = self.folder_mut(parent)?;
        folder.now.insert(name.to_owned(), id);
        folder.pending.push(Change::Add(name.to_owned(), id));
        if let Node::File(file) = &mut self.nodes[id] {
            file.links += 1;
        }
        Ok(())
    }

    pub fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        self.file(id)?;
        let (parent, name) = split(to)?;
        if self.folder(parent)?.now.contains_key(name) {
            return error(io::ErrorKind::AlreadyExists);
        }
        self.name(parent, name, id)
    }

    fn unlink(&mut self, id: Id) {
        let mut freed = 0;
        if let Node::File(file) = &mut self.nodes[id] {
            file.links -= 1;
            if file.links == 0 {
                freed = file.cache.len() as u64;
            }
        }
        self.give(freed);
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let ((parent, old), (other, new)) = (split(from)?, split(to)?);
        if parent != other {
            return error(io::ErrorKind::CrossesDevices);
        }
        let folder = self.folder_mut(parent)?;
        folder.now.remove(old);
        let replaced = folder.now.insert(new.to_owned(), id);
        folder
            .pending
            .push(Change::Rename(old.to_owned(), new.to_owned(), id));
        if let Some(replaced) = replaced {
            self.unlink(replaced);
        }
        Ok(())
    }

    /// Removes a name, of a file or of an empty folder as `of_folder` says.
    pub fn remove(&mut self, path: &Path, of_folder: bool) -> io::Result<()> {
        let id = self.find(path)?;
        match &self.nodes[id] {
            Node::Folder(folder) if of_folder && folder.now.is_empty() => {}
            Node::Folder(_) if of_folder => return error(io::ErrorKind::DirectoryNotEmpty),
            Node::Folder(_) => return error(io::ErrorKind::IsADirectory),
            Node::File(_) if of_folder => return error(io::ErrorKind::NotADirectory),
            Node::File(_) => {}
        }
        let (parent, name) = split(path)?;
        let folder = self.folder_mut(parent)?;
        folder.now.remove(name);
        folder.pending.push(Change::Remove(name.to_owned()));
        self.unlink(id);
        Ok(())
    }

    pub fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let folder = self.folder_mut(path)?;
        folder.durable.clone_from(&folder.now);
        folder.pending.clear();
        Ok(())
    }

    /// Writes at a place, as much as there is space for; says how much.
    pub fn write(&mut self, id: Id, at: usize, bytes: &[u8], now: u64) -> io::Result<usize> {
        let length = self.file(id)?.cache.len();
        let beyond = (at + bytes.len()).saturating_sub(length);
        let taken = self.take(beyond as u64) as usize;
        let bytes = &bytes[..bytes.len() - (beyond - taken)];
        let file = self.file_mut(id)?;
        file.modified = now;
        file.cache.resize(length.max(at + bytes.len()), 0);
        file.cache[at..at + bytes.len()].copy_from_slice(bytes);
        if !bytes.is_empty() {
            file.dirty
                .extend(at / PAGE_BYTES..=(at + bytes.len() - 1) / PAGE_BYTES);
        }
        Ok(bytes.len())
    }

    pub fn resize(&mut self, id: Id, bytes: u64) -> io::Result<()> {
        let length = self.file(id)?.cache.len() as u64;
        if bytes > length {
            if self.free.is_some_and(|free| free < bytes - length) {
                return error(io::ErrorKind::StorageFull);
            }
            self.take(bytes - length);
        } else {
            self.give(length - bytes);
        }
        self.file_mut(id)?.cache.resize(bytes as usize, 0);
        Ok(())
    }

    pub fn sync(&mut self, id: Id) -> io::Result<()> {
        let file = self.file_mut(id)?;
        file.durable.resize(file.cache.len(), 0);
        for page in std::mem::take(&mut file.dirty) {
            file.keep(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
        }
        Ok(())
    }

    /// What a failed sync does: some pages are written, and the others are taken for clean.
    pub fn fail_sync(&mut self, id: Id, chance: &mut Chance) -> io::Result<()> {
        let file = self.file_mut(id)?;
        if chance.per_mille(500) {
            file.durable.resize(file.cache.len(), 0);
        }
        for page in std::mem::take(&mut file.dirty) {
            if chance.per_mille(300) {
                file.keep(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
            }
        }
        Ok(())
    }

    /// Changes a bit that was written long ago.
    pub fn flip(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let id = self.find(path)?;
        let file = self.file_mut(id)?;
        let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        for bytes in [&mut file.cache, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    /// Puts other bytes in a file's place, in the cache and on the medium alike.
    pub fn replace(&mut self, id: Id, bytes: Vec<u8>) -> io::Result<()> {
        let file = self.file_mut(id)?;
        file.durable.clone_from(&bytes);
        file.cache = bytes;
        file.dirty.clear();
        Ok(())
    }

    /// Bytes of all files that have a name.
    fn used(&self) -> u64 {
        let bytes = |node: &Node| match node {
            Node::File(file) if file.links > 0 => file.cache.len() as u64,
            _ => 0,
        };
        self.nodes.iter().map(bytes).sum()
    }

    /// What a power cut leaves.
    pub fn cut(&mut self, seed: u64) {
        let before = self.used();
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let mut chance = Chance::new(seed, &format!("cut {id}"));
            match node {
                Node::File(file) => file.cut(&mut chance),
                Node::Folder(folder) => folder.cut(&mut chance),
            }
        }
        let links: Vec<Id> = self
            .nodes
            .iter()
            .filter_map(|node| match node {
                Node::Folder(folder) => Some(folder.now.values().copied()),
                Node::File(_) => None,
            })
            .flatten()
            .collect();
        for node in &mut self.nodes {
            if let Node::File(file) = node {
                file.links = 0;
            }
        }
        for id in links {
            if let Node::File(file) = &mut self.nodes[id] {
                file.links += 1;
            }
        }
        let after = self.used();
        if let Some(free) = &mut self.free {
            // A file whose removal was not synced takes its space again.
            *free = (*free + before).saturating_sub(after);
        }
    }
}

impl FileNode {
    /// An empty one.
    pub fn made(now: u64) -> FileNode {
        FileNode {
            modified: now,
            ..FileNode::default()
        }
    }

    /// Makes a part of the cache durable, as far as the durable length reaches.
    fn keep(&mut self, from: usize, to: usize) {
        let to = to.min(self.cache.len()).min(self.durable.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&self.cache[from..to]);
        }
    }

    fn cut(&mut self, chance: &mut Chance) {
        if self.durable.len() != self.cache.len() && chance.per_mille(500) {
            self.durable.resize(self.cache.len(), 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            let start = page * PAGE_BYTES;
            match chance.below(3) {
                0 => {}
                1 => self.keep(start, start + PAGE_BYTES),
                _ => {
                    for sector in (start..start + PAGE_BYTES).step_by(SECTOR_BYTES) {
                        if chance.per_mille(500) {
                            self.keep(sector, sector + SECTOR_BYTES);
                        }
                    }
                }
            }
        }
        self.cache.clone_from(&self.durable);
    }
}

impl FolderNode {
    fn cut(&mut self, chance: &mut Chance) {
        let pending = std::mem::take(&mut self.pending);
        let some = chance.below(3);
        let upto = chance.below(pending.len() as u64 + 1) as usize;
        for (number, change) in pending.into_iter().enumerate() {
            // Nothing says in which order changes reach the medium: most file systems keep it.
            let kept = match some {
                0 | 1 => number < upto,
                _ => chance.per_mille(500),
            };
            if !kept {
                continue;
            }
            match change {
                Change::Add(name, id) => {
                    self.durable.insert(name, id);
                }
                Change::Remove(name) => {
                    self.durable.remove(&name);
                }
                Change::Rename(from, to, id) => {
                    self.durable.remove(&from);
                    self.durable.insert(to, id);
                }
            }
        }
        self.now.clone_from(&self.durable);
    }
}
