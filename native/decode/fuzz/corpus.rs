//! Writes random whole requests for cargo-fuzz to begin with: `fuzz-corpus <folder> <seed> <count>`
//! puts so many of each signal into `<folder>/decode` and, as JSON, into `<folder>/json`.

use std::path::Path;
use std::{env, fs};

#[path = "../src/json/random_otlp_test.rs"]
#[allow(dead_code)]
mod random_otlp;

use otlake_base::Signal;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message;
use random_otlp::{logs, metrics, traces};

fn one<M: Message>(strategy: impl Strategy<Value = M>, runner: &mut TestRunner) -> Vec<u8> {
    let tree = strategy.new_tree(runner).expect("a message");
    tree.current().encode_to_vec()
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, seed, count] = arguments.as_slice() else {
        eprintln!("usage: fuzz-corpus <folder> <seed> <count>");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&number(seed).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let write = |target: &str, name: &str, choice: u8, body: &[u8]| {
        let folder = Path::new(folder).join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), [&[choice], body].concat()).expect("a file");
    };
    for index in 0..number(count) {
        for (choice, signal) in (0..).zip(Signal::ALL) {
            let protobuf = match signal {
                Signal::Traces => one(traces(), &mut runner),
                Signal::Metrics => one(metrics(), &mut runner),
                Signal::Logs => one(logs(), &mut runner),
            };
            let json = otlake_decode::json::from_protobuf(signal, &protobuf).expect("it is OTLP");
            let name = format!("{}-{index}", signal.name());
            write("decode", &name, choice, &protobuf);
            write("json", &name, choice, &json);
        }
    }
}
