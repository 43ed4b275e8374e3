//! The ways between nodes: what is said arrives late, or not at all, and whoever asked does not know
//! which. The connections of `otlake-peer` keep what they carry in order and say nothing twice; a call
//! that nobody waits for any more is dropped where it stands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, abortable, select};
use otlake_base::{Code, Error, Result};
use otlake_consensus::Wire;
use otlake_peer::Service;

use super::breakage::FilesBreakage;
use super::world::World;
use crate::cuts::Cuts;

/// What is between the nodes.
#[derive(Default)]
pub struct Network {
    pub cuts: Cuts,
    /// Times of a thousand that a connection breaks over what it carries.
    pub loss: u64,
    /// Times of a thousand that something takes long.
    pub slow: u64,
}

impl Network {
    pub fn heal(&mut self) {
        *self = Network::default();
    }

    /// Whether one can ask the other.
    pub fn connects(&self, one: usize, other: usize) -> bool {
        self.cuts.reaches(one, other) && self.cuts.reaches(other, one)
    }
}

impl World {
    /// How long something is on its way.
    pub fn latency(&self) -> Duration {
        let slow = self.network.lock().slow;
        match self.per_mille(slow) {
            true => self.within(20, 3_000),
            false => self.within(0, 3),
        }
    }

    /// Whether something that is said arrives.
    pub fn arrives(&self, from: usize, to: usize) -> bool {
        let network = self.network.lock();
        let (reaches, loss) = (network.cuts.reaches(from, to), network.loss);
        drop(network);
        reaches && !self.per_mille(loss)
    }
}

/// A node's ways to the others.
pub struct SimWire {
    pub world: Arc<World>,
    pub node: usize,
}

fn unreachable(what: &str) -> Error {
    Error::new(Code::PeerUnreachable, what)
}

impl SimWire {
    async fn exchange(world: Arc<World>, from: usize, to: usize, request: Bytes) -> Result<Bytes> {
        let executor = Arc::clone(&world.executor);
        executor.sleep(world.latency()).await;
        let service = world.service(to).filter(|_| world.arrives(from, to));
        let Some(service) = service else {
            // A port that nobody listens at says so at once; silence is noticed later.
            executor.sleep(world.within(1, 4_000)).await;
            return Err(unreachable("the node is not reached"));
        };
        let (told, answer) = oneshot::channel();
        let name = world.name(from);
        // Dropped with whoever waits for it.
        let (served, handle) = abortable(async move {
            let _ = told.send(service.call(name, request).await);
        });
        executor.spawn(Some(to), async move {
            let _ = served.await;
        });
        let ends = EndsWith(handle);
        let Ok(answer) = answer.await else {
            executor.sleep(world.within(1, 4_000)).await;
            return Err(unreachable("the connection broke"));
        };
        drop(ends);
        executor.sleep(world.latency()).await;
        match world.arrives(to, from) {
            true => answer,
            false => {
                executor.sleep(world.within(1, 4_000)).await;
                Err(unreachable("the connection broke"))
            }
        }
    }
}

struct EndsWith(futures::future::AbortHandle);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer that a copy is taken, and that something is deleted.
fn done() -> Bytes {
    let head = b"\"done\"";
    let mut answer = vec![1];
    answer.extend_from_slice(&(head.len() as u32).to_le_bytes());
    answer.extend_from_slice(head);
    Bytes::from(answer)
}

/// Whether a request is of this kind: its head is JSON behind a byte and a length.
fn is_request(request: &[u8], kind: &str) -> bool {
    let head = request.get(5..).unwrap_or_default();
    head.starts_with(format!("{{\"{kind}\"").as_bytes())
}

#[async_trait]
impl Wire for SimWire {
    async fn call(
        &self,
        to: &str,
        _: &'static str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        let Some(to) = self.world.index(to) else {
            return Err(unreachable("there is no such node"));
        };
        let is_passed_over = match self.world.plan.breakage {
            FilesBreakage::DoneAfterOneCopy => is_request(&request, "take"),
            FilesBreakage::DeleteOnOneNode => is_request(&request, "delete"),
            _ => false,
        };
        if is_passed_over {
            return Ok(done());
        }
        // As over the connections of a node: a call goes on where its caller is dropped.
        let (told, answer) = oneshot::channel();
        let executor = Arc::clone(&self.world.executor);
        let exchange = SimWire::exchange(Arc::clone(&self.world), self.node, to, request);
        let limit = executor.sleep(timeout);
        executor.spawn(Some(self.node), async move {
            let exchange = std::pin::pin!(exchange);
            let answer = match select(exchange, limit).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(Error::new(Code::PeerTimeout, "no answer in time")),
            };
            let _ = told.send(answer);
        });
        answer
            .await
            .unwrap_or_else(|_| Err(unreachable("the node goes down")))
    }
}
