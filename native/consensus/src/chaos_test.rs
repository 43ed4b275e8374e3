//! Random faults under random load: what clients saw must be linearizable, whatever happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::agreement::{AgreementAnswer, AgreementCommand, AgreementRefusal};
use crate::command::{Answer, Command, Refusal};
use crate::group::MetadataGroup;
use crate::limits::MAX_TTL_MS;
use crate::testing::history::{
    History, Lock, LockInput, LockOutput, Register, RegisterInput, RegisterOutput, check,
};
use crate::testing::{Nodes, answered, draw, eventually};

/// A client, its history, and the nodes that it may ask.
struct Client {
    id: u64,
    chance: u64,
    groups: Arc<parking_lot::RwLock<Vec<Arc<MetadataGroup>>>>,
    registers: Arc<History<Register>>,
    locks: Arc<History<Lock>>,
    values: Arc<AtomicU64>,
}

impl Client {
    fn group(&mut self) -> Option<Arc<MetadataGroup>> {
        let groups = self.groups.read();
        let at = draw(&mut self.chance) as usize % groups.len().max(1);
        groups.get(at).cloned()
    }

    async fn register(&mut self) {
        let Some(group) = self.group() else { return };
        let key = format!("k{}", draw(&mut self.chance) % 6);
        match draw(&mut self.chance) % 4 {
            0 => {
                let value = self.values.fetch_add(1, Ordering::Relaxed);
                let number = self.registers.called(&key, RegisterInput::Write(value));
                let command = Command::Configure {
                    key,
                    value: Some(value.to_string()),
                    expect: None,
                };
                if group.propose(command).await.is_ok() {
                    self.registers.answered(number, RegisterOutput::Written);
                }
            }
            1 => {
                // What it swaps is what it read: the value, and the version that stands for it.
                let Some((old, version)) = self.read(&group, &key).await else {
                    return;
                };
                let value = self.values.fetch_add(1, Ordering::Relaxed);
                let number = self.registers.called(&key, RegisterInput::Swap(old, value));
                let command = Command::Configure {
                    key,
                    value: Some(value.to_string()),
                    expect: Some(version),
                };
                match group.propose(command).await {
                    Ok(Answer::Configured { .. }) => {
                        self.registers.answered(number, RegisterOutput::Written);
                    }
                    Ok(Answer::Refused(Refusal::VersionConflict { .. })) => {
                        self.registers.answered(number, RegisterOutput::Differs);
                    }
                    Ok(answer) => panic!("no answer to a swap: {answer:?}"),
                    Err(_) => {}
                }
            }
            _ => {
                self.read(&group, &key).await;
            }
        }
    }

    async fn read(&self, group: &MetadataGroup, key: &str) -> Option<(Option<u64>, u64)> {
        let number = self.registers.called(key, RegisterInput::Read);
        let state = group.read().await.ok()?;
        let setting = state.settings.get(key);
        let value = setting.map(|setting| setting.value.parse().unwrap());
        self.registers
            .answered(number, RegisterOutput::Value(value));
        Some((value, setting.map_or(0, |setting| setting.version)))
    }

    async fn lock(&mut self, held: &mut Option<(String, u64)>) {
        let Some(group) = self.group() else { return };
        let (name, input) = match held.take() {
            Some((name, token)) if draw(&mut self.chance).is_multiple_of(2) => {
                (name, LockInput::Renew(token))
            }
            Some((name, token)) => (name, LockInput::Release(token)),
            None => {
                // Those of Raft's leases, and those of Paxos's locks.
                let kind = ["lease", "lock"][draw(&mut self.chance) as usize % 2];
                let name = format!("{kind}{}", draw(&mut self.chance) % 2);
                (name, LockInput::Acquire(self.id))
            }
        };
        let number = self.locks.called(&name, input.clone());
        let output = if name.starts_with("lease") {
            lease(&group, &name, &input).await
        } else {
            lock(&group, &name, &input).await
        };
        let Some(output) = output else { return };
        if let LockOutput::Token(token) = output {
            *held = Some((name, token));
        }
        self.locks.answered(number, output);
    }
}

