//! From the list of what people did to the messages they did it with.

use rules_merge::Origin;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use stores_mailbox::{BodyAt, Change, Event, Flags, FolderId, How, UidRanges};
use words_mail::{Time, TraceId};

/// A message that people touched, with the sum of what they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Our trace id, if it has one.
    pub trace: Option<TraceId>,
    /// Where its bytes are.
    pub body: BodyAt,
    /// How it came to be.
    pub origin: Origin,
    /// Whether it came to be by one of these changes: both sides never agreed on anything about it.
    pub new: bool,
    /// With which date and flags it came to be, if it is new and no copy.
    pub came: Option<(Time, Flags)>,
    /// The folder it stood in before they began.
    pub began: FolderId,
    /// The folders it stood in from then on.
    pub been: BTreeSet<FolderId>,
    /// Where it stands now; `None`: removed for good.
    pub now: Option<(FolderId, u32)>,
    /// Where it stands now, or stood last.
    pub last: (FolderId, u32),
    /// Flags, lower case, that people set (`true`) or cleared, the last of it.
    pub flagged: BTreeMap<String, bool>,
}

/// The flags that IMAP itself defines and a person may set; a `STORE FLAGS` that does not name one clears it.
const SYSTEM: [&str; 5] = ["\\answered", "\\deleted", "\\draft", "\\flagged", "\\seen"];

/// The new messages that are gone again after all these changes, by where their bytes are.
pub(crate) fn thrown_away(changes: &[Change]) -> HashSet<BodyAt> {
    let mut gone: HashMap<BodyAt, bool> = HashMap::new();
    for message in touched(changes) {
        *gone.entry(message.body).or_insert(true) &= message.new && message.now.is_none();
    }
    gone.into_iter().filter(|(_, gone)| *gone).map(|(body, _)| body).collect()
}

/// Sums up changes, which must be in the order in which they were made.
pub fn touched(changes: &[Change]) -> Vec<Touched> {
    let mut sum = Sum::default();
    for change in changes {
        sum.add(change);
    }
    sum.all
}

#[derive(Default)]
struct Sum {
    all: Vec<Touched>,
    /// Where each of them stands at this point of the story.
    standing: BTreeMap<(FolderId, u32), usize>,
}

impl Sum {
    fn add(&mut self, change: &Change) {
        match &change.event {
            Event::Arrived { folder, date, flags, .. } | Event::Appended { folder, date, flags, .. } => {
                for message in &change.messages {
                    let at = self.put(*folder, message.uid, message.trace, message.body, true);
                    self.all[at].came = Some((*date, flags.clone()));
                }
            }
            Event::FlagsChanged { folder, how, flags, .. } => {
                for message in &change.messages {
                    let at = self.find(*folder, message.uid, message.trace, message.body);
                    note(&mut self.all[at].flagged, *how, flags);
                }
            }
            Event::Moved { from, uids, to, first, .. } => {
                for message in &change.messages {
                    let at = self.find(*from, message.uid, message.trace, message.body);
                    self.standing.remove(&(*from, message.uid));
                    if let Some(place) = nth(uids, message.uid).map(|n| (*to, first + n)) {
                        self.all[at].now = Some(place);
                        self.all[at].last = place;
                        self.all[at].been.insert(*to);
                        self.standing.insert(place, at);
                    }
                }
            }
            Event::Copied { uids, to, first, .. } => {
                for message in &change.messages {
                    if let Some(n) = nth(uids, message.uid) {
                        self.put(*to, first + n, message.trace, message.body, true);
                    }
                }
            }
            Event::Expunged { folder, .. } => {
                for message in &change.messages {
                    let at = self.find(*folder, message.uid, message.trace, message.body);
                    self.standing.remove(&(*folder, message.uid));
                    self.all[at].now = None;
                }
            }
            // Folders are brought together by name before messages are; the rest is no act of a person.
            Event::AccountOpened { .. }
            | Event::FolderCreated { .. }
            | Event::FolderRenamed { .. }
            | Event::FolderDeleted { .. }
            | Event::Subscribed { .. }
            | Event::Recognised { .. }
            | Event::Jumped { .. }
            | Event::Replayed { .. } => {}
        }
    }

    fn find(&mut self, folder: FolderId, uid: u32, trace: Option<TraceId>, body: BodyAt) -> usize {
        match self.standing.get(&(folder, uid)) {
            Some(at) => *at,
            None => self.put(folder, uid, trace, body, false),
        }
    }

    fn put(&mut self, folder: FolderId, uid: u32, trace: Option<TraceId>, body: BodyAt, new: bool) -> usize {
        let received = matches!(body, BodyAt::Journal { .. }) && !new;
        self.all.push(Touched {
            trace,
            body,
            origin: if received { Origin::Received } else { Origin::Written },
            new,
            came: None,
            began: folder,
            been: BTreeSet::from([folder]),
            now: Some((folder, uid)),
            last: (folder, uid),
            flagged: BTreeMap::new(),
        });
        self.standing.insert((folder, uid), self.all.len() - 1);
        self.all.len() - 1
    }
}

