//! Chance from a seed: a number depends on the seed and on what it is drawn for, never on what else
//! was drawn before it, so that the order of threads changes nothing.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A number for a name.
pub fn draw(seed: u64, what: &[&[u8]]) -> u64 {
    what.iter()
        .fold(seed ^ 0x9E37_79B9_7F4A_7C15, |state, part| {
            xxh3_64_with_seed(part, state)
        })
}

/// A sequence of numbers, for a driver that does one thing after the other.
#[derive(Clone, Debug)]
pub struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    /// The sequence of this name under the seed.
    pub fn new(seed: u64, name: &str) -> Chance {
        Chance {
            seed: draw(seed, &[name.as_bytes()]),
            drawn: 0,
        }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.drawn += 1;
        draw(self.seed, &[&self.drawn.to_le_bytes()])
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so many times of a thousand.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }
}
