//! What a node that comes back does about the streams of its earlier starts, once they are sealed:
//! records that it had acknowledged alone, and that nobody else had, go into its new stream.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use otlake_base::{Disk, StreamId};
use otlake_log::StreamReader;

use super::owning::{record_of, signal_of};
use super::process::{Asked, Process, Request};
use super::register::{Ask, StreamRecord, StreamState};
use super::tenants::tenant_of;
use super::world::World;

impl World {
    pub fn look_after_own(
        &mut self,
        process: &mut Process,
        streams: &BTreeMap<StreamId, StreamRecord>,
    ) {
        // One whose log is gone has nothing to bring back.
        for (stream, record) in streams {
            let is_sealed = matches!(record.state, StreamState::Sealed { .. });
            let is_gone = record.owner == process.node
                && *stream != process.stream
                && !process.own_old.contains(stream);
            if is_sealed && is_gone {
                self.ask(process, Ask::Forget { stream: *stream }, Asked::Forget);
            }
        }
        if process.all_sealed || process.own_old.is_empty() {
            return;
        }
        let old: Vec<StreamId> = process.own_old.iter().copied().collect();
        let is_over = |stream: &StreamId| {
            let record = streams.get(stream);
            record.is_none_or(|record| matches!(record.state, StreamState::Sealed { .. }))
        };
        if !old.iter().all(is_over) {
            return;
        }
        process.all_sealed = true;
        let node = process.node;
        let mut candidates = Vec::new();
        for stream in old {
            let Some(record) = streams.get(&stream) else {
                continue;
            };
            let StreamState::Sealed { settled } = &record.state else {
                continue;
            };
            let disk = Arc::new(self.nodes[node].disk.clone());
            let mut reader = StreamReader::new(disk, Path::new("/data/log").to_owned(), stream, 1);
            while let Ok(chunk) = reader.read(None, usize::MAX) {
                for frame in &chunk.frames {
                    let (sequence, signal) = (frame.header().sequence, frame.header().signal);
                    let content = frame.record().and_then(|record| record_of(&record.payload));
                    let Some(content) = content else { continue };
                    if settled[signal.index()].contains(sequence) {
                        self.nodes[node].stored.insert(content, (stream, sequence));
                    } else if record.ensembles.may_be_owners_alone(signal) {
                        candidates.push(((stream, sequence), content));
                    }
                }
                if chunk.ended {
                    break;
                }
            }
        }
        // What was acknowledged at its old place is known as stored there, and is not.
        for (origin, record) in &candidates {
            let stored = &mut self.nodes[node].stored;
            if stored.get(record) == Some(origin) {
                stored.remove(record);
            }
        }
        process.to_return = candidates;
    }

    /// Appends what is to come back, and lets the old streams go when it is done.
    pub fn return_records(&mut self, process: &mut Process) {
        if !process.all_sealed || process.own_old.is_empty() {
            return;
        }
        let node = process.node;
        let now = self.local(node);
        let stored = &self.nodes[node].stored;
        process
            .to_return
            .retain(|(_, record)| !stored.contains_key(record));
        for (origin, record) in process.to_return.clone() {
            if process.requests.contains_key(&record)
                || process
                    .owner
                    .admit(signal_of(record), tenant_of(record), now)
                    .is_err()
            {
                continue;
            }
            self.note(&[17, record], || format!("n{node} brings back {record}"));
            let request = Request {
                waiters: Vec::new(),
                origin: Some(origin),
            };
            self.append(process, record, request);
        }
        if !process.to_return.is_empty() {
            return;
        }
        for stream in std::mem::take(&mut process.own_old) {
            let disk = &self.nodes[node].disk;
            let folder = Path::new("/data/log").join(stream.to_string());
            for entry in disk.list(&folder).unwrap_or_default() {
                let _ = disk.remove(&folder.join(entry.name));
            }
            let _ = disk.remove_folder(&folder);
            process.old.forget(stream);
            self.ask(process, Ask::Forget { stream }, Asked::Forget);
        }
    }
}
