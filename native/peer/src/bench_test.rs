//! What bulk costs: `cargo test --release -p otlake-peer -- --ignored --nocapture bulk`.

use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use crate::testing::pair;

const MESSAGE_BYTES: usize = 400_000;
const MESSAGES: usize = 10_000;

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn wall() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures; it asserts nothing about time"]
async fn bulk_over_a_stream() {
    let (a, _b) = pair().await;
    for _ in 0..3 {
        let (mut outgoing, mut incoming) = a.peers.open("b", "count", Bytes::new()).await.unwrap();
        let message = Bytes::from(vec![1; MESSAGE_BYTES]);
        let (cpu_before, wall_before) = (cpu(), wall());
        for _ in 0..MESSAGES {
            outgoing.send(message.clone()).await.unwrap();
        }
        outgoing.finish().await.unwrap();
        let counted = incoming.next().await.unwrap().unwrap();
        let counted = u64::from_le_bytes(counted[..].try_into().unwrap());
        assert_eq!(counted, (MESSAGES * MESSAGE_BYTES) as u64);
        let gigabytes = counted as f64 / 1e9;
        let (cpu, wall) = (cpu() - cpu_before, wall() - wall_before);
        println!(
            "{gigabytes} GB: {:.3} CPU-seconds per GB on both sides, {:.2} GB/s",
            cpu.as_secs_f64() / gigabytes,
            gigabytes / wall.as_secs_f64(),
        );
    }
}
