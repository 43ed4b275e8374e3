//! What goes on beside the calls: a node joins, names what was agreed on, and sees to it that files
//! have their copies.
//!
//! ```text
//!  join     ask the group for all that is decided; whose version 0 a new table has
//!  name     at each decision: content ──> name; names that are deleted ──> gone
//!  offer    own files ──Offer──> those who should have them ──> they fetch what they lack
//! ```
//!
//! Everyone offers what it has: at once when members come and go, what is known to lack copies every
//! few seconds, and all of it every few minutes. Who lacks a file fetches it, a few at a time and at a
//! bounded pace. A file that belongs on other nodes goes once all of those have it. Files that were
//! deleted while a node was away it lists like others, and the next vacuum deletes them again: only
//! that decides from the table's versions what is not needed any more.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use otlake_base::limits::{FILES_NAMES, FILES_REPAIRS, FILES_WAITING};
use otlake_base::{Code, Error, Result};
use otlake_consensus::state::{FileLog, State, commit_version};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::files::{ASK_TIME, Files, FilesLink, disk_failed, unexpected};
use crate::log::commit_name;
use crate::names::is_data;
use crate::wire::{Answer, Request, What};

/// How often it is looked whether a copy that belongs on others can go, beside the offers of all.
const LOG_EVERY: u32 = 60;

/// Files that are to be fetched, with a node that has each.
#[derive(Default)]
pub(crate) struct Waiting {
    queue: Mutex<Queue>,
    pushed: Notify,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<(String, Arc<str>)>,
    /// Those in it, and those that are being fetched.
    known: HashSet<String>,
}

impl Waiting {
    pub(crate) fn push(&self, key: &str, node: &Arc<str>) {
        let mut queue = self.queue.lock();
        if queue.order.len() < FILES_WAITING && queue.known.insert(key.to_owned()) {
            queue.order.push_back((key.to_owned(), Arc::clone(node)));
            self.pushed.notify_one();
        }
    }

    async fn next(&self) -> (String, Arc<str>) {
        loop {
            let pushed = self.pushed.notified();
            let next = self.queue.lock().order.pop_front();
            match next {
                Some(next) => {
                    // Whoever else waits looks, too.
                    self.pushed.notify_one();
                    return next;
                }
                None => pushed.await,
            }
        }
    }

    fn done(&self, key: &str) {
        self.queue.lock().known.remove(key);
    }
}

/// Everything that goes on, to be run.
pub(crate) fn tasks(files: &Arc<Files>) -> Vec<BoxFuture<'static, ()>> {
    let mut tasks: Vec<BoxFuture<'static, ()>> = vec![
        Box::pin(name(Arc::clone(files))),
        Box::pin(offer(Arc::clone(files))),
    ];
    for _ in 0..FILES_REPAIRS {
        tasks.push(Box::pin(fetch(Arc::clone(files))));
    }
    tasks
}

/// Joins, then gives names as they are decided.
async fn name(files: Arc<Files>) {
    let mut attempt: u32 = 0;
    loop {
        match files.try_join().await {
            Ok(()) => break,
            Err(error) => {
                // Said once in a while: for a node that waits for others this is no fault.
                if attempt.is_multiple_of(LOG_EVERY) && error.code == Code::MetadataForeign {
                    tracing::error!(target: "otlake::files", "{error}");
                }
                *files.obstacle.lock() = Some(error.to_string());
                attempt = attempt.saturating_add(1);
            }
        }
        files.runtime.sleep(files.pace.retry).await;
    }
    *files.obstacle.lock() = None;
    files.set_joined();
    let Ok(link) = files.link() else { return };
    let mut states = link.group.watch();
    let mut done: Option<Arc<BTreeMap<String, Arc<FileLog>>>> = None;
    loop {
        let state = Arc::clone(&states.borrow_and_update());
        let is_new = done
            .as_ref()
            .is_none_or(|done| !Arc::ptr_eq(done, &state.files));
        if is_new {
            done = match files.settle(&state).await {
                Ok(()) => Some(Arc::clone(&state.files)),
                Err(error) => {
                    tracing::debug!(target: "otlake::files", "a log lacks files still: {error}");
                    None
                }
            };
        }
        let pause = match done {
            Some(_) => files.pace.offer_all,
            None => files.pace.retry,
        };
        let changed = tokio::select! {
            biased;
            changed = states.changed() => Some(changed),
            () = files.runtime.sleep(pause) => None,
        };
        match changed {
            Some(Err(_)) => return,
            Some(Ok(())) => {}
            None => {
                // Copies can have been found to be damaged meanwhile.
                done = None;
                if let Err(error) = files.tidy(&link).await {
                    tracing::debug!(target: "otlake::files", "not tidied up: {error}");
                }
            }
        }
    }
}

