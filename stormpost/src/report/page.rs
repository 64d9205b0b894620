//! The report as a page for people. It needs nothing but itself: no script, no font, no address outside.

use super::{Told, length, moment, to_look_at};
use crate::configuration::visible;
use roads_mirror::Reach;
use std::fmt::Write as _;

/// Lines of one table at most; the JSON beside the page has them all.
const LINES_MAX: usize = 10_000;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--quiet:#777;--well:#2a7d4f;--bad:#b3372b;--mid:#b07d1a}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.quiet{color:var(--quiet)}.sum{font-size:1.1rem}
.bar{display:flex;height:1.2rem;border-radius:.3rem;overflow:hidden;margin:1rem 0 .3rem}
.bar div{min-width:3px}.doubt{background:var(--mid)}.down{background:var(--bad)}.back{background:var(--well)}
.key span{margin-right:1.5rem}.key i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.4em}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--line)}td.n{text-align:right;font-variant-numeric:tabular-nums;width:6rem;padding-right:1.2rem}
td.t{white-space:nowrap;font-variant-numeric:tabular-nums}code{font-size:.85em;overflow-wrap:anywhere}
.wide{overflow-x:auto}@media print{body{margin:0}}";

/// Text as it stands in a page: nothing in it is markup, and control characters are written out.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The page.
pub(crate) fn page(told: &Told) -> String {
    let mut out = String::new();
    let title = format!("Event {} of {}", told.event.id, told.event.primary);
    let title = html(&title);
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p class=\"quiet\">Report of {} made {} UTC</p>\n<p class=\"sum\">{}</p>\n",
        html(&told.node),
        moment(told.made),
        told.sentences.iter().map(|sentence| html(sentence)).collect::<Vec<_>>().join(" ")
    );
    bar(told, &mut out);
    times(told, &mut out);
    outcomes(told, &mut out);
    exceptions(told, &mut out);
    timeline(told, &mut out);
    notices(told, &mut out);
    out.push_str("</body></html>\n");
    out
}

/// How long each part of the event was, one beside the other.
fn bar(told: &Told, out: &mut String) {
    let doubt = told.measured.rto;
    let down = told.measured.outage.map(|outage| (outage - doubt).max(0.0)).unwrap_or_default();
    let back = told.measured.returning.unwrap_or_default();
    let parts = [
        ("doubt", "in doubt", doubt),
        ("down", "down, we carried the mail", down),
        ("back", "coming back", back),
    ];
    out.push_str("<div class=\"bar\">");
    for (class, _, seconds) in parts {
        let _ = write!(out, "<div class=\"{class}\" style=\"flex-grow:{seconds:.3}\"></div>");
    }
    out.push_str("</div>\n<p class=\"key quiet\">");
    for (class, words, seconds) in parts {
        let _ = write!(out, "<span><i class=\"{class}\"></i>{words} {}</span>", length(seconds));
    }
    out.push_str("</p>\n");
}

fn times(told: &Told, out: &mut String) {
    let measured = &told.measured;
    let rows = [
        ("From the first failed observation until mail was held back", measured.suspect.map(length)),
        (
            "Recovery time (RTO): from the first failed observation until we carried the mail",
            Some(length(measured.rto)),
        ),
        ("From the first failed observation until the return began", measured.outage.map(length)),
        ("From then until everything was given back and proved", measured.returning.map(length)),
        (
            "Data lost (RPO): acknowledged messages that were lost",
            measured.rpo_messages.map(|lost| format!("{lost} messages")),
        ),
    ];
    out.push_str("<h2>Measured</h2>\n<table>");
    for (what, value) in rows {
        let value = value.unwrap_or_else(|| "not measured".to_owned());
        let _ = writeln!(out, "<tr><td>{what}</td><td class=\"t\">{value}</td></tr>");
    }
    out.push_str("</table>\n");
}

fn outcomes(told: &Told, out: &mut String) {
    out.push_str("<h2>Reconciliation</h2>\n");
    let (Some(outcomes), Some(report)) = (&told.outcomes, &told.reconciliation) else {
        out.push_str("<p>What was accepted has not been compared with the primary's mailboxes.</p>\n");
        return;
    };
    let _ = writeln!(
        out,
        "<p>This is {}. Each message counts once for each recipient.</p>",
        report.reach.words()
    );
    let handed_over = match report.reach {
        Reach::Mailbox => "handed over, and not seen in its mailboxes",
        Reach::Reply => "taken by it with a 250; nobody may look further",
    };
    let rows = [
        (outcomes.accepted, "accepted here for it"),
        (outcomes.seen, "seen in its mailboxes"),
        (outcomes.handed_over_not_seen, handed_over),
        (outcomes.refused, "refused by it"),
        (outcomes.waiting, "still waiting here"),
        (outcomes.exceptions, "exceptions: a person must look"),
        (outcomes.lost, "lost: acknowledged, neither settled nor found nor waiting"),
        (outcomes.doubled, "doubled: one transaction more than once in one folder"),
    ];
    out.push_str("<table>");
    for (count, what) in rows {
        let _ = writeln!(out, "<tr><td class=\"n\">{count}</td><td>{what}</td></tr>");
    }
    out.push_str("</table>\n");
}

fn exceptions(told: &Told, out: &mut String) {
    let Some(report) = &told.reconciliation else { return };
    let closed = told.event.closed.is_some();
    let lines: Vec<_> =
        report.lines.iter().filter_map(|line| Some((line, to_look_at(report, line, closed)?))).collect();
    if lines.is_empty() {
        return;
    }
    out.push_str("<h2>To look at</h2>\n<div class=\"wide\"><table><tr><th>accepted (UTC)</th><th>from</th><th>to</th><th>what is known</th><th>trace</th></tr>\n");
    for (line, why) in lines.iter().take(LINES_MAX) {
        let trace = line.stamp.split('.').next().unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><td class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            moment(line.at),
            html(&line.from),
            html(&line.to.to_string()),
            html(why),
            html(trace)
        );
    }
    out.push_str("</table></div>\n");
    if lines.len() > LINES_MAX {
        let _ = writeln!(out, "<p>{} more stand in the JSON beside this page.</p>", lines.len() - LINES_MAX);
    }
}

fn timeline(told: &Told, out: &mut String) {
    out.push_str("<h2>Time line</h2>\n<div class=\"wide\"><table>\n");
    for one in told.timeline.iter().take(LINES_MAX) {
        let _ = writeln!(
            out,
            "<tr><td class=\"t\">{} UTC</td><td class=\"t\">+{}</td><td>{}</td></tr>",
            moment(one.at),
            length(one.seconds),
            html(&one.what)
        );
    }
    out.push_str("</table></div>\n");
}

fn notices(told: &Told, out: &mut String) {
    if told.notices.is_empty() {
        return;
    }
    out.push_str("<h2>Who was told</h2>\n<ul>\n");
    for notice in told.notices.iter().take(LINES_MAX) {
        let _ = writeln!(out, "<li>{}</li>", html(notice));
    }
    out.push_str("</ul>\n");
}