/// Asks for a lease, in Raft; none where there was no answer.
async fn lease(group: &MetadataGroup, name: &str, input: &LockInput) -> Option<LockOutput> {
    let name = name.to_owned();
    let command = match input {
        LockInput::Acquire(by) => Command::AcquireLease {
            name,
            holder: by.to_string(),
            ttl_ms: MAX_TTL_MS,
        },
        LockInput::Renew(token) => Command::RenewLease {
            name,
            token: *token,
            ttl_ms: MAX_TTL_MS,
        },
        LockInput::Release(token) => Command::ReleaseLease {
            name,
            token: *token,
        },
    };
    match group.propose(command).await.ok()? {
        Answer::Leased { token, .. } => Some(LockOutput::Token(token)),
        Answer::Done => Some(LockOutput::Released),
        Answer::Refused(Refusal::NotHeld) => Some(LockOutput::NotHeld),
        Answer::Refused(Refusal::Held { holder, token, .. }) => {
            Some(LockOutput::Held(holder.parse().unwrap(), token))
        }
        answer => panic!("no answer to a lease: {answer:?}"),
    }
}

/// Asks for a lock, in Paxos; none where there was no answer.
async fn lock(group: &Arc<MetadataGroup>, name: &str, input: &LockInput) -> Option<LockOutput> {
    let name = name.to_owned();
    let command = match input {
        LockInput::Acquire(by) => AgreementCommand::Lock {
            name,
            holder: by.to_string(),
            ttl_ms: MAX_TTL_MS,
        },
        LockInput::Renew(token) => AgreementCommand::Renew {
            name,
            token: *token,
            ttl_ms: MAX_TTL_MS,
        },
        LockInput::Release(token) => AgreementCommand::Unlock {
            name,
            token: *token,
        },
    };
    match group.agreement().propose(command).await.ok()? {
        AgreementAnswer::Locked { token, .. } => Some(LockOutput::Token(token)),
        AgreementAnswer::Done => Some(LockOutput::Released),
        AgreementAnswer::Refused(AgreementRefusal::NotHeld) => Some(LockOutput::NotHeld),
        AgreementAnswer::Refused(AgreementRefusal::Held { holder, token, .. }) => {
            Some(LockOutput::Held(holder.parse().unwrap(), token))
        }
        answer => panic!("no answer to a lock: {answer:?}"),
    }
}

