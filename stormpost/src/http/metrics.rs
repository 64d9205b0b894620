//! The metrics, in the Prometheus text format 0.0.4.

use super::{Page, Pages};
use crate::certificates::{CertificateState, Source};
use crate::control::protocol::Status;
use crate::edge::SPOOL;
use roads_deliver::Standing;
use std::fmt::Write as _;
use stores_log::LogCounts;
use words_mail::{Finding, State};

/// Text in the making.
#[derive(Default)]
pub(super) struct Exposition {
    out: String,
}

/// How a family of samples is to be read.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Exposition {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.out, "# HELP stormpost_{name} {help}\n# TYPE stormpost_{name} {kind}");
        Family { exposition: self, name }
    }

    fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, Kind::Counter, help).sample(&[], value as f64);
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }
}

struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let out = &mut self.exposition.out;
        let _ = write!(out, "stormpost_{}", self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(out, "{open}{name}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(out, "{close} {value}");
    }
}

/// A label's value: backslash, quote and line feed are escaped, as the format asks.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page.
pub(super) fn page(pages: &Pages) -> Page {
    let status = pages.answers.look();
    let mut out = Exposition::default();
    program(&mut out, &status);
    road_in(&mut out, pages);
    queue(&mut out, pages, &status);
    primaries(&mut out, &status);
    logs(&mut out, pages, &status);
    Page { status: "200 OK", kind: "text/plain; version=0.0.4; charset=utf-8", body: out.out }
}

fn program(out: &mut Exposition, status: &Status) {
    let labels = [("version", status.version.as_str()), ("node", status.node.as_str())];
    out.family("info", Kind::Gauge, "The program.").sample(&labels, 1.0);
    let started = status.started.0 as f64 / 1e6;
    out.gauge("start_time_seconds", "When the program was started, seconds since 1970.", started);
    if let Some(bytes) = resident() {
        out.gauge("resident_memory_bytes", "Memory of the program.", bytes as f64);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("open_files", "Files and connections that are open.", open.count() as f64);
    }
    let warnings = status.warnings.len() as f64;
    out.gauge("warnings", "What somebody should see to; stormpost status says what.", warnings);
    certificates(out, status);
    if let Some(offsite) = &status.offsite {
        let seconds = offsite.seconds_behind as f64;
        out.gauge("offsite_behind_seconds", "How old the copy elsewhere is.", seconds);
        let records = offsite.records_behind as f64;
        out.gauge(
            "offsite_behind_records",
            "Records of the journal that are not in the copy elsewhere.",
            records,
        );
        let failing = f64::from(u8::from(offsite.failing.is_some()));
        out.gauge("offsite_failing", "1 while the copy elsewhere cannot be brought up to now.", failing);
    }
    let coverage = status.coverage;
    out.gauge("accounts", "People who have an account.", coverage.accounts as f64);
    out.gauge(
        "accounts_covered",
        "Those who could sign in here if the mail system were gone.",
        coverage.able as f64,
    );
}

fn certificates(out: &mut Exposition, status: &Status) {
    let each = |family: &mut Family<'_>, value: &dyn Fn(&CertificateState) -> Option<f64>| {
        for state in &status.certificates {
            if let Some(value) = value(state) {
                let shown = if state.shown { "yes" } else { "no" };
                let source = match state.source {
                    Source::Files => "files",
                    Source::Acme => "acme",
                    Source::Own => "own",
                };
                family.sample(&[("source", source), ("shown", shown)], value);
            }
        }
    };
    let help = "When a certificate ends, seconds since 1970.";
    each(&mut out.family("certificate_not_after_seconds", Kind::Gauge, help), &|state| {
        Some(state.facts.as_ref()?.not_after.0 as f64 / 1e6)
    });
    let help = "Failures to fetch a certificate since the last success.";
    each(&mut out.family("certificate_renewal_failures", Kind::Gauge, help), &|state| {
        (state.source == Source::Acme).then_some(f64::from(state.failures))
    });
}

/// Resident memory in bytes; only Linux tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn road_in(out: &mut Exposition, pages: &Pages) {
    let counts = pages.taken.counts();
    let read = |counter: &str| counts.get(counter).copied().unwrap_or_default();
    for (name, help, counter) in [
        ("connections_total", "SMTP connections taken.", "connections"),
        ("connections_turned_away_total", "SMTP connections beyond a bound.", "turned_away"),
        ("messages_accepted_total", "Messages made durable and acknowledged.", "accepted"),
        ("messages_repeated_total", "Messages sent again that were here already.", "repeated"),
        ("messages_refused_total", "Messages refused for good.", "refused"),
        ("messages_deferred_total", "Messages not taken now; their senders try again.", "deferred"),
        ("messages_looping_total", "Messages set aside because they go round in a loop.", "parked"),
        ("messages_tagged_total", "Messages delivered with a mark.", "tagged"),
        ("messages_quarantined_total", "Messages kept in quarantine.", "quarantined"),
        ("messages_unscanned_total", "Messages taken although a scanner did not answer.", "unscanned"),
        ("recipients_refused_total", "Recipients refused for good.", "recipients_refused"),
        (
            "spool_turned_away_total",
            "Messages not taken because as much waited as may wait.",
            "spool_turned_away",
        ),
        ("sign_ins_failed_total", "Sign-ins for sending that failed.", "sign_ins_failed"),
    ] {
        out.counter(name, help, read(counter));
    }
}

