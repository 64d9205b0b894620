//! Where log lines go: stderr, one event a line, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// Begins logging. `RUST_LOG` chooses what is told, for example `info,roads_deliver=debug`.
///
/// What comes from outside is escaped where it is logged; colours are left out, so that lines can be searched.
pub fn begin(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // A second call, in a test, changes nothing.
    let _ = if json { lines.json().flatten_event(true).try_init() } else { lines.try_init() };
}
