//! Runs seeds: `otlake-sim [--seed N] [--seeds M] [--part log|node|jobs|cluster|files] [--cluster]
//! [--crash-in N] [--fail-in N] [--mutation NAME] [--verbose]`. A single seed prints its steps. Exit 1
//! where an invariant is broken.

use std::process::ExitCode;

use otlake_sim::log_driver::{self, Plan};
use otlake_sim::node_driver::{self, Beginnings};
use otlake_sim::{Mutation, Violation, cluster, files, run_all};

const PARTS: [&str; 5] = ["log", "node", "jobs", "cluster", "files"];
/// Operations that the jobs of a `jobs` run take, about: where it goes down unless it is told.
const JOB_OPERATIONS: u64 = 300;

struct Arguments {
    seed: u64,
    seeds: u64,
    part: Option<String>,
    plan: Plan,
    cluster: cluster::Plan,
    files: files::FilesPlan,
}

fn arguments() -> Result<Arguments, String> {
    let mut given = Arguments {
        seed: 0,
        seeds: 0,
        part: None,
        plan: Plan::default(),
        cluster: cluster::Plan::default(),
        files: files::FilesPlan::default(),
    };
    let mut seed = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seed" => seed = Some(number(value()?)?),
            "--seeds" => given.seeds = number(value()?)?,
            "--crash-in" => given.plan.crash_in = Some(number(value()?)?),
            "--fail-in" => given.plan.fail_in = Some(number(value()?)?),
            "--part" => {
                let part = value()?;
                if !PARTS.contains(&part.as_str()) {
                    return Err(format!("{part} is none of {PARTS:?}"));
                }
                given.part = Some(part);
            }
            "--cluster" => given.part = Some("cluster".into()),
            "--verbose" => given.plan.verbose = true,
            "--mutation" => {
                let name = value()?;
                let named = |mutation: &Mutation| format!("{mutation:?}") == name;
                let known = Mutation::ALL.into_iter().find(named);
                let broken = cluster::Breakage::ALL.into_iter();
                let broken = broken
                    .into_iter()
                    .find(|broken| format!("{broken:?}") == name);
                let of_files = files::FilesBreakage::ALL.into_iter();
                let of_files = of_files
                    .into_iter()
                    .find(|broken| format!("{broken:?}") == name);
                if known.is_none() && broken.is_none() && of_files.is_none() {
                    let all = (
                        Mutation::ALL,
                        cluster::Breakage::ALL,
                        files::FilesBreakage::ALL,
                    );
                    return Err(format!("{name} is none of {all:?}"));
                }
                given.plan.mutation = known.unwrap_or_default();
                given.cluster.breakage = broken.unwrap_or_default();
                given.files.breakage = of_files.unwrap_or_default();
            }
            _ => return Err(format!("{word} is not known")),
        }
    }
    given.seed = seed.unwrap_or(0);
    if given.seeds == 0 {
        given.seeds = if seed.is_some() { 1 } else { 10_000 };
        given.plan.verbose |= seed.is_some();
    }
    Ok(given)
}

fn main() -> ExitCode {
    let given = match arguments() {
        Ok(given) => given,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let beginnings = match Beginnings::new() {
        Ok(beginnings) => beginnings,
        Err(error) => {
            eprintln!("no node opens: {error}");
            return ExitCode::from(2);
        }
    };
    let seeds = given.seed..given.seed.saturating_add(given.seeds);
    let mut failed = false;
    for part in PARTS {
        if given.part.as_deref().is_some_and(|wanted| wanted != part) {
            continue;
        }
        let sum = run_all(seeds.clone(), |seed| {
            let report = match part {
                "log" => log_driver::run(seed, given.plan),
                "cluster" => cluster::run(
                    seed,
                    cluster::Plan {
                        verbose: given.plan.verbose,
                        ..given.cluster
                    },
                ),
                "files" => files::run(
                    seed,
                    files::FilesPlan {
                        verbose: given.plan.verbose,
                        ..given.files
                    },
                ),
                "jobs" => {
                    let mut plan = given.plan;
                    if plan.fail_in.is_none() {
                        plan.crash_in = plan.crash_in.or(Some(seed % JOB_OPERATIONS));
                    }
                    node_driver::jobs(seed, plan, &beginnings).0
                }
                _ => node_driver::run(seed, given.plan, &beginnings),
            };
            if given.plan.verbose {
                let steps = report.steps.join("\n");
                println!("{steps}\n{part} seed {seed}: trace {:016x}", report.trace);
            }
            report
        });
        for (seed, Violation { invariant, what }) in &sum.broken {
            println!("{part} seed {seed}: {}: {what}", invariant.id());
        }
        let report = &sum.report;
        println!(
            "{part}: {} seeds, {} violations; {} operations, {} faults, {} crashes, {} requests \
             acknowledged, {} refused, {} bits flipped, {} jobs, {} files merged, {} spans left \
             out, {} rows expired, {} files deleted",
            given.seeds,
            sum.broken.len(),
            report.operations,
            report.faults,
            report.crashes,
            report.acknowledged,
            report.refused,
            report.flipped,
            report.jobs,
            report.merged,
            report.repeated,
            report.expired,
            report.deleted
        );
        failed |= !sum.broken.is_empty();
    }
    ExitCode::from(u8::from(failed))
}
