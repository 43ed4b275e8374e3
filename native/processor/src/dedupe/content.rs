//! What a request is to the windows: its content, and which of its shards.

use bytes::Bytes;
use otlake_base::ShardSet;

/// The identity of a request's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentHash(u128);

impl ContentHash {
    /// Of `body`, the protobuf request, as `tenant` sent it.
    pub(crate) fn of(tenant: &str, body: &[u8]) -> ContentHash {
        ContentHash(otlake_decode::slice::request_hash(tenant, body))
    }

    /// What `number` gave.
    pub(crate) fn of_request(number: u128) -> ContentHash {
        ContentHash(number)
    }

    /// What names the request.
    pub(crate) fn number(self) -> u128 {
        self.0
    }
}

/// What is stored, or about to be: a request, and which of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) shards: ShardSet,
}

impl Content {
    /// A request that was not split.
    pub(crate) fn whole(hash: ContentHash) -> Content {
        Content {
            hash,
            shards: ShardSet::ALL,
        }
    }

    /// Of a body as the log keeps it, or as it was received: a part of a request says so.
    pub(crate) fn of(tenant: &str, received: &Bytes) -> Content {
        match otlake_decode::slice::of(received) {
            Some((slice, _)) => Content {
                hash: ContentHash(slice.request),
                shards: slice.shards,
            },
            None => Content::whole(ContentHash::of(tenant, received)),
        }
    }
}