fn queue(out: &mut Exposition, pages: &Pages, status: &Status) {
    let counts = pages.answers.queue().counts();
    let age = |at: Option<words_mail::Time>| at.map_or(0.0, |at| status.now.since(at).as_secs_f64());
    out.gauge(
        "queue_messages",
        "Messages that wait for something beyond the mailboxes here.",
        counts.messages as f64,
    );
    out.gauge("queue_bytes", "Bytes of everything not settled.", counts.bytes as f64);
    out.gauge("queue_oldest_seconds", "Age of the oldest message that waits.", age(counts.oldest));
    out.gauge("queue_parked", "Recipients set aside for a person.", counts.parked as f64);
    out.gauge("queue_quarantined", "Recipients whose mail is kept in quarantine.", counts.quarantined as f64);
    out.gauge("queue_refused", "Recipients refused by their destination and listed.", counts.refused as f64);
    let read = if counts.caught_up { 1.0 } else { 0.0 };
    out.gauge("queue_read", "Whether everything accepted before the start is known.", read);
    let alarm = if counts.alarm.is_some() { 1.0 } else { 0.0 };
    out.gauge("queue_alarm", "Whether the budget of what may wait is nearly used up.", alarm);
    let help = "Recipients that are not settled, by destination and state.";
    let mut family = out.family("queue_recipients", Kind::Gauge, help);
    for ((to, standing), count) in &counts.by_place {
        let state = match standing {
            Standing::Waiting => "waiting",
            Standing::Paused => "paused",
            Standing::Trying => "trying",
            Standing::Unknown => "unknown",
            Standing::Parked => "parked",
            Standing::Refused => "refused",
            Standing::Expired => "expired",
            Standing::Quarantined => "quarantined",
        };
        family.sample(&[("destination", to), ("state", state)], *count as f64);
    }
    let help = "What became of messages since the start, by recipient.";
    let mut family = out.family("settlements_total", Kind::Counter, help);
    for ((to, outcome), count) in pages.answers.settled() {
        family.sample(&[("destination", &to), ("outcome", outcome)], count as f64);
    }
}

fn primaries(out: &mut Exposition, status: &Status) {
    const STATES: [State; 5] = [State::Ready, State::Suspect, State::Active, State::Returning, State::Pinned];
    let help = "The state of each plane: 1 for the one it is in.";
    let mut family = out.family("plane_state", Kind::Gauge, help);
    for (id, primary) in &status.primaries {
        for (plane, at) in &primary.planes {
            for state in STATES {
                let name = state.to_string();
                let labels = [("primary", id.as_str()), ("plane", plane), ("state", &name)];
                family.sample(&labels, if at.state == state { 1.0 } else { 0.0 });
            }
        }
    }
    let help = "What was last found of a plane; absent when nothing was measured in the last minute.";
    let mut family = out.family("plane_up", Kind::Gauge, help);
    for (id, primary) in &status.primaries {
        for (plane, at) in &primary.planes {
            if let Some(finding) = at.finding {
                let up = if finding == Finding::Up { 1.0 } else { 0.0 };
                family.sample(&[("primary", id), ("plane", plane)], up);
            }
        }
    }
    let mut each = |name, help, value: &dyn Fn(&crate::control::protocol::PrimaryStatus) -> Option<f64>| {
        let mut family = out.family(name, Kind::Gauge, help);
        for (id, primary) in &status.primaries {
            if let Some(value) = value(primary) {
                family.sample(&[("primary", id)], value);
            }
        }
    };
    each("event_open", "Whether an event is open.", &|p| Some(if p.event.is_some() { 1.0 } else { 0.0 }));
    each("lag_messages", "Messages the primary has not got yet.", &|p| Some(p.lag.messages as f64));
    each("lag_changes", "Changes of people it has not got yet.", &|p| Some(p.lag.changes as f64));
    each("lag_oldest_seconds", "Age of the oldest message it has not got yet.", &|p| {
        Some(p.lag.oldest.map_or(0.0, |at| status.now.since(at).as_secs_f64()))
    });
    each("give_back_proved_seconds", "When a give-back was last proved, seconds since 1970.", &|p| {
        p.proved.map(|at| at.0 as f64 / 1e6)
    });
}

fn logs(out: &mut Exposition, pages: &Pages, status: &Status) {
    let mut family = out.family("log_open", Kind::Gauge, "Whether a log takes records.");
    for (log, health) in &status.disk.logs {
        family.sample(&[("log", log)], if health == "open" { 1.0 } else { 0.0 });
    }
    let counts = pages.answers.log_counts();
    let mut each = |name, help, value: fn(&LogCounts) -> u64| {
        let mut family = out.family(name, Kind::Counter, help);
        for (log, counts) in &counts {
            family.sample(&[("log", log)], value(counts) as f64);
        }
    };
    each("log_records_total", "Records made durable.", |counts| counts.records);
    each("log_bytes_total", "Bytes of records made durable.", |counts| counts.bytes);
    each("log_syncs_total", "Syncs that made them durable.", |counts| counts.syncs);
    out.gauge("disk_free_bytes", "Bytes that can still be written.", status.disk.free as f64);
    out.gauge("spool_budget_bytes", "Bytes of undelivered mail that may wait.", status.disk.budget as f64);
    let counts = pages.taken.counts();
    let waiting = counts.get(SPOOL).copied().unwrap_or(status.queue.bytes);
    out.gauge(
        "spool_bytes",
        "Bytes of undelivered mail that wait, as who takes mail in counts.",
        waiting as f64,
    );
    let full = if status.disk.full { 1.0 } else { 0.0 };
    out.gauge("spool_full", "Whether that is all that may wait, and no more mail is taken.", full);
    if let Some(days) = status.disk.days {
        out.gauge("spool_days", "Days there is room for at the pace of the last days.", days);
    }
}
