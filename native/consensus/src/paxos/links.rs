//! What sends omnipaxos's messages: to each member in order, several with one request. What cannot be
//! sent is lost, and the receiver is told so with the next that arrives: omnipaxos then brings it up to
//! date again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnipaxos::messages::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::configuration::{Beginning, Event, Shared};
use super::engine::Entry;
use super::service::{FETCH, MESSAGES};
use crate::core::Core;
use crate::limits::MAX_BATCHES;
use crate::raft::types::Member;
use crate::wire::{self, PAXOS};

/// How long a node may take for what another begins with.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches that one request takes.
const MAX_MERGED: usize = 32;

/// Messages of one round.
pub(crate) struct Sent {
    pub configuration: u32,
    pub messages: Vec<Message<Entry>>,
}

/// What goes over the wire.
#[derive(Serialize, Deserialize)]
pub(crate) struct Messages {
    pub configuration: u32,
    pub gap: bool,
    pub messages: Vec<Message<Entry>>,
}

/// What comes back: the receiver's configuration.
#[derive(Serialize, Deserialize)]
pub(crate) struct Seen {
    pub configuration: u32,
}

struct Link {
    member: Member,
    queue: mpsc::Sender<Sent>,
    gap: Arc<std::sync::atomic::AtomicBool>,
}

/// The ways to the other members.
pub(crate) struct Links {
    core: Arc<Core>,
    shared: Arc<Shared>,
    links: BTreeMap<Arc<str>, Link>,
    /// Where the tasks run.
    handle: tokio::runtime::Handle,
}

impl Links {
    pub(crate) fn new(
        core: Arc<Core>,
        shared: Arc<Shared>,
        handle: tokio::runtime::Handle,
    ) -> Links {
        Links {
            core,
            shared,
            links: BTreeMap::new(),
            handle,
        }
    }

    /// Keeps the ways to these members alone.
    pub(crate) fn keep(&mut self, members: &[Member]) {
        self.links.retain(|_, link| members.contains(&link.member));
    }

    /// Sends messages to a member.
    pub(crate) fn send(&mut self, to: &Member, sent: Sent) {
        let link = self.links.entry(Arc::clone(&to.name)).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(MAX_BATCHES);
            let gap = Arc::default();
            let task = run(
                Arc::clone(&self.core),
                Arc::clone(&self.shared),
                to.clone(),
                waiting,
                Arc::clone(&gap),
            );
            let _guard = self.handle.enter();
            self.core.spawn(task);
            Link {
                member: to.clone(),
                queue,
                gap,
            }
        });
        if link.queue.try_send(sent).is_err() {
            link.gap.store(true, std::sync::atomic::Ordering::Release);
        }
    }
}

async fn run(
    core: Arc<Core>,
    shared: Arc<Shared>,
    member: Member,
    mut waiting: mpsc::Receiver<Sent>,
    lost: Arc<std::sync::atomic::AtomicBool>,
) {
    // A request that takes longer than this is given up: omnipaxos sends again what matters.
    let timeout = Duration::from_millis(2 * core.timing.paxos_timeout_ms);
    while let Some(first) = waiting.recv().await {
        let gap = lost.swap(false, std::sync::atomic::Ordering::AcqRel);
        let mut batch = Messages {
            configuration: first.configuration,
            gap,
            messages: first.messages,
        };
        for _ in 1..MAX_MERGED {
            let Ok(next) = waiting.try_recv() else { break };
            if next.configuration != batch.configuration {
                // What is of the last configuration is of no use any more.
                batch.messages.clear();
                batch.configuration = next.configuration;
            }
            batch.messages.extend(next.messages);
        }
        let sent = call::<Seen>(&core, &member, MESSAGES, &batch, timeout).await;
        match sent {
            Ok(seen) if seen.configuration > shared.configuration_id() => {
                fetch(&core, &shared, &member).await;
            }
            Ok(_) => {}
            Err(_) => lost.store(true, std::sync::atomic::Ordering::Release),
        }
    }
}

/// Gets a later configuration from a node that has one.
pub(crate) async fn fetch(core: &Core, shared: &Shared, member: &Member) {
    let known = shared.configuration_id();
    let fetched = call::<Option<Beginning>>(core, member, FETCH, &known, FETCH_TIMEOUT).await;
    match fetched {
        Ok(Some(beginning)) => {
            // A full queue loses it: whoever is behind asks again.
            let _ = shared.events.try_send(Event::Begin(beginning));
        }
        Ok(None) => {}
        Err(error) => {
            let from = &member.name;
            tracing::debug!(target: "otlake::metadata", %from, %error, "no later configuration");
        }
    }
}

/// A request to a member's Paxos.
pub(crate) async fn call<T: serde::de::DeserializeOwned>(
    core: &Core,
    to: &Member,
    kind: u8,
    head: &impl Serialize,
    timeout: Duration,
) -> otlake_base::Result<T> {
    let request = wire::request(kind, core.identity.group(), to.store, head, &[])?;
    let answer = core
        .link
        .wire
        .call(&to.name, PAXOS, request, timeout)
        .await?;
    wire::answered(&answer)
}
