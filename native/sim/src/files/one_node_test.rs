//! One node's copies, wherever its process ends.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::checksum::BlockSums;
use otlake_base::{Metrics, Result};
use otlake_files::{Files, FilesPace, FilesService};
use otlake_peer::Service;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use super::executor::{Executor, NodeRuntime, Round};
use super::world::DATA;
use crate::clock::SimClock;
use crate::disk::{Fate, SimDisk};

const KEY: &str = "spans/tenant=a/day=2026-01-01/x.parquet";

/// What another node sends: a byte, the length of the head, the head, and a file's bytes.
fn message(head: &str, body: &[u8]) -> Bytes {
    let mut message = vec![1];
    message.extend_from_slice(&(head.len() as u32).to_le_bytes());
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(body);
    Bytes::from(message)
}

/// Asks a node to take a copy.
fn take(content: &[u8]) -> Bytes {
    let (bytes, sum) = (content.len(), xxh3_128(content));
    let blocks = BlockSums::of(content).to_text();
    let line = format!("otlake-file 1 {bytes} 5 {sum:032x} {blocks}");
    let sheet = format!("{line} {:08x}\\n", crc32c::crc32c(line.as_bytes()));
    let crc = crc32c::crc32c(content);
    let head = format!(
        r#"{{"take":{{"what":{{"key":"{KEY}"}},"sheet":"{sheet}","inline":true,"crc":{crc}}}}}"#
    );
    message(&head, content)
}

/// Asks a node whether it has one.
fn have() -> Bytes {
    message(&format!(r#"{{"have":{{"keys":["{KEY}"]}}}}"#), b"")
}

/// A node's process on a disk.
struct Process {
    executor: Arc<Executor>,
    files: Arc<Files>,
}

impl Process {
    fn start(disk: &SimDisk) -> Process {
        let executor = Executor::new(1);
        let runtime = NodeRuntime {
            executor: Arc::clone(&executor),
            node: 0,
        };
        let files = Files::open_on(
            Arc::new(runtime),
            Arc::new(disk.clone()),
            Path::new(DATA),
            FilesPace::default(),
            Arc::new(SimClock::default()),
            Arc::new(Metrics::strict()),
        );
        Process {
            executor,
            files: files.expect("the files open"),
        }
    }

    fn ask(&self, request: Bytes) -> Result<Bytes> {
        let service = FilesService::new(&self.files);
        let answer = Arc::new(Mutex::new(None));
        let told = Arc::clone(&answer);
        self.executor.spawn(Some(0), async move {
            let answer = service.call("another".into(), request).await;
            *told.lock() = Some(answer);
        });
        while self.executor.round() == Round::Went {}
        let answer = answer.lock().take();
        answer.expect("an answer")
    }

    fn has(&self) -> bool {
        let answer = self.ask(have()).expect("an answer");
        answer.ends_with(br#"{"having":{"places":[0]}}"#)
    }
}

#[test]
fn i2_what_a_kill_left_in_the_page_cache_is_durable_before_others_hear_of_it() {
    let content = crate::files::content::data(KEY, 70_000);
    let mut at = 0;
    loop {
        let disk = SimDisk::new(7, Arc::new(SimClock::default()));
        let process = Process::start(&disk);
        disk.crash_in(at);
        let taken = process.ask(take(&content));
        if taken.is_ok() && !disk.crashed() {
            assert!(process.has());
            break;
        }
        let disk = disk.reboot(Fate::Kill, at);
        let has = Process::start(&disk).has();
        for seed in 0..8 {
            let disk = disk.reboot(Fate::PowerCut, seed);
            let still_has = Process::start(&disk).has();
            assert!(still_has || !has, "operation {at}, cut {seed}");
        }
        at += 1;
    }
    assert!(at > 8, "{at}");
}
