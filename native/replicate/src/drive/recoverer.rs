//! Runs recoveries: makes their calls and hands out what they find.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use otlake_base::metrics::by_signal;
use otlake_base::{Clock, Metrics, Result, Signal};
use otlake_log::Frame;

use super::service::ReplicaService;
use super::wire::Wire;
use crate::Ranges;
use crate::message::{BySignal, Message};
use crate::recovery::{Call, Progress, Recovery};

/// How long a member may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a recovery is told the time.
const TICK: Duration = Duration::from_millis(100);

/// Where recovered records go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes a record; of one signal they come in the order of the sequence. Waits while there is no
    /// room. False where something of it was left out, because it is stored elsewhere.
    ///
    /// # Errors
    /// Ends the recovery for now.
    async fn take(&self, frame: Frame) -> Result<bool>;

    /// Writes to the metadata group, at the recovery's epoch, what is kept of a signal; see
    /// [`Recovery::plan`].
    ///
    /// # Errors
    /// Where it is not known to be written; it is asked again.
    async fn plan(&self, signal: Signal, kept: &Ranges) -> Result<()>;
}

/// Runs recoveries on one node.
pub struct Recoverer {
    name: Arc<str>,
    service: Arc<ReplicaService>,
    wire: Arc<dyn Wire>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Recoverer {
    /// For the node `name`, which serves `service` itself.
    pub fn new(
        name: Arc<str>,
        service: Arc<ReplicaService>,
        wire: Arc<dyn Wire>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Recoverer {
        Recoverer {
            name,
            service,
            wire,
            clock,
            metrics,
        }
    }

    /// Runs a recovery until it is complete or superseded, or nothing has come for `patience` while
    /// members are missing; then it can be run again later, and goes on where it was.
    ///
    /// # Errors
    /// What the sink came to; the record that it refused is not given out again by this recovery, so
    /// a new one is made.
    pub async fn run(
        &self,
        recovery: &mut Recovery,
        sink: &dyn Sink,
        patience: Duration,
    ) -> Result<Progress> {
        let mut under_way = FuturesUnordered::new();
        let mut moved = self.clock.monotonic();
        recovery.go_on(moved);
        loop {
            for call in recovery.calls() {
                under_way.push(self.call(call));
            }
            if let Some((signal, kept)) = recovery.plan() {
                match sink.plan(signal, &kept).await {
                    Ok(()) => {
                        recovery.planned(signal);
                        moved = self.clock.monotonic();
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(target: "otlake::replicate", %error, "a plan is not written");
                    }
                }
            }
            while let Some(frame) = recovery.take() {
                let header = *frame.header();
                let labels = by_signal(header.signal);
                if !sink.take(frame).await? {
                    recovery.left_out(header.signal, header.sequence);
                }
                self.metrics.replica_recovered.get_or_create(&labels).inc();
                moved = self.clock.monotonic();
            }
            let progress = recovery.progress();
            let now = self.clock.monotonic();
            if progress.complete
                || progress.superseded.is_some()
                || (progress.stalled && now >= moved + patience)
            {
                return Ok(progress);
            }
            tokio::select! {
                Some((from, answer)) = under_way.next(), if !under_way.is_empty() => {
                    recovery.answered(&from, answer, self.clock.monotonic());
                }
                () = tokio::time::sleep(TICK) => recovery.tick(self.clock.monotonic()),
            }
        }
    }

    async fn call(&self, call: Call) -> (Arc<str>, Option<Message>) {
        let answer = self.ask(&call.to, call.message).await;
        let answer = answer.inspect_err(|error| {
            tracing::debug!(target: "otlake::replicate", member = %call.to, %error, "no answer");
        });
        (call.to, answer.ok())
    }

    async fn ask(&self, to: &Arc<str>, message: Message) -> Result<Message> {
        if *to == self.name {
            return self.service.answer(message).await;
        }
        let answer = self.wire.call(to, message.encode(), CALL_TIMEOUT).await?;
        Message::decode(answer)
    }

    /// Tells members that the tables hold a recovered stream up to here. Those that are not reached
    /// are told with the next release, or when the stream is forgotten.
    pub async fn release(
        &self,
        members: &[Arc<str>],
        stream: otlake_base::StreamId,
        released: BySignal,
    ) {
        self.tell(members, &Message::Release { stream, released })
            .await;
    }

    /// Tells members that a stream is sealed, and that the tables hold all of it; gives those that
    /// did not answer, who are to be told again.
    pub async fn forget(
        &self,
        members: &[Arc<str>],
        stream: otlake_base::StreamId,
    ) -> Vec<Arc<str>> {
        self.tell(members, &Message::Forget { stream }).await
    }

    async fn tell(&self, members: &[Arc<str>], message: &Message) -> Vec<Arc<str>> {
        let mut untold = Vec::new();
        for member in members {
            let told = self.ask(member, message.clone()).await;
            if !matches!(told, Ok(Message::Done)) {
                untold.push(Arc::clone(member));
            }
        }
        untold
    }
}
