//! How often which operation fails, and how slow the disk is.

use std::time::Duration;

use crate::chance::Chance;

/// What becomes of an operation that does not simply succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error; of a write, any part may be there.
    Error,
    /// A write of a part.
    Short,
}

/// Times of a thousand that an operation fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that write a part and say so.
    pub short_write: u64,
    /// Writes that fail, with any part of them done.
    pub write: u64,
    /// Syncs of files that fail and lose what they covered.
    pub sync: u64,
    /// Renames, links, removals, creations and syncs of folders that fail.
    pub name: u64,
    /// Operations that take up to a second.
    pub slow: u64,
}

impl Faults {
    /// None on two seeds of five, few on two, many on the fifth.
    pub fn by_seed(chance: &mut Chance) -> Faults {
        let often = match chance.below(5) {
            0 | 1 => return Faults::default(),
            2 | 3 => 15,
            _ => 100,
        };
        let mut rate = |of: u64| chance.below(2) * chance.below(of + 1);
        Faults {
            short_write: rate(4 * often),
            write: rate(often),
            sync: rate(often),
            name: rate(often),
            slow: rate(often),
        }
    }

    pub(crate) fn draw(&self, operation: &str, chance: &mut Chance) -> Option<Fault> {
        match operation {
            "write" if chance.per_mille(self.write) => Some(Fault::Error),
            "write" => chance.per_mille(self.short_write).then_some(Fault::Short),
            "sync" => chance.per_mille(self.sync).then_some(Fault::Error),
            // They read, and a disk that cannot be read at all is another story.
            "open" | "status" | "list" | "lock" => None,
            _ => chance.per_mille(self.name).then_some(Fault::Error),
        }
    }

    pub(crate) fn latency(&self, chance: &mut Chance) -> Duration {
        if chance.per_mille(self.slow) {
            Duration::from_millis(chance.below(1000))
        } else {
            Duration::from_micros(20 + chance.below(200))
        }
    }
}
