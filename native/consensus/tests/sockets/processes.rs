use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use otlake_consensus::testing::draw;
use otlake_consensus::testing::history::{
    History, Lock, LockInput, LockOutput, Register, RegisterInput, RegisterOutput, check,
};
use parking_lot::RwLock;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::Remote;

/// The processes that run.
type Remotes = Arc<RwLock<Vec<Option<Arc<Remote>>>>>;

/// Processes that are a group.
struct Cluster {
    folder: PathBuf,
    names: Vec<&'static str>,
    remotes: Remotes,
    going: Arc<AtomicBool>,
    values: Arc<AtomicU64>,
    registers: Arc<History<Register>>,
    locks: Arc<History<Lock>>,
}

impl Cluster {
    async fn start(folder: PathBuf, names: &[&'static str]) -> Cluster {
        let cluster = Cluster {
            folder,
            names: names.to_vec(),
            remotes: Arc::new(RwLock::new(names.iter().map(|_| None).collect())),
            going: Arc::new(AtomicBool::new(true)),
            values: Arc::new(AtomicU64::new(1)),
            registers: Arc::default(),
            locks: Arc::default(),
        };
        for at in 0..names.len() {
            cluster.revive(at).await;
        }
        assert_eq!(cluster.ask(0, "bootstrap").await.as_deref(), Some("ok"));
        let voters = format!("voters {}", names.join(" "));
        let joined = format!("{0} {0}", names.len());
        for at in 0..names.len() {
            cluster.ask(at, &voters).await.unwrap();
        }
        for at in 0..names.len() {
            patiently("all vote", async {
                while !cluster.ask(at, "status").await.unwrap().ends_with(&joined) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
        }
        cluster
    }

    async fn ask(&self, at: usize, request: &str) -> Option<String> {
        ask(&self.remotes, at, request).await
    }

    /// Starts a process, and tells all where it is.
    async fn revive(&self, at: usize) {
        let remote = Remote::start(self.names[at], &self.folder);
        self.remotes.write()[at] = Some(Arc::new(remote));
        let members: Vec<String> = self
            .remotes
            .read()
            .iter()
            .flatten()
            .map(|remote| format!("{}={}", remote.name, remote.address))
            .collect();
        let request = format!("members {}", members.join(" "));
        let voters = format!("voters {}", self.names.join(" "));
        for other in 0..self.names.len() {
            self.ask(other, &request).await;
        }
        self.ask(at, &voters).await;
    }

    fn kill(&self, at: usize) {
        let remote = self.remotes.write()[at].take().unwrap();
        remote.kill();
    }

    fn signal(&self, at: usize, signal: Signal) {
        let remote = self.remotes.read()[at].clone().unwrap();
        let pid = Pid::from_raw(remote.pid() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn leader(&self) -> usize {
        loop {
            let mut best = None;
            for at in 0..self.names.len() {
                if self.remotes.read()[at].is_none() {
                    continue;
                }
                let Some(status) = self.ask(at, "status").await else {
                    continue;
                };
                let words: Vec<&str> = status.split(' ').collect();
                if words[1] == "true" {
                    best = best.max(Some((words[2].parse::<u64>().unwrap(), at)));
                }
            }
            if let Some((_, at)) = best {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts clients that ask any process, each one thing after the other.
    fn load(&self, seed: u64, clients: u64) -> Vec<tokio::task::JoinHandle<()>> {
        (1..=clients)
            .map(|id| {
                let mut chance = seed.wrapping_mul(101).wrapping_add(id);
                let (remotes, going) = (Arc::clone(&self.remotes), Arc::clone(&self.going));
                let values = Arc::clone(&self.values);
                let (registers, locks) = (Arc::clone(&self.registers), Arc::clone(&self.locks));
                tokio::spawn(async move {
                    let mut held: Option<(String, u64)> = None;
                    while going.load(Ordering::Relaxed) {
                        let at = draw(&mut chance) as usize % remotes.read().len();
                        let key = format!("k{}", draw(&mut chance) % 8);
                        match draw(&mut chance) % 4 {
                            0 | 1 => {
                                let value = values.fetch_add(1, Ordering::Relaxed);
                                let number = registers.called(&key, RegisterInput::Write(value));
                                let request = format!("write {key} {value}");
                                let answer = ask(&remotes, at, &request).await;
                                if answer.is_some_and(|answer| answer.starts_with("ok")) {
                                    registers.answered(number, RegisterOutput::Written);
                                }
                            }
                            2 => {
                                let number = registers.called(&key, RegisterInput::Read);
                                let answer = ask(&remotes, at, &format!("read {key}")).await;
                                if let Some(value) =
                                    answer.as_deref().and_then(|it| it.strip_prefix("ok "))
                                {
                                    let value = value.parse().ok();
                                    registers.answered(number, RegisterOutput::Value(value));
                                }
                            }
                            _ => lock(&remotes, &locks, at, id, &mut chance, &mut held).await,
                        }
                        let pause = draw(&mut chance) % 15;
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                })
            })
            .collect()
    }

    /// Ends the load, reads everything once more at every node, and checks what was seen.
    async fn judge(self, seed: u64, clients: Vec<tokio::task::JoinHandle<()>>) {
        let written = || {
            let operations = self.registers.operations();
            let written = operations.iter().filter(|one| {
                matches!(one.input, RegisterInput::Write(_)) && one.answered.is_some()
            });
            written.count()
        };
        patiently("writes enough to judge by", async {
            while written() <= 20 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.going.store(false, Ordering::Relaxed);
        for client in clients {
            patiently("a client's end", client).await.unwrap();
        }
        for at in 0..self.names.len() {
            for key in 0..8 {
                let key = format!("k{key}");
                let number = self.registers.called(&key, RegisterInput::Read);
                let request = format!("read {key}");
                let answer = patiently("a last read", async {
                    loop {
                        let answer = self.ask(at, &request).await;
                        if let Some(answer) = answer.filter(|it| it.starts_with("ok")) {
                            break answer;
                        }
                    }
                })
                .await;
                let value = answer.strip_prefix("ok ").unwrap().parse().ok();
                self.registers
                    .answered(number, RegisterOutput::Value(value));
            }
        }
        let registers = self.registers.operations();
        println!(
            "seed {seed}: {} operations, {} writes answered",
            registers.len(),
            written()
        );
        if let Err(fault) = check::<Register>(&registers) {
            panic!("seed {seed}: a register's history is not linearizable:\n{fault:#?}");
        }
        if let Err(fault) = check::<Lock>(&self.locks.operations()) {
            panic!("seed {seed}: a lock's history is not linearizable:\n{fault:#?}");
        }
    }
}

/// Waits for what must come.
async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), work);
    waited
        .await
        .unwrap_or_else(|_| panic!("it never came: {what}"))
}

async fn ask(remotes: &Remotes, at: usize, request: &str) -> Option<String> {
    let remote = remotes.read()[at].clone()?;
    remote.ask(request).await
}

async fn lock(
    remotes: &Remotes,
    locks: &History<Lock>,
    at: usize,
    id: u64,
    chance: &mut u64,
    held: &mut Option<(String, u64)>,
) {
    if let Some((name, token)) = held.take() {
        let number = locks.called(&name, LockInput::Release(token));
        let answer = ask(remotes, at, &format!("unlock {name} {token}")).await;
        if answer.as_deref() == Some("ok") {
            locks.answered(number, LockOutput::Released);
        }
        return;
    }
    let name = format!("l{}", draw(chance) % 2);
    let number = locks.called(&name, LockInput::Acquire(id));
    let answer = ask(remotes, at, &format!("lock {name} {id}")).await;
    match answer.as_deref().and_then(|answer| answer.split_once(' ')) {
        Some(("ok", token)) => {
            let token = token.parse().unwrap();
            locks.answered(number, LockOutput::Token(token));
            *held = Some((name, token));
        }
        // Who holds it instead is not told here: that it changed nothing is.
        Some(("error", "METADATA_REFUSED")) => locks.failed(number),
        _ => {}
    }
}

fn seed(own: u64) -> u64 {
    let given = std::env::var("OTLAKE_META_SEED");
    given.ok().and_then(|text| text.parse().ok()).unwrap_or(own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9_of_a_majority_or_of_all() {
    let seed = seed(31);
    println!("OTLAKE_META_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path().to_owned(), &["a", "b", "c"]).await;
    let clients = cluster.load(seed, 4);
    let mut chance = seed;
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(300 + draw(&mut chance) % 500)).await;
        let first = draw(&mut chance) as usize % 3;
        let count = if round == 4 { 3 } else { 2 };
        let killed: Vec<usize> = (0..count).map(|step| (first + step) % 3).collect();
        for at in &killed {
            cluster.kill(*at);
        }
        tokio::time::sleep(Duration::from_millis(draw(&mut chance) % 300)).await;
        for at in killed {
            patiently("a start", cluster.revive(at)).await;
        }
        // It goes on.
        let before = cluster.values.load(Ordering::Relaxed);
        patiently("the group goes on", async {
            let request = format!("write round {before}");
            while !cluster
                .ask(0, &request)
                .await
                .is_some_and(|it| it.starts_with("ok"))
            {}
        })
        .await;
    }
    cluster.judge(seed, clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_and_goes_on_later_answers_nothing_stale() {
    let seed = seed(32);
    println!("OTLAKE_META_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path().to_owned(), &["a", "b", "c"]).await;
    let clients = cluster.load(seed, 4);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let leader = patiently("a leader", cluster.leader()).await;
        cluster.signal(leader, Signal::STOP);
        let other = (leader + 1) % 3;
        patiently("the others go on", async {
            while !cluster
                .ask(other, "write stopped 1")
                .await
                .is_some_and(|it| it.starts_with("ok"))
            {}
        })
        .await;
        cluster.signal(leader, Signal::CONT);
    }
    cluster.judge(seed, clients).await;
}
