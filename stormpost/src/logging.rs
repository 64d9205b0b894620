//! Where log lines go: stderr, one event a line, for people or as JSON.

use crate::configuration::visible;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

/// Begins logging. `RUST_LOG` chooses what is told, for example `info,roads_deliver=debug`.
pub fn begin(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call, in a test, changes nothing.
    let _ = tracing::subscriber::set_global_default(lines(json, filter, std::io::stderr));
}

/// One event a line, whatever stands in it: control characters and those that turn the reading direction are written
/// out, in every field and in the message, so that nobody outside can write a line of ours or move a cursor. Colours are
/// left out, so that lines can be searched.
fn lines<W>(json: bool, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A log that nobody reads any more is no reason to stop taking mail: the edge outlives who started it.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .log_internal_errors(false);
    if json {
        return Box::new(lines.json().flatten_event(true).finish());
    }
    let fields = debug_fn(|line, field, value| {
        let value = visible(&format!("{value:?}"));
        match field.name() {
            "message" => write!(line, "{value}"),
            name => write!(line, "{name}={value}"),
        }
    });
    Box::new(lines.fmt_fields(fields.delimited(" ")).finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, act: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = lines(json, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const NASTY: &str = "550 no\r\n2026-11-22T10:42:07Z  INFO forged\u{1b}[2J\u{9b}31m\u{202e}\0";

    #[test]
    fn what_strangers_say_cannot_make_a_line_of_its_own_or_move_the_cursor() {
        let error = io::Error::other(NASTY);
        let text = logged(false, || {
            tracing::info!(to = "anna@example.org", reply = %NASTY, debug = ?NASTY, quoted = NASTY, %error, "told {NASTY}");
        });
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let unfit = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.chars().any(unfit), "{text:?}");
        assert!(text.contains("reply=550 no\\r\\n2026") && text.contains("told 550 no\\r\\n"), "{text}");
        assert!(text.contains("to=\"anna@example.org\""), "{text}");
    }

    #[test]
    fn json_lines_are_one_object_each_and_keep_every_byte() {
        let text = logged(true, || {
            tracing::warn!(reply = %NASTY, attempt = 3, "told");
            tracing::info!("again");
        });
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert_eq!(lines[0]["reply"], NASTY);
        assert_eq!((lines[0]["attempt"].as_u64(), lines[0]["level"].as_str()), (Some(3), Some("WARN")));
        assert!(!text.contains('\u{1b}') && !text.contains('\r'));
    }
}
