//! A set of shards of one signal.

/// Shards that a set can hold: the most that any signal has, rounded up to whole words.
pub const SHARD_SET_SHARDS: usize = 512;
const WORD_BITS: usize = 64;
const WORDS: usize = SHARD_SET_SHARDS / WORD_BITS;

/// Shards of one signal, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardSet([u64; WORDS]);

impl ShardSet {
    /// Bytes of a set on the wire.
    pub const BYTES: usize = SHARD_SET_SHARDS / 8;
    /// No shard.
    pub const EMPTY: ShardSet = ShardSet([0; WORDS]);
    /// Every shard, for a request that was not split.
    pub const ALL: ShardSet = ShardSet([u64::MAX; WORDS]);

    /// Adds a shard, below [`SHARD_SET_SHARDS`].
    pub fn insert(&mut self, shard: usize) {
        self.0[shard / WORD_BITS] |= 1 << (shard % WORD_BITS);
    }

    /// Whether the shard is among them.
    pub fn contains(&self, shard: usize) -> bool {
        self.0
            .get(shard / WORD_BITS)
            .is_some_and(|word| word & (1 << (shard % WORD_BITS)) != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == ShardSet::EMPTY
    }

    /// Whether every one of these is among `others`.
    pub fn is_within(&self, others: &ShardSet) -> bool {
        self.minus(others).is_empty()
    }

    /// Those in both.
    pub fn both(&self, other: &ShardSet) -> ShardSet {
        ShardSet(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Those in either.
    pub fn either(&self, other: &ShardSet) -> ShardSet {
        ShardSet(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Those that are not in `other`.
    pub fn minus(&self, other: &ShardSet) -> ShardSet {
        ShardSet(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// One bit for each shard, the first in the lowest bit of the first byte.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (at, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            at.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What `to_bytes` gave.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> ShardSet {
        ShardSet(std::array::from_fn(|word| {
            u64::from_le_bytes(std::array::from_fn(|byte| bytes[word * 8 + byte]))
        }))
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<T: IntoIterator<Item = usize>>(shards: T) -> ShardSet {
        let mut set = ShardSet::EMPTY;
        for shard in shards {
            set.insert(shard);
        }
        set
    }
}
