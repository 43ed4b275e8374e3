//! Appends in groups that the seed alone decides.

use std::sync::mpsc::{Receiver, Sender, channel};

use otlake_base::{Position, Result};
use otlake_log::{Log, Record};

/// Appends in groups whose borders the seed alone decides: the writer is held in the last answer
/// of a group until the next one waits for it.
pub struct Groups {
    pub log: Log,
    held: Option<Sender<()>>,
}

impl Groups {
    pub fn new(log: Log) -> Groups {
        Groups { log, held: None }
    }

    pub fn append(&mut self, records: Vec<Record>) -> Vec<Result<Position>> {
        let count = records.len();
        let (answer, answers) = channel();
        let (hold, held) = channel::<()>();
        let mut last: Option<Receiver<()>> = Some(held);
        for (index, record) in records.into_iter().enumerate() {
            let answer = answer.clone();
            let held = if index + 1 == count {
                last.take()
            } else {
                None
            };
            self.log.append(
                record,
                Box::new(move |outcome| {
                    let _ = answer.send((index, outcome));
                    // A refusal on the caller's own thread has nothing to wait for.
                    if std::thread::current().name() == Some("otlake-log")
                        && let Some(held) = held
                    {
                        let _ = held.recv();
                    }
                }),
            );
        }
        drop(answer);
        // The writer goes on with all of this group waiting.
        self.held = Some(hold);
        let mut outcomes: Vec<(usize, Result<Position>)> = answers.iter().take(count).collect();
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    pub fn close(&mut self) {
        self.held = None;
        let _ = self.log.close();
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.held = None;
    }
}
