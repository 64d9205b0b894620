//! Lives through seeds: `sim [FIRST [COUNT]]`, or one life aloud with `SIM_SEED=n`, in which the node also dies at named
//! places with `SIM_DEATHS=name/passes/kill,name/passes/power`, and people are tidy or not with `SIM_TIDY=true`.

use sim::fate::Plan;
use sim::life::{Options, live};
use sim::lives::lives;
use sim::power::{Armed, Crash};
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

/// The named places where the node is to die: `name/passes/kill` or `power`, with commas between.
fn deaths(text: &'static str) -> Option<Vec<Armed>> {
    let each = text.split(',').filter(|one| !one.is_empty()).map(|one| {
        let mut parts = one.split('/');
        let (name, after) = (parts.next()?, parts.next()?.parse().ok()?);
        let crash = match parts.next()? {
            "kill" => Crash::Kill,
            "power" => Crash::Power,
            _ => return None,
        };
        Some(Armed { name: Some(name), after, crash })
    });
    each.collect()
}

/// One life, with everything that is said in it.
fn aloud(seed: u64) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let Some(deaths) = deaths(said("SIM_DEATHS").leak()) else {
        println!("SIM_DEATHS is a list of name/passes/kill or name/passes/power");
        return ExitCode::FAILURE;
    };
    let mut plan = Plan::of(seed).with_deaths(deaths);
    plan.tidy = said("SIM_TIDY").parse().unwrap_or(plan.tidy);
    println!("{plan:#?}");
    let verdict = live(&plan, Options { aloud: true, ..Options::default() });
    println!("{:#?}", verdict.findings);
    if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
