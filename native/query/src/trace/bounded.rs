//! A cache that forgets what was not asked for longest, once it has more bytes than it may.

use std::hash::Hash;

use datafusion::execution::cache::lru_queue::LruQueue;

/// Share of the cache that one entry may take, as a divisor.
const LARGEST: usize = 8;

pub(super) struct Bounded<K: Eq + Hash + Clone, V> {
    entries: LruQueue<K, (usize, V)>,
    bytes: usize,
    max_bytes: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Bounded<K, V> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            entries: LruQueue::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(_, value)| value.clone())
    }

    /// Whether an entry of so many bytes is kept.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        bytes <= self.max_bytes / LARGEST
    }

    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) {
        if !self.takes(bytes) {
            return;
        }
        self.bytes += bytes;
        if let Some((old, _)) = self.entries.put(key, (bytes, value)) {
            self.bytes -= old;
        }
        while self.bytes > self.max_bytes {
            let Some((_, (old, _))) = self.entries.pop() else {
                return;
            };
            self.bytes -= old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_cache_holds_no_more_than_it_may_and_forgets_the_oldest() {
        let mut cache = Bounded::new(800);
        for number in 0..20 {
            cache.put(number, number, 100);
            assert!(cache.bytes <= 800);
            // Asked for each time, so it stays.
            assert_eq!(cache.get(&0), Some(0));
        }
        assert_eq!((cache.get(&1), cache.get(&19)), (None, Some(19)));
        cache.put(0, 7, 50);
        assert_eq!((cache.get(&0), cache.bytes), (Some(7), 750));
        cache.put(99, 99, 101);
        assert_eq!(cache.get(&99), None, "an entry larger than its share");
    }
}
