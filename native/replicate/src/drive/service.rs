//! The follower's side as a service, and what a node tells of its own streams.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use otlake_base::{Clock, Code, Disk, Error, Metrics, Result, StreamId};
use otlake_log::{Appender, Frame};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::replicator::Replicator;
use super::streams::OldStreams;
use super::wire::{Incoming, Outgoing};
use crate::follower::{Follower, Output, To};
use crate::journal::{Journal, JournalConfig};
use crate::message::{BySignal, Message, Refusal};

/// Bytes that an answer to a fetch may have, whatever is asked for (I5).
const FETCH_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Who is told of the records that this node holds copies of.
pub trait Observer: Send + Sync {
    /// These are held from now on, or are about to be.
    fn took(&self, frames: &[Frame]);

    /// Everything of the stream up to here is acknowledged, and by signal in the tables up to there.
    fn settled(&self, stream: StreamId, acknowledged: u64, released: BySignal);
}

/// What a node serves to others: its journal, and its own streams.
pub struct ReplicaService {
    this: Weak<ReplicaService>,
    journal: Journal,
    follower: Mutex<Follower>,
    /// Held by whoever does what the follower wants, in order.
    working: Mutex<()>,
    links: Mutex<HashMap<u64, mpsc::UnboundedSender<Message>>>,
    calls: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    next_number: AtomicU64,
    old: OldStreams,
    own: RwLock<Option<Arc<Replicator>>>,
    observer: RwLock<Option<Arc<dyn Observer>>>,
}

