//! A network within the process, for tests: nodes can be cut off.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::service::ReplicaService;
use super::wire::{Incoming, Link, Outgoing, Wire};

/// Messages that a link holds.
const LINK_MESSAGES: usize = 64;

#[derive(Default)]
struct State {
    nodes: HashMap<Arc<str>, Arc<ReplicaService>>,
    cut: HashSet<Arc<str>>,
}

/// A network within the process.
#[derive(Clone)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
    /// Grows with each cut, so that open links break.
    cuts: watch::Sender<u64>,
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        MemoryNetwork {
            state: Arc::default(),
            cuts: watch::channel(0).0,
        }
    }
}

impl MemoryNetwork {
    /// A node is there from now on, in place of one of the same name.
    pub fn join(&self, name: &Arc<str>, service: Arc<ReplicaService>) {
        let mut state = self.state.lock();
        state.nodes.insert(Arc::clone(name), service);
        state.cut.remove(name);
    }

    /// A node is gone, or cut off; its links break.
    pub fn cut(&self, name: &Arc<str>) {
        self.state.lock().cut.insert(Arc::clone(name));
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// A node is reached again.
    pub fn heal(&self, name: &Arc<str>) {
        self.state.lock().cut.remove(name);
    }

    /// The network as one node sees it.
    pub fn wire(&self, from: &Arc<str>) -> Arc<MemoryWire> {
        Arc::new(MemoryWire {
            network: self.clone(),
            from: Arc::clone(from),
        })
    }

    fn find(&self, from: &Arc<str>, to: &Arc<str>) -> Result<Arc<ReplicaService>> {
        let state = self.state.lock();
        let found = state.nodes.get(to);
        let is_cut = state.cut.contains(from) || state.cut.contains(to);
        found.filter(|_| !is_cut).cloned().ok_or_else(|| gone(to))
    }
}

fn gone(name: &str) -> Error {
    Error::new(Code::ClusterUnreachable, format!("{name} is not reached"))
}

/// The network as one node sees it.
pub struct MemoryWire {
    network: MemoryNetwork,
    from: Arc<str>,
}

#[async_trait]
impl Wire for MemoryWire {
    async fn open(&self, to: &Arc<str>) -> Result<Link> {
        let service = self.network.find(&self.from, to)?;
        let half = || {
            let (sender, receiver) = mpsc::channel(LINK_MESSAGES);
            let guard = |network: &MemoryNetwork| Ends {
                network: network.clone(),
                cuts: network.cuts.subscribe(),
                ends: [Arc::clone(&self.from), Arc::clone(to)],
            };
            let out = MemoryOutgoing {
                sender,
                ends: guard(&self.network),
            };
            let incoming = MemoryIncoming {
                receiver,
                ends: guard(&self.network),
            };
            (out, incoming)
        };
        let ((there, arriving), (back, answers)) = (half(), half());
        let from = Arc::clone(&self.from);
        tokio::spawn(async move {
            service
                .serve(&from, Box::new(arriving), Box::new(back))
                .await;
        });
        Ok(Link {
            outgoing: Box::new(there),
            incoming: Box::new(answers),
        })
    }

    async fn call(&self, to: &Arc<str>, request: Bytes, timeout: Duration) -> Result<Bytes> {
        let service = self.network.find(&self.from, to)?;
        tokio::time::timeout(timeout, service.call(request))
            .await
            .map_err(|_| gone(to))?
    }
}

struct Ends {
    network: MemoryNetwork,
    cuts: watch::Receiver<u64>,
    ends: [Arc<str>; 2],
}

impl Ends {
    fn is_cut(&self) -> bool {
        let state = self.network.state.lock();
        self.ends.iter().any(|end| state.cut.contains(end))
    }

    /// Resolves when the link is cut.
    async fn cut(&mut self) {
        while !self.is_cut() {
            if self.cuts.changed().await.is_err() {
                return;
            }
        }
    }
}

struct MemoryOutgoing {
    sender: mpsc::Sender<Bytes>,
    ends: Ends,
}

#[async_trait]
impl Outgoing for MemoryOutgoing {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        let to = Arc::clone(&self.ends.ends[1]);
        tokio::select! {
            biased;
            () = self.ends.cut() => Err(gone(&to)),
            sent = self.sender.send(message) => sent.map_err(|_| gone(&to)),
        }
    }
}

struct MemoryIncoming {
    receiver: mpsc::Receiver<Bytes>,
    ends: Ends,
}

#[async_trait]
impl Incoming for MemoryIncoming {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let to = Arc::clone(&self.ends.ends[1]);
        tokio::select! {
            biased;
            () = self.ends.cut() => Err(gone(&to)),
            message = self.receiver.recv() => Ok(message),
        }
    }
}