impl Files {
    /// Takes over what was decided before, and has it decided whose version 0 a table has.
    async fn try_join(self: &Arc<Self>) -> Result<()> {
        let link = self.link()?;
        let state = link.group.read().await?;
        if state.group == 0 {
            let what = "there is no metadata group yet";
            return Err(Error::new(Code::MetadataUnavailable, what));
        }
        for folder in self.shelf.logs() {
            let names = self.shelf.names(&folder);
            let newest = names.keys().rev().find_map(|name| commit_version(name));
            let next = state.files.get(&folder).map_or(0, |log| log.next);
            if newest.is_some_and(|newest| newest >= next) {
                let what = format!(
                    "{folder} has versions here that the metadata group does not know: this data \
                     folder is of another cluster, or the group has lost its state. Start the node \
                     with an empty data folder, or all nodes with the metadata that they had"
                );
                return Err(Error::new(Code::MetadataForeign, what));
            }
        }
        let made: Vec<_> = self.made.lock().clone().into_iter().collect();
        for (folder, bytes) in made {
            let is_there = |state: &State| state.files.get(&folder).is_some_and(|log| log.next > 0);
            if !is_there(&state) {
                // That another's has come first is as good.
                self.agree(&link, (&folder, &commit_name(0)), bytes, false)
                    .await?;
            }
        }
        // Only now: whoever looks until then sees what this node has made.
        let state = link.group.read().await?;
        self.made
            .lock()
            .retain(|folder, _| !state.files.contains_key(folder));
        Ok(())
    }

    /// Names what was decided, and deletes what was.
    async fn settle(self: &Arc<Self>, state: &State) -> Result<()> {
        let mut last = Ok(());
        for (folder, log) in &*state.files {
            let commits = log.commits.iter();
            let commits = commits.map(|(version, file)| (commit_name(*version), file));
            let names = log.names.iter().map(|(name, file)| (name.clone(), file));
            for (name, file) in commits.chain(names) {
                if let Err(error) = self.ensure(folder, &name, file).await {
                    last = Err(error);
                }
            }
            self.clear(folder, log).await?;
        }
        last
    }

    /// Removes contents that got no name: those that have one by now are named first.
    async fn tidy(self: &Arc<Self>, link: &FilesLink) -> Result<()> {
        let before = self.now().saturating_sub(self.pace.staged.as_secs());
        let state = link.group.read().await?;
        self.settle(&state).await?;
        let shelf = Arc::clone(&self.shelf);
        self.blocking(move || shelf.unstage_before(before))
            .await
            .map_err(disk_failed)
    }

    /// Deletes the files of names that are deleted.
    async fn clear(&self, folder: &str, log: &FileLog) -> Result<()> {
        if self.dead_names(folder, log).is_empty() {
            return Ok(());
        }
        // A name can have been given, and its file be here, since this state was: nothing is named
        // while the group is asked what is so now.
        let _naming = self.naming.lock().await;
        let state = self.link()?.group.read().await?;
        let Some(log) = state.files.get(folder) else {
            return Ok(());
        };
        for name in self.dead_names(folder, log) {
            let (shelf, key) = (Arc::clone(&self.shelf), format!("{folder}/{name}"));
            self.blocking(move || shelf.remove(&key))
                .await
                .map_err(disk_failed)?;
        }
        Ok(())
    }