/// Runs clients and faults, heals everything, and checks what was seen.
async fn storm(seed: u64, names: &[&str], faults: usize) {
    println!("OTLAKE_META_SEED={seed} nodes={}", names.len());
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::new(folder.path(), seed);
    nodes.timing.request_ms = 2_000;
    nodes.found(names).await;
    let groups = Arc::new(parking_lot::RwLock::new(
        nodes.running.values().cloned().collect::<Vec<_>>(),
    ));
    let (registers, locks) = (Arc::new(History::default()), Arc::new(History::default()));
    let values = Arc::new(AtomicU64::new(1));
    let going = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (1..=5)
        .map(|id| {
            let mut client = Client {
                id,
                chance: seed.wrapping_mul(31).wrapping_add(id),
                groups: Arc::clone(&groups),
                registers: Arc::clone(&registers),
                locks: Arc::clone(&locks),
                values: Arc::clone(&values),
            };
            let going = Arc::clone(&going);
            tokio::spawn(async move {
                let mut held = None;
                while going.load(Ordering::Relaxed) {
                    if draw(&mut client.chance).is_multiple_of(2) {
                        client.lock(&mut held).await;
                    } else {
                        client.register().await;
                    }
                    let pause = draw(&mut client.chance) % 20;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            })
        })
        .collect();

    let mut chance = seed ^ 0x5eed;
    for _ in 0..faults {
        let pick = |chance: &mut u64| Arc::<str>::from(names[draw(chance) as usize % names.len()]);
        let all: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let wait = Duration::from_millis(200 + draw(&mut chance) % 700);
        match draw(&mut chance) % 6 {
            0 => {
                // The leader alone.
                let leader = nodes.leader().unwrap_or_else(|| pick(&mut chance));
                let others: Vec<_> = all
                    .iter()
                    .filter(|name| **name != leader)
                    .cloned()
                    .collect();
                nodes.network.part(&[leader], &others);
                tokio::time::sleep(wait).await;
            }
            1 => {
                // One way only.
                nodes.network.cut(&pick(&mut chance), &pick(&mut chance));
                nodes.network.cut(&pick(&mut chance), &pick(&mut chance));
                tokio::time::sleep(wait).await;
            }
            2 => {
                nodes
                    .network
                    .disturb(50 + draw(&mut chance) % 200, draw(&mut chance) % 30);
                tokio::time::sleep(wait).await;
                nodes.network.disturb(0, 0);
            }
            3 => {
                let at = draw(&mut chance) as usize % all.len();
                nodes.network.part(&all[..at], &all[at..]);
                tokio::time::sleep(wait).await;
            }
            4 => {
                // A start again of one that is well, or of a majority.
                let count = 1 + draw(&mut chance) as usize % names.len();
                for name in names.iter().take(count) {
                    let gone = nodes.running[*name].clone();
                    groups.write().retain(|group| !Arc::ptr_eq(group, &gone));
                    nodes.stop(name).await;
                }
                tokio::time::sleep(wait / 4).await;
                for name in names.iter().take(count) {
                    let group = nodes.start(name).await.unwrap();
                    groups.write().push(group);
                }
            }
            _ => {
                for group in nodes.running.values() {
                    let _ = group.snapshot().await;
                }
                let applied = nodes.running.values().next().unwrap().local().applied;
                tokio::time::sleep(Duration::from_millis(50)).await;
                for group in nodes.running.values() {
                    let _ = group.purge(applied).await;
                }
            }
        }
        nodes.network.heal();
        tokio::time::sleep(Duration::from_millis(draw(&mut chance) % 500)).await;
    }
    let answers = || {
        let operations = registers.operations();
        let answered = operations.iter().filter(|one| one.answered.is_some());
        answered.count()
    };
    eventually("the group answers", || answers() > 20).await;
    going.store(false, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // It goes on after healing, and all come to the same state.
    let last = Command::Configure {
        key: "healed".to_owned(),
        value: Some("true".to_owned()),
        expect: None,
    };
    let running: Vec<_> = nodes.running.values().cloned().collect();
    let port = running[0].agreement();
    answered("the group goes on after healing", || {
        running[0].propose(last.clone())
    })
    .await;
    answered("Paxos goes on after healing", || port.read()).await;
    eventually("all come to the same state", || {
        let first = running[0].local();
        let agreed = running[0].agreement().local();
        first.settings.contains_key("healed")
            && running
                .iter()
                .all(|group| *group.local() == *first && *group.agreement().local() == *agreed)
    })
    .await;
    let (answered, registers) = (answers(), registers.operations());
    println!(
        "{} operations on registers, {answered} answered",
        registers.len()
    );
    if let Err(fault) = check::<Register>(&registers) {
        panic!("seed {seed}: a register's history is not linearizable:\n{fault:#?}");
    }
    if let Err(fault) = check::<Lock>(&locks.operations()) {
        panic!("seed {seed}: a lease's or lock's history is not linearizable:\n{fault:#?}");
    }
    nodes.close().await;
}

/// The seed of this run: `OTLAKE_META_SEED`, or one of its own.
fn seed(own: u64) -> u64 {
    let given = std::env::var("OTLAKE_META_SEED");
    given.ok().and_then(|text| text.parse().ok()).unwrap_or(own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_three_nodes_under_faults_are_linearizable() {
    storm(seed(11), &["a", "b", "c"], 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_five_nodes_under_faults_are_linearizable() {
    storm(seed(12), &["a", "b", "c", "d", "e"], 10).await;
}
