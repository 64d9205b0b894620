//! A client that keeps a cache by RFC 7162 and nothing else, held against the mailbox.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use stores_mailbox::{How, UidRanges};

/// What a client keeps of a mailbox between two connections.
#[derive(Debug, Default)]
struct Cache {
    validity: u32,
    modseq: u64,
    flags: BTreeMap<u32, BTreeSet<String>>,
}

/// A connection of such a client.
struct Reader {
    client: Client,
    tag: u32,
    /// How many messages the server says there are.
    exists: usize,
    /// The highest MODSEQ heard in the command under way: believed once that has ended.
    heard: u64,
}

fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_once(word).map(|(_, rest)| rest)
}

fn number(text: &str) -> u64 {
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

fn set(text: &str) -> UidRanges {
    text.to_owned().try_into().unwrap()
}

impl Reader {
    async fn open(server: &Server, cache: &mut Cache) -> Reader {
        let mut client = server.client().await;
        client.ask("e ENABLE QRESYNC").await;
        let mut reader = Reader { client, tag: 0, exists: 0, heard: 0 };
        if cache.validity == 0 {
            reader.ask(cache, "SELECT INBOX").await;
        } else {
            // Sometimes with what it knows, which makes the answer shorter and nothing else (RFC 7162 §3.2.5.1).
            let known = match cache.flags.keys().last() {
                Some(last) if last % 2 == 0 => format!(" 1:{last}"),
                _ => String::new(),
            };
            let (validity, modseq) = (cache.validity, cache.modseq);
            reader.ask(cache, &format!("SELECT INBOX (QRESYNC ({validity} {modseq}{known}))")).await;
        }
        reader.fetch_new(cache).await;
        reader
    }

    /// Sends a command, and takes what is told meanwhile into the cache.
    async fn ask(&mut self, cache: &mut Cache, command: &str) {
        self.tag += 1;
        let tag = format!("r{}", self.tag);
        for line in self.client.ask(&format!("{tag} {command}")).await {
            assert!(!line.starts_with(&tag) || line.starts_with(&format!("{tag} OK")), "{command}: {line}");
            self.hear(cache, &line);
        }
        cache.modseq = cache.modseq.max(self.heard);
        self.heard = 0;
    }

    fn hear(&mut self, cache: &mut Cache, line: &str) {
        if let Some(code) = after(line, "[HIGHESTMODSEQ ") {
            self.heard = self.heard.max(number(code));
        }
        if let Some(code) = after(line, "[UIDVALIDITY ") {
            let validity = u32::try_from(number(code)).unwrap();
            assert!(cache.validity == 0 || cache.validity == validity);
            cache.validity = validity;
        }
        if let Some(gone) = line.strip_prefix("* VANISHED (EARLIER) ") {
            for uid in set(gone).iter() {
                cache.flags.remove(&uid);
            }
        } else if let Some(gone) = line.strip_prefix("* VANISHED ") {
            for uid in set(gone).iter() {
                self.exists -= 1;
                cache.flags.remove(&uid);
            }
        } else if let Some(count) = line.strip_suffix(" EXISTS").and_then(|line| line.strip_prefix("* ")) {
            self.exists = count.parse().unwrap();
        } else if let (true, Some(uid)) = (line.contains(" FETCH ("), after(line, "UID ")) {
            let uid = u32::try_from(number(uid)).unwrap();
            if let Some(modseq) = after(line, "MODSEQ (") {
                self.heard = self.heard.max(number(modseq));
            }
            if let Some(flags) = after(line, "FLAGS (") {
                let flags = flags.split(')').next().unwrap().split(' ');
                let flags = flags.filter(|f| !f.is_empty() && *f != "\\Recent").map(str::to_owned).collect();
                cache.flags.insert(uid, flags);
            }
        }
    }

    /// Fetches what it has been told of and does not have.
    async fn fetch_new(&mut self, cache: &mut Cache) {
        if self.exists > cache.flags.len() {
            let next = cache.flags.keys().last().map_or(1, |last| last + 1);
            self.ask(cache, &format!("UID FETCH {next}:* (FLAGS)")).await;
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Act {
    Arrive(u8),
    Flag(u32, u32, How, u8),
    Remove(u32, u32),
    MoveAway(u32, u32),
    MoveBack,
    CopyIn,
    /// The client's own commands.
    Noop,
    Mark(u32),
    Since(u64),
    Search,
    /// The connection is cut, perhaps while an answer is under way.
    Cut(bool),
    /// Stopped and started, with the view made anew.
    Restart,
    /// Power lost: what was not synced is gone, and so is the view.
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let span = || (1u32..14, 0u32..5).prop_map(|(first, more)| (first, first + more));
    prop_oneof![
        4 => (1u8..4).prop_map(Act::Arrive),
        4 => (span(), prop::sample::select(vec![How::Add, How::Remove, How::Set]), 0u8..32)
            .prop_map(|((a, b), how, bits)| Act::Flag(a, b, how, bits)),
        3 => span().prop_map(|(a, b)| Act::Remove(a, b)),
        2 => span().prop_map(|(a, b)| Act::MoveAway(a, b)),
        1 => Just(Act::MoveBack),
        1 => Just(Act::CopyIn),
        2 => Just(Act::Noop),
        2 => (1u32..14).prop_map(Act::Mark),
        1 => (0u64..6).prop_map(Act::Since),
        1 => Just(Act::Search),
        3 => any::<bool>().prop_map(Act::Cut),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
    ]
}

/// Lets another program, or a delivery, act.
async fn perform(server: &Server, act: &Act) {
    let (account, by, boxes) = (anna(), By::Person, &server.mailboxes);
    let inbox = boxes.folder(&account, "INBOX").unwrap().id;
    let archive = boxes.folder(&account, "Archive").unwrap().id;
    let all = UidRanges::span(1, u32::MAX);
    match act {
        Act::Arrive(count) => {
            for n in 0..*count {
                server.put("INBOX", &format!("Subject: {n}\r\n\r\n"), &["\\Flagged"]).await;
            }
        }
        Act::Flag(first, last, how, bits) => {
            let uids = UidRanges::span(*first, *last);
            boxes.store(&account, inbox, &uids, (*how, &Flags::system(*bits)), None, by).await.unwrap();
        }
        Act::Remove(first, last) => {
            boxes.expunge(&account, inbox, &UidRanges::span(*first, *last), by).await.unwrap();
        }
        Act::MoveAway(first, last) => {
            let uids = UidRanges::span(*first, *last);
            boxes.move_to(&account, inbox, &uids, "Archive", by).await.unwrap();
        }
        Act::MoveBack => {
            boxes.move_to(&account, archive, &all, "INBOX", by).await.unwrap();
        }
        Act::CopyIn => {
            boxes.copy(&account, archive, &all, "INBOX", by).await.unwrap();
        }
        _ => {}
    }
}

/// Lets the client act.
async fn command(reader: &mut Reader, cache: &mut Cache, act: &Act) {
    match act {
        Act::Noop => reader.ask(cache, "NOOP").await,
        Act::Mark(uid) => reader.ask(cache, &format!("UID STORE {uid} +FLAGS.SILENT (\\Answered)")).await,
        Act::Since(back) => {
            let since = cache.modseq.saturating_sub(*back);
            reader.ask(cache, &format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since} VANISHED)")).await;
        }
        Act::Search => reader.ask(cache, "UID SEARCH MODSEQ 1").await,
        _ => return,
    }
    reader.fetch_new(cache).await;
}

/// What the mailbox really holds.
fn truth(server: &Server) -> BTreeMap<u32, BTreeSet<String>> {
    let inbox = server.mailboxes.folder(&anna(), "INBOX").unwrap().id;
    let all = server.mailboxes.page(inbox, 1, u32::MAX, 1_000).unwrap();
    all.into_iter().map(|m| (m.uid, m.flags.names().map(str::to_owned).collect())).collect()
}

async fn started_again(server: Server, crash: bool) -> Server {
    let disk = server.disk.clone();
    server.stop.send_replace(true);
    if crash {
        server.tasks.iter().for_each(JoinHandle::abort);
        disk.power_off();
        disk.restart();
    } else {
        for task in server.tasks {
            task.await.unwrap();
        }
    }
    Server::start_on(disk, ImapLimits::default()).await
}

async fn live(acts: Vec<Act>) {
    let mut server = Server::start().await;
    let mut cache = Cache::default();
    let mut reader = Reader::open(&server, &mut cache).await;
    for act in &acts {
        match act {
            Act::Cut(half) => {
                if *half {
                    // Asked, and gone before the answer: nothing of it counts.
                    reader.client.send("x UID FETCH 1:* (FLAGS)\r\n").await;
                }
                drop(reader);
                reader = Reader::open(&server, &mut cache).await;
            }
            Act::Restart | Act::Crash => {
                server = started_again(server, matches!(act, Act::Crash)).await;
                reader = Reader::open(&server, &mut cache).await;
            }
            Act::Noop | Act::Mark(_) | Act::Since(_) | Act::Search => {
                command(&mut reader, &mut cache, act).await;
            }
            act => perform(&server, act).await,
        }
    }
    reader.ask(&mut cache, "NOOP").await;
    reader.fetch_new(&mut cache).await;
    assert_eq!(cache.flags, truth(&server), "after {acts:?}");
    // And from nothing but the cache, on a server made anew from its log.
    perform(&server, &Act::Remove(1, 3)).await;
    perform(&server, &Act::Arrive(1)).await;
    let server = started_again(server, false).await;
    Reader::open(&server, &mut cache).await;
    assert_eq!(cache.flags, truth(&server), "anew, after {acts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_of_a_client_that_resynchronises_is_the_mailbox(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live(acts));
    }
}