impl ReplicaService {
    /// Opens the journal; `log_dir` is the folder of the node's own streams, on the same disk.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        log_dir: PathBuf,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<ReplicaService>> {
        let journal = Journal::open(Arc::clone(&disk), config, clock, Arc::clone(&metrics))?;
        let contents = journal.reader().contents();
        let follower = Follower::new(journal.identity(), contents, metrics);
        let service = Arc::new_cyclic(|this: &Weak<ReplicaService>| ReplicaService {
            this: Weak::clone(this),
            journal,
            follower: Mutex::new(follower),
            working: Mutex::new(()),
            links: Mutex::default(),
            calls: Mutex::default(),
            next_number: AtomicU64::new(1),
            old: OldStreams::new(disk, log_dir),
            own: RwLock::new(None),
            observer: RwLock::new(None),
        });
        let this = Weak::clone(&service.this);
        service.journal.on_lost(Box::new(move |identity, records| {
            if let Some(service) = this.upgrade() {
                service.follower.lock().lost(identity, records);
                service.work();
            }
        }));
        Ok(service)
    }

    /// The stream that this node writes is told of from now on.
    pub fn own(&self, replicator: Arc<Replicator>) {
        *self.own.write() = Some(replicator);
    }

    /// Has an observer told of what is held, and of what comes. Reads the whole journal: call it on a thread
    /// that may wait for the disk.
    ///
    /// # Errors
    /// `LOG_IO` where the journal cannot be read.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> Result<()> {
        *self.observer.write() = Some(Arc::clone(&observer));
        let reader = self.journal.reader();
        for (stream, sequence) in reader.all() {
            match reader.read(stream, sequence) {
                Ok(frame) => observer.took(frame.as_slice()),
                // Whoever checks the journal or reads it for others tells of it.
                Err(error) if error.code == Code::LogChecksumMismatch => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn observed(&self, told: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &*self.observer.read() {
            told(&**observer);
        }
    }

    /// The identity of the journal.
    pub fn journal(&self) -> u128 {
        self.follower.lock().journal()
    }

    /// Streams of which copies are held here.
    pub fn holding(&self) -> Vec<StreamId> {
        self.follower.lock().holding()
    }

    /// Bytes of the journal on disk, and records in it.
    pub fn figures(&self) -> (u64, usize) {
        let reader = self.journal.reader();
        (reader.bytes(), reader.records())
    }

    /// Serves a link until it ends.
    pub async fn serve(
        &self,
        from: &Arc<str>,
        mut incoming: Box<dyn Incoming>,
        mut outgoing: Box<dyn Outgoing>,
    ) {
        let link = self.next_number.fetch_add(1, Ordering::Relaxed);
        // Each message that comes makes a few small ones, so what an owner may have under way
        // bounds this.
        let (sender, mut says) = mpsc::unbounded_channel::<Message>();
        self.links.lock().insert(link, sender);
        let receives = async {
            loop {
                match incoming.next().await {
                    Ok(Some(bytes)) => match Message::decode(bytes) {
                        Ok(message) => {
                            self.follower.lock().received(link, message);
                            self.work();
                        }
                        Err(error) => {
                            tracing::warn!(target: "otlake::replicate", %from, %error, "a link ends");
                            return;
                        }
                    },
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(target: "otlake::replicate", %from, %error, "a link ends");
                        return;
                    }
                }
            }
        };
        let sends = async {
            while let Some(message) = says.recv().await {
                if outgoing.send(message.encode()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = receives => {}
            () = sends => {}
        }
        self.links.lock().remove(&link);
        self.follower.lock().closed(link);
    }

    /// Answers a call.
    ///
    /// # Errors
    /// `CLUSTER_MESSAGE`, or what reading came to.
    pub async fn call(&self, request: Bytes) -> Result<Bytes> {
        let message = Message::decode(request)?;
        Ok(self.answer(message).await?.encode())
    }

    /// Answers a call of this node itself.
    ///
    /// # Errors
    /// As [`ReplicaService::call`].
    pub async fn answer(&self, message: Message) -> Result<Message> {
        let stream = match &message {
            Message::Fence { stream, .. }
            | Message::Ask { stream }
            | Message::Fetch { stream, .. }
            | Message::Release { stream, .. }
            | Message::Forget { stream } => *stream,
            _ => {
                let text = "a message that is no call";
                return Err(Error::new(Code::ClusterMessage, text));
            }
        };
        if let Some(answer) = self.answer_of_own(stream, &message).await? {
            return Ok(answer);
        }
        if let Message::Fetch {
            stream,
            ranges,
            max_bytes,
        } = message
        {
            let this = self.strong()?;
            return blocking(move || this.fetch(stream, &ranges, max_bytes)).await;
        }
        let call = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.calls.lock().insert(call, sender);
        self.follower.lock().called(call, &message);
        self.work();
        let answer = answer.await;
        self.calls.lock().remove(&call);
        answer.map_err(|_| Error::new(Code::LogIo, "the replica journal ended"))
    }

    fn strong(&self) -> Result<Arc<ReplicaService>> {
        let this = self.this.upgrade();
        this.ok_or_else(|| Error::new(Code::NodeState, "the node is stopping"))
    }

    /// The answer where the stream is one that this node wrote.
    async fn answer_of_own(&self, stream: StreamId, message: &Message) -> Result<Option<Message>> {
        let own = self.own.read().clone();
        if let Some(own) = own.filter(|own| own.stream() == stream) {
            return own.answer(message.clone()).await.map(Some);
        }
        let (this, message) = (self.strong()?, message.clone());
        blocking(move || {
            let old = &this.old;
            match message {
                Message::Fence { stream, .. } | Message::Ask { stream } => {
                    Ok(old.held(stream)?.map(Message::Held))
                }
                Message::Fetch {
                    stream,
                    ranges,
                    max_bytes,
                } if old.has(stream)? => {
                    let max_bytes = max_bytes.min(FETCH_MAX_BYTES) as usize;
                    let (frames, gone) = old.fetch(stream, &ranges, max_bytes)?;
                    Ok(Some(Message::Frames {
                        stream,
                        frames,
                        gone,
                    }))
                }
                Message::Forget { stream } => {
                    old.forget(stream);
                    Ok(None)
                }
                _ => Ok(None),
            }
        })
        .await
    }

    fn fetch(&self, stream: StreamId, ranges: &crate::Ranges, max_bytes: u64) -> Result<Message> {
        let max_bytes = max_bytes.min(FETCH_MAX_BYTES) as usize;
        let fetched = self.journal.reader().fetch(stream, ranges, max_bytes)?;
        if !fetched.damaged.is_empty() {
            let lost = fetched.damaged.iter().map(|sequence| (stream, *sequence));
            self.journal.lost(lost.collect());
        }
        Ok(Message::Frames {
            stream,
            frames: fetched.frames,
            gone: fetched.gone,
        })
    }

    /// Reads every record of the journal; what is damaged is dropped, and its owners are told, who
    /// send it again (I6). Gives how many were read, and how many of them are lost.
    ///
    /// # Errors
    /// `LOG_IO` where the journal cannot be read.
    pub fn check(&self) -> Result<(u64, u64)> {
        let reader = self.journal.reader();
        let (mut read, mut lost) = (0, Vec::new());
        for (stream, sequence) in reader.all() {
            match reader.read(stream, sequence) {
                Ok(_) => read += 1,
                Err(error) if error.code == Code::LogChecksumMismatch => {
                    lost.push((stream, sequence));
                }
                Err(error) => return Err(error),
            }
        }
        let count = lost.len() as u64;
        if count > 0 {
            self.journal.lost(lost);
        }
        Ok((read, count))
    }

    /// Does what the follower wants. Another thread that is at it does this one's, too.
    fn work(&self) {
        loop {
            let Some(working) = self.working.try_lock() else {
                return;
            };
            loop {
                let outputs = self.follower.lock().outputs();
                if outputs.is_empty() {
                    break;
                }
                for output in outputs {
                    self.act(output);
                }
            }
            drop(working);
            // What came between the look and the unlocking was left to this thread.
            if !self.follower.lock().has_outputs() {
                return;
            }
        }
    }

    fn act(&self, output: Output) {
        match output {
            Output::Write { ticket, write } => {
                let this = Weak::clone(&self.this);
                let on_written = move |outcome: Result<()>| {
                    if let Some(this) = this.upgrade() {
                        this.follower.lock().written(ticket, &outcome);
                        this.work();
                    }
                };
                self.journal.write(write, Box::new(on_written));
            }
            Output::Took(frames) => self.observed(|observer| observer.took(&frames)),
            Output::Settled {
                stream,
                acknowledged,
                released,
            } => self.observed(|observer| observer.settled(stream, acknowledged, released)),
            Output::Say {
                to: To::Link(link),
                message,
            } => {
                if let Some(sender) = self.links.lock().get(&link) {
                    // A link that has ended is closed soon.
                    let _ = sender.send(message);
                }
            }
            Output::Say {
                to: To::Call(call),
                message,
            } => {
                if let Some(sender) = self.calls.lock().remove(&call) {
                    let _ = sender.send(message);
                }
            }
        }
    }

    /// Writes what waits and ends the journal.
    ///
    /// # Errors
    /// As [`Journal::close`].
    pub fn close(&self) -> Result<()> {
        *self.own.write() = None;
        *self.observer.write() = None;
        self.journal.close()
    }
}

/// The answer that refuses a call for now.
pub fn busy(stream: StreamId) -> Message {
    Message::Refused {
        stream,
        epoch: 0,
        reason: Refusal::Busy,
    }
}

/// Runs what reads a disk on a thread made for it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))?
}
