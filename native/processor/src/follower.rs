//! Looks, now and then, what other nodes have committed to shared tables: a read at `eventual`
//! shows it after one interval at most, and other reads have less to catch up with.

use std::time::Duration;

use futures::future::join_all;
use otlake_base::Table;
use otlake_flush::Tables;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// The shortest interval, however often this node flushes.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// The task that looks; it ends when this is dropped.
pub(crate) struct Follower(JoinHandle<()>);

impl Follower {
    /// Starts it on the current runtime.
    pub(crate) fn start(tables: Tables, every: Duration) -> Follower {
        let mut ticks = interval(every.max(LEAST_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Follower(tokio::spawn(async move {
            loop {
                ticks.tick().await;
                let looks = Table::ALL.map(|table| tables.handle(table).refresh());
                for (table, look) in Table::ALL.into_iter().zip(join_all(looks).await) {
                    if let Err(error) = look {
                        tracing::warn!(
                            target: "otlake::catalog", table = table.name(),
                            code = error.code.as_str(),
                            "what other nodes have committed cannot be read: {error}"
                        );
                    }
                }
            }
        }))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}
