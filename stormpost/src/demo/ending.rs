//! The end of the story: both columns, the figures, page and report.

use super::acts::{Ending, played_by};
use super::report::{Bar, Page, conclusion, side_by_side};
use super::stage::{COMPANY, CONFIGURATION, OUTSIDE, Stage};
use super::story::{Story, say};
use crate::command::DemoArguments;
use crate::configuration::visible;
use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Exceptions and remarks printed one by one; all exceptions are in the report.
const LINES_MAX: usize = 20;
/// People whose passwords are shown.
const PEOPLE_MAX: usize = 3;

/// Makes sure that page and report can be written, before anything is begun.
///
/// # Errors
/// When one cannot; the text says which, and how to name another place.
pub(super) fn writable(arguments: &DemoArguments) -> Result<()> {
    let page = Some((arguments.page.as_path(), "--page"));
    let report = arguments.report.as_deref().map(|path| (path, "--report"));
    for (path, option) in page.into_iter().chain(report) {
        let is_new = !path.exists();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write {}; name another place with {option}", path.display()))?;
        if is_new {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Prints both columns, writes page and report.
///
/// # Errors
/// When page or report cannot be written.
pub(super) fn tell(arguments: &DemoArguments, story: &Story, ending: &Ending) -> Result<()> {
    let Ending { figures, twin, done, remarks } = ending;
    say("");
    say(&format!("{:44} {:>14} {:>10}", "during the outage", "with Stormpost", "without"));
    for (what, ours, theirs) in side_by_side(figures, twin) {
        say(&format!("{what:44} {ours:>14} {theirs:>10}"));
    }
    say("");
    say("counted in mailboxes, over IMAP:");
    for (what, value) in [
        ("acknowledged, one for each mailbox", figures.accepted),
        ("settled", figures.settled),
        ("found in their mailboxes", figures.seen),
        ("lost", figures.lost),
        ("doubled", figures.doubled),
        ("exceptions", figures.exceptions.len()),
        ("changes of people carried over", figures.changes_replayed),
    ] {
        say(&format!("  {what:42} {value:>14}"));
    }
    say("");
    for Bar { what, found, kept } in figures.bars(&done.first_failures) {
        say(&format!("  {} {what}: {}", if kept { '✓' } else { '✗' }, visible(&found)));
    }
    let seconds = &figures.seconds;
    say(&format!(
        "  seconds: in doubt {:.1}, event open {:.1}; return judged {:.1}, handed over {:.1}, proved {:.1}",
        seconds.suspect, seconds.event_open, seconds.return_detect, seconds.drain, seconds.reconcile
    ));
    for (sign, lines) in [("!", &figures.exceptions), ("·", remarks)] {
        for line in lines.iter().take(LINES_MAX) {
            say(&format!("  {sign} {}", visible(line)));
        }
        if lines.len() > LINES_MAX {
            say(&format!("  {sign} and {} more", lines.len() - LINES_MAX));
        }
    }
    say("");
    say(conclusion(figures));
    write_page_and_report(arguments, story, ending)
}

fn write_page_and_report(arguments: &DemoArguments, story: &Story, ending: &Ending) -> Result<()> {
    let Ending { figures, twin, remarks, .. } = ending;
    let moments = story.moments();
    let played_by = played_by(arguments.primary);
    let page = Page { played_by, figures, twin, moments: &moments, remarks };
    write(&arguments.page, &page.html())?;
    say(&format!("The story as a page: {}", arguments.page.display()));
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(figures).context("writing the report")?;
        write(path, &(text + "\n"))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// `--keep`: says how to look around.
pub(super) fn look_around(stage: &Stage) {
    say("\nEverything goes on running. Look around with a mail program, and end with Ctrl-C.");
    let hosts = [
        ("Stormpost", &stage.front),
        ("the mail system", &stage.primary),
        ("its twin", &stage.twin),
        ("everybody else", &stage.outside),
    ];
    for (name, host) in hosts {
        say(&format!(
            "  {name:16} IMAP {}  sending {}  (both with STARTTLS, any certificate)  files {}",
            host.doors.imap,
            host.doors.submission,
            host.home.display()
        ));
    }
    for person in stage.people.iter().take(PEOPLE_MAX).chain([&stage.stranger]) {
        say(&format!("  sign in as {} with the password {}", person.address, person.password));
    }
    let configuration = stage.front.home.join(CONFIGURATION);
    say(&format!("  stormpost -c {} status", configuration.display()));
    say(&format!("  stormpost -c {} event show", configuration.display()));
    say(&format!("  ({COMPANY} is the company, {OUTSIDE} everybody else)"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::DemoPrimary;

    #[test]
    fn a_page_that_cannot_be_written_is_refused_before_anything_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = DemoArguments {
            mail: None,
            people: 2,
            messages: 1,
            outage: 20,
            dwell: 3,
            keep: false,
            primary: DemoPrimary::Own,
            report: Some(folder.path().join("report.json")),
            page: folder.path().join("demo.html"),
            folder: None,
        };
        fs::write(&arguments.page, "an older page").unwrap();
        writable(&arguments).unwrap();
        assert!(!folder.path().join("report.json").exists(), "nothing is left behind");
        assert_eq!(fs::read_to_string(&arguments.page).unwrap(), "an older page");
        arguments.report = Some(folder.path().join("no/report.json"));
        let words = format!("{:#}", writable(&arguments).unwrap_err());
        assert!(words.contains("--report"), "{words}");
    }
}
