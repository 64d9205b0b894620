//! What the demonstration found: as JSON for machines, as a page for people.

use serde::Serialize;
use std::fmt::Write;

/// The figures of one run. Each was counted by looking into mailboxes, not into our own tables.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Messages that Stormpost acknowledged (people's own included), per recipient.
    pub accepted: usize,
    /// Of those, settled with the primary.
    pub settled: usize,
    /// Of those, found in the primary's mailboxes.
    pub seen: usize,
    /// Acknowledged and not found.
    pub lost: usize,
    /// One sender transaction twice in a mailbox.
    pub doubled: usize,
    /// What the reconciliation lists for a person to look at.
    pub exceptions: Vec<String>,
    /// Messages people read while the primary was dead.
    pub read_in_outage: usize,
    /// Messages people sent while the primary was dead.
    pub sent_in_outage: usize,
    /// Changes of people found again in the primary.
    pub changes_replayed: usize,
    /// Measured times.
    pub seconds: Seconds,
}

/// Measured times, seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// From the kill to SUSPECT: deliveries wait.
    pub suspect: f64,
    /// From the kill to the continuity event.
    pub event_open: f64,
    /// From the kill to the first message read by a person.
    pub first_read: f64,
    /// From the kill to the first message sent by a person.
    pub first_send: f64,
    /// From the primary's restart to the judgement that it is back.
    pub return_detect: f64,
    /// From that judgement to the empty queue.
    pub drain: f64,
    /// The reconciliation.
    pub reconcile: f64,
}

impl Figures {
    /// Whether nothing was lost, doubled or left open.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.exceptions.is_empty()
    }
}

/// The same outage, lived by the twin without protection.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Twin {
    /// Messages its senders still held when the primary came back: late, or bounced where the sender is impatient.
    pub waiting_outside: usize,
    /// Messages people could read while it was dead.
    pub read_in_outage: usize,
    /// Messages people could send while it was dead.
    pub sent_in_outage: usize,
    /// The longest time a message waited outside, seconds.
    pub longest_wait: f64,
}

/// One moment of the story.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the start.
    pub at: f64,
    /// What happened, in a few words.
    pub what: String,
    /// Whether it was bad, good, or neither: -1, 1, 0.
    pub mood: i8,
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
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#a4161a}.good{color:#1b6e3c}svg{width:100%;height:auto}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dde3ea}td,th{border-color:#333b46}.bad{color:#ff8a8a}.good{color:#7fd6a1}}";

/// The page: three sentences, a time line, the reconciliation.
pub fn page(figures: &Figures, twin: &Twin, moments: &[Moment]) -> String {
    let mut html = String::new();
    let verdict = if figures.is_clean() { "good" } else { "bad" };
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Stormpost: the demonstration</title><style>{STYLE}</style>\
         <h1>A mail system was killed, and the mail went on</h1><p class=\"lead\">{}</p>",
        sentences(figures, twin),
    );
    let _ = write!(html, "<h2>Time line</h2>{}", time_line(moments));
    let _ = write!(html, "<h2>Side by side</h2>{}", columns(figures, twin));
    let _ = write!(
        html,
        "<h2>Reconciliation</h2><table><tr><th>Counted in the primary's own mailboxes, over IMAP<th></tr>{}{}{}{}{}{}</table>",
        row("accepted by Stormpost", figures.accepted),
        row("settled with the primary", figures.settled),
        row("found in its mailboxes", figures.seen),
        row("lost", figures.lost),
        row("doubled", figures.doubled),
        row("exceptions", figures.exceptions.len()),
    );
    if !figures.exceptions.is_empty() {
        html.push_str("<ul>");
        for exception in &figures.exceptions {
            let _ = write!(html, "<li>{}</li>", escaped(exception));
        }
        html.push_str("</ul>");
    }
    let _ = write!(html, "<p class=\"{verdict}\">{}</p></html>", conclusion(figures));
    html
}

fn conclusion(figures: &Figures) -> &'static str {
    if figures.is_clean() {
        "Nothing was lost, nothing arrived twice, nothing is left to look at."
    } else {
        "This run did not come out clean; the figures above say where."
    }
}

fn sentences(figures: &Figures, twin: &Twin) -> String {
    format!(
        "The primary was killed while mail was coming in; {:.1} s later its mail waited safely with Stormpost, people had read \
         {} messages and sent {} before it came back. When it came back, {:.1} s passed until Stormpost had judged it well and \
         {:.1} s more until everything was given back: {} of {} messages found in its own mailboxes, {} lost, {} doubled, {} \
         changes of people carried over. The twin without Stormpost left {} messages waiting outside for up to {:.0} s, and \
         its people could read {} and send {}.",
        figures.seconds.suspect,
        figures.read_in_outage,
        figures.sent_in_outage,
        figures.seconds.return_detect,
        figures.seconds.drain,
        figures.seen,
        figures.accepted,
        figures.lost,
        figures.doubled,
        figures.changes_replayed,
        twin.waiting_outside,
        twin.longest_wait,
        twin.read_in_outage,
        twin.sent_in_outage,
    )
}

fn row(name: &str, value: usize) -> String {
    format!("<tr><td>{name}<td class=\"n\">{value}</tr>")
}

fn columns(figures: &Figures, twin: &Twin) -> String {
    let line = |name: &str, ours: usize, theirs: usize| {
        format!("<tr><td>{name}<td class=\"n\">{ours}<td class=\"n\">{theirs}</tr>")
    };
    format!(
        "<table><tr><th>During the outage<th>With Stormpost<th>Without</tr>{}{}{}</table>",
        line("messages people read", figures.read_in_outage, twin.read_in_outage),
        line("messages people sent", figures.sent_in_outage, twin.sent_in_outage),
        line("messages left waiting outside", 0, twin.waiting_outside),
    )
}

/// A horizontal line with a mark for each moment; the words stand below each other so that none overlap.
fn time_line(moments: &[Moment]) -> String {
    let end = moments.last().map_or(1.0, |m| m.at.max(0.1));
    let height = 40 + moments.len() * 22;
    let mut svg = format!("<svg viewBox=\"0 0 900 {height}\" role=\"img\" aria-label=\"time line\">");
    svg.push_str(
        "<line x1=\"10\" y1=\"20\" x2=\"890\" y2=\"20\" stroke=\"currentColor\" stroke-width=\"2\"/>",
    );
    for (n, moment) in moments.iter().enumerate() {
        let x = 10.0 + 880.0 * moment.at / end;
        let y = 48 + n * 22;
        let class = match moment.mood {
            -1 => "bad",
            1 => "good",
            _ => "",
        };
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

    #[test]
    fn a_run_with_a_loss_is_not_clean_and_the_page_says_so() {
        let clean = Figures { accepted: 3, settled: 3, seen: 3, ..Figures::default() };
        let lost = Figures { lost: 1, ..clean.clone() };
        assert!(clean.is_clean() && !lost.is_clean());
        assert!(page(&lost, &Twin::default(), &[]).contains("did not come out clean"));
        assert!(page(&clean, &Twin::default(), &[]).contains("Nothing was lost"));
    }

    #[test]
    fn what_comes_from_mail_cannot_become_markup() {
        let figures = Figures { exceptions: vec!["<script>alert(1)</script>".into()], ..Figures::default() };
        let moments = [Moment { at: 1.0, what: "<b>\u{1b}[31m".into(), mood: -1 }];
        let html = page(&figures, &Twin::default(), &moments);
        assert!(!html.contains("<script>") && !html.contains("<b>") && !html.contains('\u{1b}'));
    }
}