    /// The names of this node's files that the log has no more.
    fn dead_names(&self, folder: &str, log: &FileLog) -> Vec<String> {
        let names = self.shelf.names(folder);
        let newest = names.keys().rev().find_map(|name| commit_version(name));
        // A state that is older than what is here says nothing of it.
        if newest.is_some_and(|newest| newest >= log.next) {
            return Vec::new();
        }
        let is_dead = |name: &str| match commit_version(name) {
            Some(version) => version < log.floor,
            None => !log.names.contains_key(name),
        };
        names.into_keys().filter(|name| is_dead(name)).collect()
    }

    /// Offers files to those who should have them. `all`: every one; else those that are known to
    /// lack copies.
    pub(crate) async fn offer_round(self: &Arc<Self>, all: bool) -> Result<()> {
        let link = self.link()?;
        let view = self.view();
        let keys: Vec<String> = match all {
            true => {
                let shelf = Arc::clone(&self.shelf);
                self.blocking(move || Ok(shelf.data()))
                    .await
                    .map_err(disk_failed)?
            }
            false => self.lacking.lock().iter().cloned().collect(),
        };
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut for_node: BTreeMap<Arc<str>, Vec<&str>> = BTreeMap::new();
        for key in &keys {
            let holders = view.holders(key, self.wanted(&link, key));
            let mut tally = Tally {
                wanted: self.wanted(&link, key).min(view.members.len().max(1)),
                others: 0,
                asked: 0,
                have: 0,
                is_own: false,
            };
            for node in holders {
                if node == link.name {
                    tally.is_own = true;
                    continue;
                }
                tally.others += 1;
                if view.is_there(&node) {
                    tally.asked += 1;
                    for_node.entry(node).or_default().push(key);
                }
            }
            tallies.insert(key, tally);
        }
        for (node, keys) in &for_node {
            for part in keys.chunks(FILES_NAMES) {
                match self.offer_to(&link, node, part).await {
                    Ok(missing) => {
                        for (at, key) in part.iter().enumerate() {
                            if let Some(tally) = tallies.get_mut(key)
                                && !missing.contains(&at)
                            {
                                tally.have += 1;
                            }
                        }
                    }
                    Err(error) => {
                        tracing::debug!(target: "otlake::files", %node, "not offered: {error}");
                    }
                }
            }
        }
        self.take_stock(&tallies, all).await
    }

