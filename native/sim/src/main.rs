//! Runs seeds: `otlake-sim [--seed N] [--seeds M] [--part log|node] [--crash-in N] [--mutation NAME]
//! [--verbose]`. A single seed prints its steps. Exit 1 where an invariant is broken.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use otlake_sim::log_driver::{self, Plan};
use otlake_sim::node_driver::{self, Beginnings};
use otlake_sim::{Mutation, Report};

struct Arguments {
    seed: u64,
    seeds: u64,
    part: Option<String>,
    plan: Plan,
}

fn arguments() -> Result<Arguments, String> {
    let mut given = Arguments {
        seed: 0,
        seeds: 0,
        part: None,
        plan: Plan::default(),
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
            "--part" => given.part = Some(value()?),
            "--verbose" => given.plan.verbose = true,
            "--mutation" => {
                let name = value()?;
                let named = |mutation: &Mutation| format!("{mutation:?}") == name;
                let known = Mutation::ALL.into_iter().find(named);
                given.plan.mutation =
                    known.ok_or(format!("{name} is none of {:?}", Mutation::ALL))?;
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

fn tell(part: &str, seed: u64, report: &Report, verbose: bool) -> bool {
    if verbose {
        for step in &report.steps {
            println!("{step}");
        }
        println!("{part} seed {seed}: trace {:016x}", report.trace);
    }
    for violation in &report.violations {
        let (id, what) = (violation.invariant.id(), &violation.what);
        println!("{part} seed {seed}: {id}: {what}");
    }
    report.violations.is_empty()
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
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let all = parking_lot::Mutex::new([Report::default(), Report::default()]);
    let work = || {
        loop {
            let done = next.fetch_add(1, Ordering::Relaxed);
            if done >= given.seeds {
                return;
            }
            let seed = given.seed.wrapping_add(done);
            for (index, part) in ["log", "node"].into_iter().enumerate() {
                if given.part.as_deref().is_some_and(|wanted| wanted != part) {
                    continue;
                }
                let report = match part {
                    "log" => Ok(log_driver::run(seed, given.plan)),
                    _ => node_driver::run(seed, given.plan, &beginnings),
                };
                let whole = match &report {
                    Ok(report) => {
                        all.lock()[index].add(report);
                        tell(part, seed, report, given.plan.verbose)
                    }
                    Err(error) => {
                        println!("{part} seed {seed}: {error}");
                        false
                    }
                };
                if !whole {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    for (part, sum) in ["log", "node"].into_iter().zip(all.lock().iter()) {
        println!(
            "{part}: {} operations, {} faults, {} crashes, {} requests acknowledged, {} refused, \
             {} bits flipped",
            sum.operations, sum.faults, sum.crashes, sum.acknowledged, sum.refused, sum.flipped
        );
    }
    let failed = failed.into_inner();
    println!("{} seeds, {failed} failed", given.seeds);
    ExitCode::from(u8::from(failed > 0))
}
