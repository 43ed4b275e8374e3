//! An owner's links: each is opened again whenever it breaks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::replicator::Replicator;
use super::wire::{Link, Outgoing, Wire};
use crate::message::{MESSAGE_BYTES, MESSAGE_FRAMES, Message};

/// How long a node that is not reached is left alone; doubled with each further time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

struct Open {
    link: u64,
    sender: mpsc::UnboundedSender<Message>,
}

/// The links of one owner.
pub struct Links {
    wire: Arc<dyn Wire>,
    replicator: Weak<Replicator>,
    next: AtomicU64,
    open: Arc<Mutex<HashMap<Arc<str>, Open>>>,
    tasks: Mutex<HashMap<Arc<str>, JoinHandle<()>>>,
}

impl Links {
    pub fn new(wire: Arc<dyn Wire>, replicator: Weak<Replicator>) -> Links {
        Links {
            wire,
            replicator,
            next: AtomicU64::new(1),
            open: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    /// Keeps a link to a node open until [`Links::end`].
    pub fn open(&self, name: Arc<str>, runtime: &Handle) {
        let keeps = keep(
            Arc::clone(&name),
            Arc::clone(&self.wire),
            Weak::clone(&self.replicator),
            Arc::clone(&self.open),
        );
        if let Some(before) = self.tasks.lock().insert(name, runtime.spawn(keeps)) {
            before.abort();
        }
    }

    pub fn end(&self, name: &Arc<str>) {
        if let Some(task) = self.tasks.lock().remove(name) {
            task.abort();
        }
        self.open.lock().remove(name);
    }

    /// Sends a message, unless the link is another by now. What an owner has under way is bounded,
    /// and so is what waits here.
    pub fn send(&self, to: &Arc<str>, link: u64, message: Message) {
        if let Some(open) = self.open.lock().get(to)
            && open.link == link
        {
            // A link that has ended is told as such soon.
            let _ = open.sender.send(message);
        }
    }

    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn close(&self) {
        for (_, task) in self.tasks.lock().drain() {
            task.abort();
        }
        self.open.lock().clear();
    }
}

async fn keep(
    name: Arc<str>,
    wire: Arc<dyn Wire>,
    replicator: Weak<Replicator>,
    open: Arc<Mutex<HashMap<Arc<str>, Open>>>,
) {
    let mut retry = FIRST_RETRY;
    loop {
        match wire.open(&name).await {
            Ok(link) => {
                retry = FIRST_RETRY;
                let Some(this) = replicator.upgrade() else {
                    return;
                };
                let number = this.link_number();
                let (sender, waiting) = mpsc::unbounded_channel();
                let opened = Open {
                    link: number,
                    sender,
                };
                open.lock().insert(Arc::clone(&name), opened);
                this.with(|owner, now| owner.connected(&name, number, now));
                drop(this);
                run(&name, number, link, waiting, &replicator).await;
                open.lock().remove(&name);
                let Some(this) = replicator.upgrade() else {
                    return;
                };
                this.with(|owner, _| owner.disconnected(&name, number));
            }
            Err(error) => {
                tracing::debug!(target: "otlake::replicate", %name, %error, "no link");
            }
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// Carries messages both ways until the link breaks.
async fn run(
    name: &Arc<str>,
    number: u64,
    link: Link,
    waiting: mpsc::UnboundedReceiver<Message>,
    replicator: &Weak<Replicator>,
) {
    let Link {
        outgoing,
        mut incoming,
    } = link;
    let receives = async {
        while let Ok(Some(bytes)) = incoming.next().await {
            let message = match Message::decode(bytes) {
                Ok(message) => message,
                Err(error) => {
                    tracing::warn!(target: "otlake::replicate", %name, %error, "a link ends");
                    return;
                }
            };
            let Some(this) = replicator.upgrade() else {
                return;
            };
            this.with(|owner, now| owner.received(name, number, message, now));
        }
    };
    tokio::select! {
        () = receives => {}
        () = sends(outgoing, waiting) => {}
    }
}

/// Sends what waits; records that wait behind each other go in one message.
async fn sends(mut outgoing: Box<dyn Outgoing>, mut waiting: mpsc::UnboundedReceiver<Message>) {
    let mut next = None;
    loop {
        let mut message = match next.take() {
            Some(message) => message,
            None => match waiting.recv().await {
                Some(message) => message,
                None => return,
            },
        };
        if let Message::Append { frames, .. } = &mut message {
            let mut bytes: usize = frames.iter().map(otlake_log::Frame::bytes).sum();
            while bytes < MESSAGE_BYTES && frames.len() < MESSAGE_FRAMES {
                match waiting.try_recv() {
                    Ok(Message::Append { frames: more, .. }) => {
                        bytes += more.iter().map(otlake_log::Frame::bytes).sum::<usize>();
                        frames.extend(more);
                    }
                    Ok(other) => {
                        next = Some(other);
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        if outgoing.send_parts(message.parts()).await.is_err() {
            return;
        }
    }
}
