//! Lives through seeds: `sim [FIRST [COUNT]]`, or one life aloud with `SIM_SEED=n`, in which the node also
//! dies at a named place with `SIM_POINT=name`, after `SIM_AFTER` passes, by `SIM_CRASH=kill` or `power`.

use sim::fate::Plan;
use sim::life::{Options, live};
use sim::lives::lives;
use sim::power::Crash;
use std::process::ExitCode;

fn main() -> ExitCode {
    let number = |n: usize| std::env::args().nth(n).and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()) {
        return aloud(seed);
    }
    let (first, count) = (number(1).unwrap_or(1), number(2).unwrap_or(100));
    let (mut failed, mut acknowledged, mut seconds) = (0, 0, 0.0);
    let began = std::time::Instant::now();
    lives(first, count, Options::default(), |seed, verdict| {
        acknowledged += verdict.acknowledged;
        seconds += verdict.seconds;
        if !verdict.findings.is_empty() {
            failed += 1;
            println!("seed {seed}: {:#?}\n  SIM_SEED={seed} cargo run -p sim", verdict.findings);
        }
        true
    });
    println!(
        "{count} lives, {failed} failed, {acknowledged} messages acknowledged, {:.1} hours lived in {:.1} s",
        seconds / 3600.0,
        began.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Before which pass of `SIM_POINT` the node dies.
fn after() -> u64 {
    std::env::var("SIM_AFTER").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How it dies there.
fn how() -> Crash {
    if std::env::var("SIM_CRASH").as_deref() == Ok("kill") { Crash::Kill } else { Crash::Power }
}

/// One life, with everything that is said in it.
fn aloud(seed: u64) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    let plan = match std::env::var("SIM_POINT") {
        Ok(name) => Plan::with_crash_at(seed, name.leak(), after(), how()),
        Err(_) => Plan::of(seed),
    };
    println!("{plan:#?}");
    let verdict = live(&plan, Options { aloud: true, ..Options::default() });
    println!("{:#?}", verdict.findings);
    if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