    /// Offers files to a node; the places of those that it lacks.
    async fn offer_to(
        &self,
        link: &FilesLink,
        node: &str,
        keys: &[&str],
    ) -> Result<HashSet<usize>> {
        let request = Request::Offer {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let (answer, _) = self.ask(link, node, &request, (&[], ASK_TIME)).await?;
        let Answer::Offered { missing, deleted } = answer else {
            return Err(unexpected(&answer));
        };
        for key in deleted.iter().filter_map(|at| keys.get(*at)) {
            self.delete_own((*key).to_owned()).await?;
        }
        Ok(missing.into_iter().collect())
    }

    /// Notes what lacks copies, and lets go of copies that belong on others.
    async fn take_stock(&self, tallies: &BTreeMap<&str, Tally>, all: bool) -> Result<()> {
        let mut short = 0;
        for (key, tally) in tallies {
            if !self.shelf.has(key) {
                self.lacking.lock().remove(*key);
                continue;
            }
            let copies = tally.have + usize::from(tally.is_own || tally.others == 0);
            short += i64::from(copies < tally.wanted);
            self.note_lacking(key, tally.have < tally.asked);
            if !tally.is_own && tally.others > 1 && tally.have == tally.others {
                self.let_go(key).await?;
            }
        }
        if all {
            self.metrics.files.under_replicated.set(short);
        }
        Ok(())
    }

    /// Those who are there and lack a file fetch it now; whether they have it is asked again.
    fn note_lacking(&self, key: &str, is_lacking: bool) {
        let mut lacking = self.lacking.lock();
        if !is_lacking {
            lacking.remove(key);
        } else if lacking.len() < FILES_WAITING {
            lacking.insert(key.to_owned());
        }
    }

    /// Lets go of a copy that all those have who should, once it is old: it may be read here still.
    async fn let_go(&self, key: &str) -> Result<()> {
        let (shelf, own) = (Arc::clone(&self.shelf), key.to_owned());
        let extra = self.pace.extra;
        let now = self.clock.unix_nano();
        let gone = self.blocking(move || {
            let Some(sheet) = shelf.sheet(&own)? else {
                return Ok(false);
            };
            let age = now.saturating_sub(sheet.modified_unix_nano);
            match u128::from(age) >= extra.as_nanos() {
                true => shelf.remove(&own),
                false => Ok(false),
            }
        });
        gone.await.map(drop).map_err(disk_failed)
    }

    /// Fetches a file that should be here.
    async fn fetch_waiting(self: &Arc<Self>, key: &str, offered_by: &Arc<str>) -> Result<()> {
        if self.shelf.has(key) || self.is_forgotten(key) || !is_data(key) {
            return Ok(());
        }
        let link = self.link()?;
        let what = What::Key(key.to_owned());
        let mut nodes = vec![Arc::clone(offered_by)];
        nodes.extend(self.candidates(&link, key));
        let mut last = Error::new(Code::TableIo, format!("{key}: nobody has it any more"));
        for node in nodes {
            let fetched = async {
                let Some(sheet) = self.describe_at(&link, &node, &what).await? else {
                    return Ok(false);
                };
                let writing = self.fetch(&link, (&node, &what), &sheet, true).await?;
                // One that was deleted meanwhile is in no need of a copy either.
                let kept = self.keep_copy(writing, &sheet, (key, false)).await;
                kept.map(|_| true).map_err(disk_failed)
            };
            match fetched.await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// How many have a file.
struct Tally {
    wanted: usize,
    /// Other nodes that should have it.
    others: usize,
    /// Those of them that are there.
    asked: usize,
    /// Those of them that have it.
    have: usize,
    /// Whether this node should.
    is_own: bool,
}

async fn offer(files: Arc<Files>) {
    let mut views = files.views();
    let mut last_all = None;
    let mut joined = files.joined();
    if joined.wait_for(|joined| *joined).await.is_err() {
        return;
    }
    loop {
        let now = files.clock.monotonic();
        let changed = views.has_changed().unwrap_or(false);
        views.mark_unchanged();
        let is_due = last_all.is_none_or(|last| now.saturating_sub(last) >= files.pace.offer_all);
        let all = changed || is_due;
        if all || !files.lacking.lock().is_empty() {
            match files.offer_round(all).await {
                Ok(()) if all => last_all = Some(now),
                // What was lacking is there: that is looked at as a whole.
                Ok(()) if files.lacking.lock().is_empty() => last_all = None,
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(target: "otlake::files", "copies are not looked after: {error}");
                }
            }
        }
        tokio::select! {
            biased;
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
                views.mark_changed();
                // Several changes come one behind the other.
                files.runtime.sleep(files.pace.retry).await;
            }
            () = files.stirred.notified() => {}
            () = files.runtime.sleep(files.pace.offer) => {}
        }
    }
}

async fn fetch(files: Arc<Files>) {
    loop {
        let (key, node) = files.waiting.next().await;
        if let Err(error) = files.fetch_waiting(&key, &node).await {
            // It is offered again.
            tracing::debug!(target: "otlake::files", key, %node, "not fetched: {error}");
        }
        files.waiting.done(&key);
    }
}
