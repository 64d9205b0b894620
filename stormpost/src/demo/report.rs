//! What the demonstration found: as JSON for machines, as a page for people.

use serde::Serialize;
use std::fmt::Write;

/// The figures of one run. Each was counted by looking into mailboxes, not into our own tables.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Messages that Stormpost acknowledged (people's own included), per recipient.
    pub(super) accepted: usize,
    /// Of those, settled with the primary.
    pub(super) settled: usize,
    /// Of those, found in the primary's mailboxes.
    pub(super) seen: usize,
    /// Acknowledged and not found.
    pub(super) lost: usize,
    /// One sender transaction twice in a mailbox.
    pub(super) doubled: usize,
    /// What the reconciliation lists for a person to look at.
    pub(super) exceptions: Vec<String>,
    /// Messages people read while the primary was dead.
    pub(super) read_in_outage: usize,
    /// Messages people sent while the primary was dead.
    pub(super) sent_in_outage: usize,
    /// Changes of people found again in the primary.
    pub(super) changes_replayed: usize,
    /// Measured times.
    pub(super) seconds: Seconds,
    /// Messages whose senders still held them when the primary came back, begun before that.
    #[serde(skip)]
    pub(super) waiting_outside: usize,
}

/// Measured times, seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Seconds {
    /// From the kill to SUSPECT: deliveries wait.
    pub(super) suspect: f64,
    /// From the kill to the continuity event.
    pub(super) event_open: f64,
    /// From the kill to the first message read by a person.
    pub(super) first_read: f64,
    /// From the kill to the first message sent by a person.
    pub(super) first_send: f64,
    /// From the primary's restart to the judgement that it is back.
    pub(super) return_detect: f64,
    /// From that judgement to the first message less that waits.
    pub(super) drain_start: f64,
    /// From that judgement until nothing waits that was accepted before it.
    pub(super) drain: f64,
    /// From then to the closed event: looking for every message in the primary's mailboxes.
    pub(super) reconcile: f64,
}

impl Figures {
    /// Whether nothing was lost, doubled or left open.
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.exceptions.is_empty()
    }
}

/// The same outage, lived by the twin without protection.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Twin {
    /// Messages its senders still held when the primary came back: late, or bounced where the sender is impatient.
    pub(super) waiting_outside: usize,
    /// Messages people could read while it was dead.
    pub(super) read_in_outage: usize,
    /// Messages people could send while it was dead.
    pub(super) sent_in_outage: usize,
    /// The longest time a message waited outside, seconds.
    pub(super) longest_wait: f64,
}

/// What was promised of a run besides its being clean, and whether it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// The promise.
    pub(super) what: &'static str,
    /// How it came out.
    pub(super) found: String,
    /// Whether it was kept.
    pub(super) kept: bool,
}

/// SUSPECT at the latest so long after the kill, seconds.
const SUSPECT_MAX: f64 = 5.0;
/// Giving back starts at the latest so long after the primary was judged well, seconds.
const DRAIN_START_MAX: f64 = 2.0;

impl Figures {
    /// The promises of this run. `first_failures` says what failed at somebody's very first try after the kill.
    pub(super) fn bars(&self, first_failures: &[String]) -> Vec<Bar> {
        let Seconds { suspect, drain_start, first_read, first_send, .. } = self.seconds;
        let first = match first_failures.first() {
            None => format!("read after {first_read:.1} s, sent after {first_send:.1} s"),
            Some(why) => why.clone(),
        };
        vec![
            Bar {
                what: "in doubt within 5 s of the kill",
                found: format!("{suspect:.1} s"),
                kept: suspect <= SUSPECT_MAX,
            },
            Bar {
                what: "everybody's first read and first send in the outage work at the first try",
                found: first,
                kept: first_failures.is_empty(),
            },
            Bar {
                what: "giving back starts within 2 s of the judgement",
                found: format!("{drain_start:.1} s"),
                kept: drain_start <= DRAIN_START_MAX,
            },
        ]
    }
}

/// One moment of the story.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    /// Seconds since the start.
    pub(super) at: f64,
    /// What happened, in a few words.
    pub(super) what: String,
    /// Whether it was bad, good, or neither: -1, 1, 0.
    pub(super) mood: i8,
}

/// Escapes text for HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2530}\
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem}p.lead{font-size:1.15rem}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #d5dbe3;padding:.35rem .6rem;text-align:left}\
.note{color:#5a6675;font-size:.9rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a4161a}.good{color:#1b6e3c}svg{width:100%;height:auto}svg text{paint-order:stroke;stroke:#fff;stroke-width:4px}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dde3ea}svg text{stroke:#12161c}td,th{border-color:#333b46}.note{color:#93a0b0}.bad{color:#ff8a8a}.good{color:#7fd6a1}}";

/// Everything that the page shows.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    /// What plays the mail system.
    pub(super) played_by: &'a str,
    /// The figures.
    pub(super) figures: &'a Figures,
    /// The other column.
    pub(super) twin: &'a Twin,
    /// The time line.
    pub(super) moments: &'a [Moment],
    /// What is no exception and should be told.
    pub(super) remarks: &'a [String],
}

