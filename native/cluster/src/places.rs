//! What this node asks others about, and then stores: two nodes that take themselves for a shard's owner are not
//! to store the same request both (I3).
//!
//! ```text
//!            asks --kept--> stores --> dropped
//!              |               |
//! a node asks: |               `-- refused: it comes again
//!              `-- first by name? this one gives way; else refused
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Result, ShardSet, Signal};
use otlake_decode::slice::Slice;
use parking_lot::Mutex;

/// The places that are held.
#[derive(Default)]
pub(crate) struct Places {
    by_request: HashMap<(Signal, u128), Vec<Held>>,
    next: u64,
}

struct Held {
    number: u64,
    shards: ShardSet,
    stands: Stands,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Asks,
    Stores,
    /// Another node, which asked at the same time, goes on.
    GaveWay,
}

/// A part of a request that this node asks about or stores.
pub(crate) struct Place {
    places: Arc<Mutex<Places>>,
    request: (Signal, u128),
    number: u64,
}

impl Places {
    /// Takes a place, before anybody is asked.
    pub(crate) fn take(places: &Arc<Mutex<Places>>, signal: Signal, mark: &Slice) -> Place {
        let mut held = places.lock();
        let (number, request) = (held.next, (signal, mark.request));
        held.next += 1;
        held.by_request.entry(request).or_default().push(Held {
            number,
            shards: mark.shards,
            stands: Stands::Asks,
        });
        Place {
            places: Arc::clone(places),
            request,
            number,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_request.is_empty()
    }

    /// Another node asks about some shards of a request; `is_first`: its name comes first.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where this node stores any of them, or is to go on before the other.
    pub(crate) fn give_way(
        &mut self,
        signal: Signal,
        request: u128,
        shards: &ShardSet,
        is_first: bool,
    ) -> Result<()> {
        let held = self.by_request.get_mut(&(signal, request));
        let held = held.into_iter().flatten();
        for each in held.filter(|each| !each.shards.both(shards).is_empty()) {
            match each.stands {
                Stands::Asks if is_first => each.stands = Stands::GaveWay,
                Stands::Asks | Stands::Stores => {
                    let what = "another node is storing the same request at this moment";
                    return Err(Error::new(Code::IngestOverloaded, what));
                }
                Stands::GaveWay => {}
            }
        }
        Ok(())
    }
}

impl Place {
    /// Everybody was asked: from here on it is stored.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where another node goes on.
    pub(crate) fn keep(&self) -> Result<()> {
        let mut places = self.places.lock();
        let held = places.by_request.get_mut(&self.request);
        let mut held = held.into_iter().flatten();
        match held.find(|each| each.number == self.number) {
            Some(each) if each.stands != Stands::GaveWay => {
                each.stands = Stands::Stores;
                Ok(())
            }
            _ => {
                let what = "another node stores the same request at this moment";
                Err(Error::new(Code::IngestOverloaded, what))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        if let Some(held) = places.by_request.get_mut(&self.request) {
            held.retain(|each| each.number != self.number);
            if held.is_empty() {
                places.by_request.remove(&self.request);
            }
        }
    }
}
