//! Writes a report when an event closes, and again when it is reconciled later.

use super::{Told, folder, gather, page};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{Entry, EventReport, Ledger, LedgerScan};
use tokio::sync::watch;
use tokio::time::sleep;
use words_mail::{Event, EventId};
use words_world::{World, crash_point};

/// How often it looks at most.
const EVERY: Duration = Duration::from_millis(500);
/// Reports from so long ago are not looked at again.
const READ_BACK: Duration = Duration::from_secs(31 * 86_400);

/// Follows the ledger and writes reports into `<data>/reports`.
pub struct Reports {
    world: World,
    ledger: Ledger,
    node: String,
    data: PathBuf,
}

/// What is known so far.
struct Known {
    scan: LedgerScan,
    /// Events with a page.
    written: BTreeSet<EventId>,
    /// Events whose closing report stands in the ledger.
    entered: BTreeSet<EventId>,
    /// Events that were reconciled since their page was written.
    changed: BTreeSet<EventId>,
}

impl Reports {
    /// Ready to follow.
    pub fn new(world: &World, ledger: &Ledger, node: &str, data: PathBuf) -> Reports {
        Reports { world: world.clone(), ledger: ledger.clone(), node: node.to_owned(), data }
    }

    /// Writes until `stop` says so.
    pub async fn follow(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut durable = this.ledger.durable();
        let mut known = None;
        loop {
            let (me, taken) = (this.clone(), known.take());
            let looked = tokio::task::spawn_blocking(move || me.look(taken)).await;
            let mut entries = Vec::new();
            if let Ok((now_known, closed)) = looked {
                known = Some(now_known);
                entries = closed;
            }
            for entry in entries {
                let event = entry.event;
                if let Err(error) = this.ledger.append(Entry::EventReport(entry)).await {
                    tracing::warn!(%event, %error, "the report of an event could not be entered into the ledger");
                }
            }
            let wake = async {
                let _ = durable.changed().await;
                sleep(EVERY).await;
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = wake => {}
            }
        }
    }

    fn begin(&self) -> Known {
        let names = self.world.disk.list(&folder(&self.data)).unwrap_or_default();
        let id = |name: &str| name.strip_prefix("event-")?.strip_suffix(".html")?.parse().ok().map(EventId);
        let written: BTreeSet<EventId> = names.iter().filter_map(|entry| id(&entry.name)).collect();
        let reader = self.ledger.reader();
        // Which reports were entered stands in the ledger; what is older was entered long ago.
        let recent = self.world.clock.now().before(READ_BACK);
        let entered = self.ledger.in_force().events().into_iter();
        let entered = entered.filter(|event| event.closed.is_some_and(|closed| closed < recent));
        Known {
            scan: reader.scan_reports(Some(reader.position_at(recent).unwrap_or_default())),
            written,
            entered: entered.map(|event| event.id).collect(),
            changed: BTreeSet::new(),
        }
    }

    /// Writes what is due; gives the reports that are to be entered into the ledger.
    fn look(&self, known: Option<Known>) -> (Known, Vec<EventReport>) {
        let mut known = known.unwrap_or_else(|| self.begin());
        for entered in &mut known.scan {
            match entered.map(|entered| entered.entry) {
                Ok(Entry::Reconciliation(found)) => {
                    known.changed.insert(found.event);
                }
                Ok(Entry::EventReport(report)) => {
                    known.changed.remove(&report.event);
                    known.entered.insert(report.event);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "an entry of the ledger cannot be read");
                    break;
                }
            }
        }
        let mut closed = Vec::new();
        let events = self.ledger.in_force().events();
        known.changed.retain(|id| events.iter().any(|event| event.id == *id));
        for event in events {
            let id = event.id;
            let is_done =
                known.written.contains(&id) && known.entered.contains(&id) && !known.changed.contains(&id);
            if event.closed.is_none() || is_done {
                continue;
            }
            match self.write(event) {
                Ok(report) => {
                    known.written.insert(id);
                    known.changed.remove(&id);
                    if known.entered.insert(id) {
                        closed.push(report);
                    }
                }
                Err(why) => tracing::warn!(event = %id, %why, "the report of an event could not be written"),
            }
        }
        (known, closed)
    }

    fn write(&self, event: Event) -> Result<EventReport, String> {
        let gathered = gather(&self.ledger.reader(), &event).map_err(|why| why.to_string())?;
        let (id, primary) = (event.id, event.primary.clone());
        let told = Told::new(&self.node, self.world.clock.now(), event, gathered);
        let folder = folder(&self.data);
        let disk = &self.world.disk;
        let words = |e: std::io::Error| e.to_string();
        disk.make_dir(&folder).map_err(words)?;
        let json = serde_json::to_vec_pretty(&told).map_err(|why| why.to_string())?;
        crash_point("report.before_json");
        disk.replace(&folder.join(format!("event-{id}.json")), &json).map_err(words)?;
        crash_point("report.before_page");
        // The page last: it says that everything is there.
        disk.replace(&folder.join(format!("event-{id}.html")), page::page(&told).as_bytes())
            .map_err(words)?;
        tracing::info!(event = %id, %primary, page = %folder.join(format!("event-{id}.html")).display(), "report");
        let Told { sentences, measured, outcomes, made, .. } = told;
        let report =
            serde_json::json!({ "sentences": sentences, "measured": measured, "outcomes": outcomes });
        Ok(EventReport { at: made, event: id, primary, report })
    }
}