impl Page<'_> {
    /// The page: three sentences, a time line, the reconciliation.
    pub(super) fn html(&self) -> String {
        let Page { played_by, figures, twin, moments, remarks } = *self;
        let mut html = String::new();
        let verdict = if figures.is_clean() { "good" } else { "bad" };
        let _ = write!(
            html,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>Stormpost: the demonstration</title><style>{STYLE}</style></head><body>\
             <h1>A mail system was killed, and the mail went on</h1><p class=\"lead\">{}</p><p class=\"{verdict}\">{}</p>",
            sentences(figures, twin),
            conclusion(figures),
        );
        let _ = write!(html, "<h2>Time line</h2>{}", time_line(moments));
        let _ = write!(html, "<h2>Side by side</h2>{}", columns(figures, twin));
        html.push_str(
            "<h2>Reconciliation</h2><table><tr><th>Counted in mailboxes, over IMAP</th><th></th></tr>",
        );
        for (name, value) in [
            ("accepted by Stormpost, one for each mailbox", figures.accepted),
            ("settled", figures.settled),
            ("found in the mailboxes", figures.seen),
            ("lost", figures.lost),
            ("doubled", figures.doubled),
            ("changes of people carried over", figures.changes_replayed),
            ("exceptions", figures.exceptions.len()),
        ] {
            let _ = write!(html, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
        }
        html.push_str("</table>");
        html.push_str(&times(&figures.seconds));
        list(&mut html, "bad", &figures.exceptions);
        list(&mut html, "note", remarks);
        let _ = write!(
            html,
            "<p class=\"note\">Everything ran on one machine. The mail system and its twin: {}.</p></body></html>",
            escaped(played_by)
        );
        html
    }
}

fn times(seconds: &Seconds) -> String {
    let mut html = "<h2>Times</h2><table>".to_owned();
    for (name, value) in [
        ("from the kill until mail waited safely (in doubt)", seconds.suspect),
        ("from the kill until the event was open and people were told", seconds.event_open),
        ("from the kill until somebody had read a message", seconds.first_read),
        ("from the kill until somebody had sent a message", seconds.first_send),
        ("from the return until it was believed", seconds.return_detect),
        ("from then until giving back began", seconds.drain_start),
        ("from then until what had waited was handed over", seconds.drain),
        ("until it was proved and the event closed", seconds.reconcile),
    ] {
        let _ = write!(html, "<tr><td>{name}</td><td class=\"n\">{value:.1} s</td></tr>");
    }
    html.push_str("</table>");
    html
}

fn list(html: &mut String, class: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(html, "<ul class=\"{class}\">");
    for line in lines.iter().take(LINES_MAX) {
        let _ = write!(html, "<li>{}</li>", escaped(line));
    }
    if lines.len() > LINES_MAX {
        let _ = write!(html, "<li>and {} more</li>", lines.len() - LINES_MAX);
    }
    html.push_str("</ul>");
}

/// Exceptions and remarks shown one by one.
const LINES_MAX: usize = 200;

/// How the run came out.
pub(super) fn conclusion(figures: &Figures) -> &'static str {
    if figures.is_clean() {
        "Nothing was lost, nothing arrived twice, nothing is left to look at."
    } else {
        "This run did not come out clean; the figures below say where."
    }
}

fn sentences(figures: &Figures, twin: &Twin) -> String {
    let Seconds { suspect, return_detect, drain, .. } = figures.seconds;
    format!(
        "A company's mail system was killed while mail was coming in: {suspect:.1} s later Stormpost knew, every new message          was safe, and people went on to read {} messages and to send {}. When the system came back, Stormpost judged it well          after {return_detect:.1} s and gave back what had waited in {drain:.1} s; then {} of {} acknowledged messages were          found in the mailboxes they belong into, {} lost and {} doubled, with {} changes that people had made. At the twin          without Stormpost people read {} and sent {} in the same time, and {} messages waited with their senders, the longest          for {:.0} s.",
        figures.read_in_outage,
        figures.sent_in_outage,
        figures.seen,
        figures.accepted,
        figures.lost,
        figures.doubled,
        figures.changes_replayed,
        twin.read_in_outage,
        twin.sent_in_outage,
        twin.waiting_outside,
        twin.longest_wait,
    )
}

fn columns(figures: &Figures, twin: &Twin) -> String {
    let mut html = "<table><tr><th>During the outage</th><th class=\"n\">With Stormpost</th><th class=\"n\">Without</th></tr>"
        .to_owned();
    for (name, ours, theirs) in side_by_side(figures, twin) {
        let _ =
            write!(html, "<tr><td>{name}</td><td class=\"n\">{ours}</td><td class=\"n\">{theirs}</td></tr>");
    }
    html.push_str("</table>");
    html
}

