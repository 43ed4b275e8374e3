//! A wire in memory: requests go to the doors of other nodes in the same process, and are lost,
//! delayed and cut as a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use parking_lot::Mutex;

use crate::wire::{Handler, Wire};

/// The next number of a seed (SplitMix64).
pub fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[derive(Default)]
struct Faults {
    /// From whom to whom nothing goes.
    cuts: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Requests that never arrived, by who sent them to which service.
    lost: BTreeMap<(Arc<str>, &'static str), u64>,
    loss_per_mille: u64,
    delay_ms: u64,
    chance: u64,
}

type Doors = BTreeMap<(Arc<str>, &'static str), Arc<dyn Handler>>;

/// All nodes' ways to each other. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    doors: Arc<Mutex<Doors>>,
    faults: Arc<Mutex<Faults>>,
    calls: Arc<AtomicU64>,
}

impl MemoryNetwork {
    /// A network without faults whose chance comes from a seed.
    pub fn new(seed: u64) -> MemoryNetwork {
        let network = MemoryNetwork::default();
        network.faults.lock().chance = seed;
        network
    }

    /// The wire of one node.
    pub fn wire(&self, name: &Arc<str>) -> Arc<dyn Wire> {
        Arc::new(MemoryWire {
            name: Arc::clone(name),
            network: self.clone(),
        })
    }

    /// Lets a node be reached.
    pub fn listen(&self, name: &Arc<str>, service: &'static str, handler: Arc<dyn Handler>) {
        self.doors
            .lock()
            .insert((Arc::clone(name), service), handler);
    }

    /// Lets a node be reached no more.
    pub fn silence(&self, name: &Arc<str>) {
        self.doors.lock().retain(|(node, _), _| node != name);
    }

    /// Lets nothing go from one node to another.
    pub fn cut(&self, from: &Arc<str>, to: &Arc<str>) {
        self.faults
            .lock()
            .cuts
            .insert((Arc::clone(from), Arc::clone(to)));
    }

    /// Lets nothing go between two sides.
    pub fn part(&self, left: &[Arc<str>], right: &[Arc<str>]) {
        for one in left {
            for other in right {
                self.cut(one, other);
                self.cut(other, one);
            }
        }
    }

    /// Lets everything go everywhere again.
    pub fn heal(&self) {
        self.faults.lock().cuts.clear();
    }

    /// Loses so many of a thousand messages, and delays the others up to so many milliseconds.
    pub fn disturb(&self, loss_per_mille: u64, delay_ms: u64) {
        let mut faults = self.faults.lock();
        faults.loss_per_mille = loss_per_mille;
        faults.delay_ms = delay_ms;
    }

    /// How many requests were sent.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many of a node's requests to a service never arrived.
    pub fn lost(&self, from: &Arc<str>, service: &'static str) -> u64 {
        let faults = self.faults.lock();
        let lost = faults.lost.get(&(Arc::clone(from), service));
        lost.copied().unwrap_or_default()
    }

    /// What happens to one message: it is lost, or comes after a delay.
    fn fate(&self, from: &Arc<str>, to: &Arc<str>) -> Option<Duration> {
        let mut faults = self.faults.lock();
        let lost = draw(&mut faults.chance) % 1000 < faults.loss_per_mille;
        let delay = draw(&mut faults.chance) % (faults.delay_ms + 1);
        let cut = faults.cuts.contains(&(Arc::clone(from), Arc::clone(to)));
        (!lost && !cut).then(|| Duration::from_millis(delay))
    }
}

struct MemoryWire {
    name: Arc<str>,
    network: MemoryNetwork,
}

#[async_trait]
impl Wire for MemoryWire {
    async fn call(
        &self,
        to: &str,
        service: &'static str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        let to: Arc<str> = Arc::from(to);
        self.network.calls.fetch_add(1, Ordering::Relaxed);
        let (network, from) = (self.network.clone(), Arc::clone(&self.name));
        let answered = async {
            let lost = || Error::new(Code::MetadataUnavailable, format!("{to} did not answer"));
            let Some(delay) = network.fate(&from, &to) else {
                let key = (Arc::clone(&from), service);
                *network.faults.lock().lost.entry(key).or_default() += 1;
                std::future::pending::<()>().await;
                return Err(lost());
            };
            tokio::time::sleep(delay).await;
            let door = network
                .doors
                .lock()
                .get(&(Arc::clone(&to), service))
                .cloned();
            let door = door.ok_or_else(|| {
                Error::new(
                    Code::MetadataUnavailable,
                    format!("{to} refused a connection"),
                )
            })?;
            // What has arrived is done, whether or not the sender still waits.
            let asked = Arc::clone(&from);
            let work = tokio::spawn(async move { door.call(asked, request).await });
            let answer = work.await.map_err(|_| lost())?;
            let Some(delay) = network.fate(&to, &from) else {
                std::future::pending::<()>().await;
                return Err(lost());
            };
            tokio::time::sleep(delay).await;
            answer
        };
        tokio::time::timeout(timeout, answered)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    Code::MetadataUnavailable,
                    format!("{to} did not answer within {timeout:?}"),
                ))
            })
    }
}