fn nth(uids: &UidRanges, uid: u32) -> Option<u32> {
    uids.iter().position(|u| u == uid).and_then(|n| u32::try_from(n).ok())
}

fn note(flagged: &mut BTreeMap<String, bool>, how: How, flags: &Flags) {
    if how == How::Set {
        let named = |flag: &str| flags.names().any(|n| n.eq_ignore_ascii_case(flag));
        for flag in SYSTEM.iter().filter(|flag| !named(flag)) {
            flagged.insert((*flag).to_owned(), false);
        }
    }
    for name in flags.names() {
        flagged.insert(name.to_lowercase(), how != How::Remove);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stores_mailbox::{By, KnownMessage};
    use words_mail::{AccountId, Time};

    fn position(offset: u64) -> stores_log::Position {
        stores_log::Position { segment: 1, offset }
    }

    const INBOX: FolderId = FolderId(1);
    const TRASH: FolderId = FolderId(2);
    const SENT: FolderId = FolderId(3);

    fn trace(n: u8) -> TraceId {
        TraceId::new(Time::from_seconds(i64::from(n)), [n; 10])
    }

    fn change(event: Event, uids: &[u32]) -> Change {
        let known = |uid: &u32| KnownMessage {
            uid: *uid,
            trace: Some(trace(*uid as u8)),
            body: BodyAt::Journal { trace: trace(*uid as u8), position: position(u64::from(*uid)) },
        };
        let messages = uids.iter().map(known).collect();
        let at = Time::default();
        Change { seq: 1, position: position(1), at, event, folder: None, to: None, messages }
    }

    fn anna() -> AccountId {
        AccountId::new("anna@company.example")
    }

    fn flags(how: How, names: &[&str], folder: FolderId, uid: u32) -> Change {
        let flags = names.iter().copied().collect();
        let uids = UidRanges::span(uid, uid);
        let event = Event::FlagsChanged {
            account: anna(),
            folder,
            uids,
            how,
            flags,
            unchanged_since: None,
            modseq: 9,
            by: By::Person,
        };
        change(event, &[uid])
    }

    fn moved(from: FolderId, uids: UidRanges, to: FolderId, first: u32, which: &[u32]) -> Change {
        let (left, modseq) = (8, 9);
        change(Event::Moved { account: anna(), from, uids, left, to, first, modseq, by: By::Person }, which)
    }

    #[test]
    fn a_message_read_then_moved_is_one_message_with_both_done_to_it() {
        let sum = touched(&[
            flags(How::Add, &["\\Seen"], INBOX, 7),
            moved(INBOX, UidRanges::span(6, 7), TRASH, 40, &[6, 7]),
            flags(How::Remove, &["\\Flagged"], TRASH, 41),
        ]);
        assert_eq!(sum.len(), 2);
        assert_eq!((sum[0].began, sum[0].now, sum[0].origin), (INBOX, Some((TRASH, 41)), Origin::Received));
        assert_eq!(sum[0].been, BTreeSet::from([INBOX, TRASH]));
        let flagged: Vec<_> = sum[0].flagged.iter().map(|(f, on)| (f.as_str(), *on)).collect();
        assert_eq!(flagged, [("\\flagged", false), ("\\seen", true)]);
        assert_eq!(sum[1].now, Some((TRASH, 40)));
    }

    #[test]
    fn flags_that_are_set_whole_clear_the_others() {
        let sum = touched(&[flags(How::Set, &["\\Seen", "work"], INBOX, 7)]);
        assert_eq!(sum[0].flagged.get("\\seen"), Some(&true));
        assert_eq!(sum[0].flagged.get("\\flagged"), Some(&false));
        assert_eq!(sum[0].flagged.get("work"), Some(&true));
    }

    #[test]
    fn a_message_removed_for_good_is_nowhere() {
        let uids = UidRanges::span(7, 7);
        let expunged = Event::Expunged { account: anna(), folder: INBOX, uids, modseq: 9, by: By::Person };
        let sum = touched(&[flags(How::Add, &["\\Deleted"], INBOX, 7), change(expunged, &[7])]);
        assert_eq!((sum.len(), sum[0].now), (1, None));
    }

    #[test]
    fn a_copy_and_a_sent_message_are_messages_of_their_own() {
        let uids = UidRanges::span(7, 7);
        let copied = Event::Copied {
            account: anna(),
            from: INBOX,
            uids,
            to: SENT,
            first: 3,
            modseq: 9,
            by: By::Person,
        };
        let sum = touched(&[change(copied, &[7])]);
        assert_eq!((sum[0].origin, sum[0].new, sum[0].now), (Origin::Written, true, Some((SENT, 3))));
    }
}
