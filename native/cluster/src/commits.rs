//! Commits that one node makes for all: who does is a lease in the metadata group, table by table,
//! and what the others have written goes to it over the peers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Clock, Code, Error, Lease, Leases, Metrics, Result, StreamId, Table};
use otlake_catalog::{Addition, CommitPort, Commits, Committed, DeltaTableHandle, Gathered, Waits};
use otlake_consensus::{Answer, Command, MetadataGroup, Refusal};
use otlake_peer::{Peers, Service};
use otlake_processor::Processor;
use otlake_replicate::drive::Replicator;

/// The name of the service.
pub(crate) const COMMIT: &str = "commit";
/// How long a lease is held without renewal: how long the others commit by themselves, or wait for
/// answers that do not come, once its holder is gone.
const TTL: Duration = Duration::from_secs(15);
/// How long an answer to a client may be under way before its rows go into files.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// How long a commit waits for a follower. A node that is cut off is known to be dead, and its stream
/// fenced in the tables, before that; one whose followers are all away goes on then.
const TOUCH_WAIT: Duration = Duration::from_secs(10);
/// Followers that were not heard for so long are not waited for anew, commit by commit: what that wait is
/// for has happened. That is some beats longer than one commit waits.
const SILENT: Duration = Duration::from_secs(12);
/// How often it is looked whether a follower was heard.
const TOUCH_LOOK: Duration = Duration::from_millis(20);

/// Leases in the metadata group. What is here belongs to the processor, and the group and the peers
/// belong to what holds the processor: neither keeps the other.
struct GroupLeases {
    group: Weak<MetadataGroup>,
    name: Arc<str>,
    /// The node and its start: another start is another holder.
    holder: String,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for GroupLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupLeases({})", self.holder)
    }
}

/// The node of a holder.
fn node_of(holder: &str) -> Arc<str> {
    let node = holder.rsplit_once('/').map_or(holder, |(node, _)| node);
    node.into()
}

impl GroupLeases {
    async fn acquire(&self, name: &str) -> Result<Lease> {
        let group = self.group.upgrade().ok_or_else(ended)?;
        // Others ask what this node knows of the group, and burden it with nothing.
        if let Some(held) = group.local().leases.held.get(name)
            && held.holder != self.holder
        {
            return Ok(Lease::Other(node_of(&held.holder)));
        }
        // Before the question: by the answer some of the time is over.
        let until = self.clock.monotonic() + TTL;
        let acquire = Command::AcquireLease {
            name: name.to_owned(),
            holder: self.holder.clone(),
            ttl_ms: TTL.as_millis() as u64,
        };
        match group.propose(acquire).await? {
            Answer::Leased { token, .. } => Ok(Lease::Own { token, until }),
            Answer::Refused(Refusal::Held { holder, .. }) => Ok(Lease::Other(node_of(&holder))),
            Answer::Refused(refusal) => Err(refusal.into()),
            other => Err(Error::new(Code::Internal, format!("a lease is {other:?}"))),
        }
    }
}

impl Leases for GroupLeases {
    fn hold<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Lease>> + Send + 'a>> {
        // An earlier start of this node is no other node to hand over to.
        Box::pin(async move {
            Ok(match self.acquire(name).await? {
                Lease::Other(node) if node == self.name => {
                    let what = "the lease is of an earlier start of this node";
                    return Err(Error::new(Code::TableConflict, what));
                }
                lease => lease,
            })
        })
    }
}

fn ended() -> Error {
    Error::new(Code::NodeState, "the node is starting or stopping")
}

/// The way to the other nodes.
struct Way(Weak<Peers>);

#[async_trait]
impl CommitPort for Way {
    async fn hand_over(&self, node: &str, request: Bytes, time: Duration) -> Result<Bytes> {
        let peers = self.0.upgrade().ok_or_else(ended)?;
        peers.call(node, COMMIT, request, time).await
    }
}

/// What other nodes hand over, once there is what takes it.
#[derive(Default)]
pub(crate) struct HandOvers(OnceLock<Weak<Gathered>>);

#[async_trait]
impl Service for HandOvers {
    async fn call(&self, _: Arc<str>, request: Bytes) -> Result<Bytes> {
        let gathered = self.0.get().and_then(Weak::upgrade);
        gathered.ok_or_else(ended)?.take(request).await
    }
}

/// Commits of a node that is in touch with its followers. A client whose answer was lost when the node
/// was cut off sends its request again, to nodes that know of the record by what the followers hold
/// above the watermark (`claims.rs`). So nothing is brought into files, and the watermark past it,
/// before a follower was heard of later than the answer was sent (I3).
struct InTouch {
    commits: Arc<dyn Commits>,
    /// Whether a follower has answered a beat that was sent then, on the monotonic clock, or later.
    is_in_touch: Box<dyn Fn(Duration) -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
    /// Since when followers can have been heard.
    begun: Duration,
}

impl InTouch {
    fn new(
        commits: Arc<dyn Commits>,
        is_in_touch: impl Fn(Duration) -> bool + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> InTouch {
        InTouch {
            commits,
            is_in_touch: Box::new(is_in_touch),
            begun: clock.monotonic(),
            clock,
        }
    }

    async fn wait(&self) {
        let since = self.clock.monotonic() + UNDER_WAY;
        let until = since + TOUCH_WAIT;
        loop {
            let now = self.clock.monotonic();
            let long_ago = now.checked_sub(SILENT).filter(|ago| *ago >= self.begun);
            let are_silent = long_ago.is_some_and(|ago| !(self.is_in_touch)(ago));
            if now >= until || are_silent || (self.is_in_touch)(since) {
                return;
            }
            tokio::time::sleep(TOUCH_LOOK).await;
        }
    }
}

#[async_trait]
impl Commits for InTouch {
    async fn commit(&self, table: &Arc<DeltaTableHandle>, addition: Addition) -> Result<Committed> {
        self.wait().await;
        self.commits.commit(table, addition).await
    }
}

/// Has what `processor` flushes go to the node that commits for all, until it is told otherwise.
pub(crate) fn gather(
    processor: &Processor,
    (name, stream): (&Arc<str>, StreamId),
    group: &Arc<MetadataGroup>,
    (peers, replicator): (&Arc<Peers>, &Arc<Replicator>),
    hand_overs: &HandOvers,
    (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
) {
    let leases = GroupLeases {
        group: Arc::downgrade(group),
        name: Arc::clone(name),
        holder: format!("{name}/{stream}"),
        clock: Arc::clone(&clock),
    };
    let tables = Table::ALL.map(|table| Arc::clone(processor.tables().handle(table)));
    let gathered = Gathered::new(
        Arc::clone(name),
        tables.into(),
        Arc::new(leases),
        Arc::new(Way(Arc::downgrade(peers))),
        (Arc::clone(&clock), metrics),
        Waits::default(),
    );
    let _ = hand_overs.0.set(Arc::downgrade(&gathered));
    let replicator = Arc::downgrade(replicator);
    let is_in_touch = move |since| {
        let replicator = replicator.upgrade();
        replicator.is_none_or(|replicator| replicator.is_in_touch(since))
    };
    processor.commit_through(Arc::new(InTouch::new(gathered, is_in_touch, clock)));
}

#[cfg(test)]
#[path = "commits_test.rs"]
mod commits_test;
