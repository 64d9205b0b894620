//! The report of an event: what people and programs read when it is over.

use roads_mirror::{Ended, Report};
use std::path::{Path, PathBuf};
use stores_ledger::{Entry, LedgerReader, Notice, NoticeResult, Position};
use stores_log::ReadError;
use words_mail::EventId;

/// Where the page of an event stands, when it was written.
pub fn page_of(data: &Path, event: EventId) -> Option<PathBuf> {
    let path = data.join("reports").join(format!("event-{event}.html"));
    path.exists().then_some(path)
}

/// Who was told what and when, in a sentence.
pub fn told(notice: &Notice) -> String {
    let Notice { at, channel, to, subject, .. } = notice;
    let (date, time) = at
        .to_string()
        .split_once('T')
        .map_or((String::new(), String::new()), |(d, t)| (d.to_owned(), t.chars().take(8).collect()));
    let what = match &notice.result {
        NoticeResult::Sent => "told".to_owned(),
        NoticeResult::Begun => "perhaps told".to_owned(),
        NoticeResult::Failed { why } => format!("could not be told ({why})"),
        NoticeResult::Held { why } => format!("not told, {why}"),
    };
    format!("{date} {time} UTC  {to} by {channel} {what}: {subject}")
}

/// The newest reconciliation of an event, as its maker wrote it; `from` stands before the event.
///
/// # Errors
/// When the ledger cannot be read.
pub fn reconciled(
    reader: &LedgerReader,
    from: Position,
    event: EventId,
) -> Result<Option<serde_json::Value>, ReadError> {
    let mut newest = None;
    for entered in reader.scan_reports(Some(from)) {
        if let Entry::Reconciliation(found) = entered?.entry
            && found.event == event
        {
            newest = Some(found.report);
        }
    }
    Ok(newest)
}

/// What a person has to look at, each in a sentence.
pub fn exceptions(report: &serde_json::Value) -> Vec<String> {
    let Ok(report) = serde_json::from_value::<Report>(report.clone()) else { return Vec::new() };
    let lines = report.lines.iter().filter_map(|line| {
        let why = match &line.ended {
            Ended::Exception { why } => why,
            // Where nobody may look, that it was not seen says nothing.
            Ended::HandedOverNotSeen { why } if report.unseen > 0 => why,
            _ => return None,
        };
        Some(format!("{} from <{}> to <{}>: {why}", line.stamp, line.from, line.to))
    });
    lines.collect()
}
