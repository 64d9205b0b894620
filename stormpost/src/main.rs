//! The `stormpost` program.

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let path = std::env::args().nth(3).unwrap_or_default();
    let (configuration, _) = stormpost::configuration::Configuration::load(std::path::Path::new(&path))
        .map_err(|faults| anyhow::anyhow!("{faults}"))?;
    stormpost::serve::serve(configuration)
}
