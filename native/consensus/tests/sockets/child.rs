//! A node as a process: this same program, told by its environment to be one. It takes one request a
//! line and answers each with its number, in any order.
//!
//! ```text
//! <number> members <name>=<address> …      <number> voters <name> …       <number> bootstrap
//! <number> write <key> <value>             <number> read <key>            <number> status
//! <number> lock <name> <holder>            <number> unlock <name> <token>
//! ```

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otlake_consensus::MetadataGroup;
use otlake_consensus::command::{Answer, Command};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::node::Node;

const NAME: &str = "OTLAKE_TEST_META_NODE";
const FOLDER: &str = "OTLAKE_TEST_META_FOLDER";
/// The test below, which is the node's main.
const MAIN: &str = "child::a_node_alone_over_sockets_answers_what_it_was_told";

type Waiting = Arc<Mutex<std::collections::HashMap<u64, oneshot::Sender<String>>>>;

/// A process, as the test that started it sees it.
pub struct Remote {
    pub name: Arc<str>,
    pub address: String,
    process: Mutex<Child>,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    last: AtomicU64,
}

impl Remote {
    pub fn start(name: &str, folder: &Path) -> Remote {
        let mut process = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", MAIN, "--nocapture", "--test-threads", "1"])
            .env(NAME, name)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let stdin = Mutex::new(process.stdin.take().unwrap());
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the node says its address").unwrap();
            if let Some((_, address)) = line.split_once("listening ") {
                break address.to_owned();
            }
        };
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some((number, answer)) = line.split_once(' ') else {
                    continue;
                };
                if let Ok(number) = number.parse()
                    && let Some(done) = answers.lock().remove(&number)
                {
                    let _ = done.send(answer.to_owned());
                }
            }
            // Whoever still waits for a process that is gone waits for nothing.
            answers.lock().clear();
        });
        Remote {
            name: Arc::from(name),
            address,
            process: Mutex::new(process),
            stdin,
            waiting,
            last: AtomicU64::new(0),
        }
    }

    /// Sends a request; the answer, or none where the process is gone.
    pub async fn ask(&self, request: &str) -> Option<String> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (done, answer) = oneshot::channel();
        self.waiting.lock().insert(number, done);
        let written = writeln!(self.stdin.lock(), "{number} {request}");
        if written.is_err() {
            self.waiting.lock().remove(&number);
            return None;
        }
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        answer.ok()?.ok()
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().id()
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&self) {
        let mut process = self.process.lock();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let mut process = self.process.lock();
        let _ = process.kill();
        let _ = process.wait();
    }
}

async fn serve(node: &Node, request: &str) -> String {
    let words: Vec<&str> = request.split(' ').collect();
    let group = &node.group;
    match words.as_slice() {
        ["members", members @ ..] => {
            let members = members.iter().map(|member| {
                let (name, address) = member.split_once('=').unwrap();
                (Arc::from(name), address.parse().unwrap())
            });
            node.peers.set_members(members.collect());
            "ok".to_owned()
        }
        ["voters", names @ ..] => {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            told(group.set_voters(&names, None).map(|()| String::new()))
        }
        ["bootstrap"] => told(group.bootstrap().await.map(|()| String::new())),
        ["write", key, value] => {
            let command = Command::Configure {
                key: (*key).to_owned(),
                value: Some((*value).to_owned()),
                expect: None,
            };
            told(group.propose(command).await.map(|answer| match answer {
                Answer::Configured { version } => version.to_string(),
                answer => panic!("no answer to a write: {answer:?}"),
            }))
        }
        ["read", key] => told(read(group, key).await),
        ["lock", name, holder] => {
            let locked = group.agreement().lock(name, holder, 3_600_000).await;
            told(locked.map(|token| token.to_string()))
        }
        ["unlock", name, token] => {
            let token = token.parse().unwrap();
            told(
                group
                    .agreement()
                    .unlock(name, token)
                    .await
                    .map(|()| String::new()),
            )
        }
        ["status"] => {
            let status = group.status();
            format!(
                "ok {} {} {} {}",
                status.leads,
                status.term,
                status.voters.len(),
                status.paxos_members.len()
            )
        }
        _ => panic!("no such request: {request}"),
    }
}

async fn read(group: &MetadataGroup, key: &str) -> otlake_base::Result<String> {
    let state = group.read().await?;
    let setting = state.settings.get(key);
    Ok(setting.map_or_else(|| "none".to_owned(), |setting| setting.value.to_string()))
}

fn told(result: otlake_base::Result<String>) -> String {
    match result {
        Ok(answer) => format!("ok {answer}").trim_end().to_owned(),
        Err(error) => format!("error {}", error.code.as_str()),
    }
}

/// The main of a process that is a node; as a test, a node that is asked by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_over_sockets_answers_what_it_was_told() {
    let Ok(name) = std::env::var(NAME) else {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start("a", folder.path()).await;
        assert_eq!(serve(&node, "bootstrap").await, "ok");
        assert_eq!(serve(&node, "write k 5").await, "ok 1");
        assert_eq!(serve(&node, "read k").await, "ok 5");
        assert_eq!(serve(&node, "lock l x").await, "ok 1");
        assert_eq!(serve(&node, "lock l y").await, "error METADATA_REFUSED");
        assert_eq!(serve(&node, "unlock l 1").await, "ok");
        node.close().await;
        return;
    };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let node = Arc::new(Node::start(&name, &folder).await);
    println!("\nlistening {}", node.peers.address());
    let (lines, mut requests) = tokio::sync::mpsc::channel(256);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = requests.recv().await {
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            let (number, request) = line.split_once(' ').unwrap();
            let answer = serve(&node, request).await;
            println!("{number} {answer}");
        });
    }
    // The test that started it is gone.
    std::process::exit(0);
}