/// Both columns.
pub(super) fn side_by_side(figures: &Figures, twin: &Twin) -> [(&'static str, usize, usize); 3] {
    [
        ("messages people read", figures.read_in_outage, twin.read_in_outage),
        ("messages people sent", figures.sent_in_outage, twin.sent_in_outage),
        ("messages left waiting with their senders", figures.waiting_outside, twin.waiting_outside),
    ]
}

/// A horizontal line with a mark for each moment; the words stand below each other so that none overlap.
fn time_line(moments: &[Moment]) -> String {
    let end = moments.last().map_or(1.0, |m| m.at.max(0.1));
    let height = 40 + moments.len() * 22;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" role=\"img\" aria-label=\"time line\">"
    );
    svg.push_str(
        "<line x1=\"10\" y1=\"20\" x2=\"890\" y2=\"20\" stroke=\"currentColor\" stroke-width=\"2\"/>",
    );
    for (n, moment) in moments.iter().enumerate() {
        let x = 10.0 + 880.0 * moment.at / end;
        let y = 48 + n * 22;
        let class = match moment.mood {
            -1 => "bad",
            1 => "good",
            _ => "neither",
        };
        // Words stand on the side with more room.
        let (anchor, text_x) = if x > 450.0 { ("end", x - 8.0) } else { ("start", x + 8.0) };
        let _ = write!(
            svg,
            "<g class=\"{class}\"><line x1=\"{x:.1}\" y1=\"14\" x2=\"{x:.1}\" y2=\"{y}\" stroke=\"currentColor\" \
             stroke-opacity=\".35\"/><circle cx=\"{x:.1}\" cy=\"20\" r=\"5\" fill=\"currentColor\"/>\
             <text x=\"{text_x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\" font-size=\"13\" fill=\"currentColor\">{:.1} s · {}</text></g>",
            moment.at,
            escaped(&moment.what),
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(figures: &Figures, moments: &[Moment], remarks: &[String]) -> String {
        let twin = Twin::default();
        Page { played_by: "a <Stormpost>", figures, twin: &twin, moments, remarks }.html()
    }

    #[test]
    fn a_run_with_a_loss_is_not_clean_and_the_page_says_so() {
        let clean = Figures { accepted: 3, settled: 3, seen: 3, ..Figures::default() };
        let lost = Figures { lost: 1, ..clean.clone() };
        let doubled = Figures { doubled: 1, ..clean.clone() };
        let listed = Figures { exceptions: vec!["x".into()], ..clean.clone() };
        assert!(clean.is_clean());
        assert!(html(&clean, &[], &[]).contains("Nothing was lost"));
        for bad in [lost, doubled, listed] {
            assert!(!bad.is_clean());
            assert!(html(&bad, &[], &[]).contains("did not come out clean"));
        }
    }

    #[test]
    fn what_comes_from_mail_cannot_become_markup() {
        let figures = Figures { exceptions: vec!["<script>alert(1)</script>".into()], ..Figures::default() };
        let moments = [Moment { at: 1.0, what: "<b>\u{1b}[31m".into(), mood: -1 }];
        let html = html(&figures, &moments, &["<i>550 no</i>".into()]);
        for bad in ["<script>", "<b>", "<i>", "<Stormpost>", "\u{1b}"] {
            assert!(!html.contains(bad), "{bad}");
        }
    }

    #[test]
    fn every_element_is_closed() {
        let figures = Figures { exceptions: vec!["x".into()], ..Figures::default() };
        let moments = [0.0, 5.0, 9.0].map(|at| Moment { at, what: "& so".into(), mood: 1 });
        let html = html(&figures, &moments, &["y".into()]);
        for name in [
            "html", "head", "body", "table", "tr", "td", "th", "ul", "li", "svg", "g", "text", "p", "h1",
            "h2",
        ] {
            let opened =
                html.matches(&format!("<{name}>")).count() + html.matches(&format!("<{name} ")).count();
            assert_eq!(opened, html.matches(&format!("</{name}>")).count(), "{name}");
            assert!(opened > 0, "{name}");
        }
    }

    #[test]
    fn the_report_has_the_fields_that_scripts_read() {
        let value = serde_json::to_value(Figures::default()).unwrap();
        let names =
            |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for name in [
            "accepted",
            "settled",
            "seen",
            "lost",
            "doubled",
            "exceptions",
            "read_in_outage",
            "sent_in_outage",
            "changes_replayed",
            "seconds",
        ] {
            assert!(names(&value).iter().any(|n| n == name), "{name}");
        }
        for name in
            ["suspect", "event_open", "first_read", "first_send", "return_detect", "drain", "reconcile"]
        {
            assert!(names(&value["seconds"]).iter().any(|n| n == name), "{name}");
        }
    }

    #[test]
    fn promises_that_were_not_kept_are_named() {
        let kept = |suspect, drain_start, failures: &[String]| {
            let seconds = Seconds { suspect, drain_start, ..Seconds::default() };
            let bars = Figures { seconds, ..Figures::default() }.bars(failures);
            bars.iter().map(|bar| bar.kept).collect::<Vec<_>>()
        };
        assert_eq!(kept(5.0, 2.0, &[]), [true, true, true]);
        assert_eq!(kept(5.1, 2.1, &["anna could not read".into()]), [false, false, false]);
    }
}
