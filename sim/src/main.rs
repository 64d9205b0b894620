//! Lives through seeds: `sim [FIRST [COUNT]]`, or one life aloud with `SIM_SEED=n`.

use sim::fate::Plan;
use sim::life::{Options, live};
use std::process::ExitCode;

fn main() -> ExitCode {
    let number = |n: usize| std::env::args().nth(n).and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()) {
        let plan = Plan::of(seed);
        println!("{plan:#?}");
        let verdict = live(&plan, Options { aloud: true, ..Options::default() });
        println!("{:#?}", verdict.findings);
        return if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (first, count) = (number(1).unwrap_or(1), number(2).unwrap_or(100));
    let mut failed = 0;
    let began = std::time::Instant::now();
    for seed in first..first + count {
        let verdict = live(&Plan::of(seed), Options::default());
        if !verdict.findings.is_empty() {
            failed += 1;
            println!("seed {seed}: {:#?}\n  SIM_SEED={seed} cargo run -p sim", verdict.findings);
        }
    }
    println!("{count} lives, {failed} failed, {:.1} s", began.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
