//! The ports that other crates implement, by name.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::Result;

use crate::{Incoming, Outgoing};

/// Answers calls.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers one call of the node `from`. The work is dropped where it stands when the caller's
    /// deadline passes, the caller gives up, or the connection breaks.
    ///
    /// # Errors
    /// Any; the caller gets it with its code and message.
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes>;
}

/// Serves streams.
#[async_trait]
pub trait StreamService: Send + Sync {
    /// Serves one stream of the node `from`, until it returns. Dropped where it stands when the
    /// connection breaks. A caller that gave up is told by the halves: whoever waits for something
    /// else for long should wait for `incoming.next()` too.
    ///
    /// # Errors
    /// Any; the caller gets it with its code and message behind the messages sent so far.
    async fn serve(
        &self,
        from: Arc<str>,
        head: Bytes,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<()>;
}

/// What a node offers to others.
#[derive(Default)]
pub struct Services {
    pub(crate) calls: HashMap<&'static str, Arc<dyn Service>>,
    pub(crate) streams: HashMap<&'static str, Arc<dyn StreamService>>,
}

impl Services {
    /// Nothing.
    pub fn new() -> Services {
        Services::default()
    }

    /// Offers `service` to calls under `name`: letters, digits and hyphens.
    ///
    /// # Panics
    /// Where the name is taken or would not fit a path.
    pub fn register(&mut self, name: &'static str, service: Arc<dyn Service>) {
        check(name);
        let before = self.calls.insert(name, service);
        assert!(before.is_none(), "`{name}` is registered twice");
    }

    /// Offers `service` to streams under `name`: letters, digits and hyphens.
    ///
    /// # Panics
    /// Where the name is taken or would not fit a path.
    pub fn register_stream(&mut self, name: &'static str, service: Arc<dyn StreamService>) {
        check(name);
        let before = self.streams.insert(name, service);
        assert!(before.is_none(), "`{name}` is registered twice");
    }
}

fn check(name: &str) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(
        !name.is_empty() && name.bytes().all(fits),
        "`{name}` is no name of a service"
    );
}
