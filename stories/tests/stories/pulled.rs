//! A mailbox that lived in the primary for years is here too: copied through kills, then in step both ways.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use stories::lab::wait_for;
use stories::maildrop::{ImapTalk, Maildrop};
use stories::stormpost::Setup;
use stories::{Lab, Primary, PrimaryOptions, Stormpost};

/// Folders as IMAP writes their names, levels by `/`.
const FOLDERS: [&str; 12] = [
    "INBOX",
    "Sent",
    "Drafts",
    "Trash",
    "Work",
    "Work/2026",
    "Work/2026/Q4",
    "Entw&APw-rfe",
    "A&-B",
    "A1 OK BYE",
    "Lists",
    "Archive",
];

fn primary(lab: &Lab, dovecot: &str) -> Primary {
    let options = PrimaryOptions { dovecot: dovecot.to_owned(), ..PrimaryOptions::default() };
    Primary::start(lab, "company.test", &options)
}

/// Stormpost in front of it, copying all of it.
fn stormpost(lab: &Lab, primary: &Primary) -> Stormpost {
    let stormpost = Stormpost::prepare(lab, "stormpost", &Setup::of(primary));
    let text = fs::read_to_string(&stormpost.configuration).unwrap();
    let mirrored = "[primary.mailbox]\nmirror = \"all\"\nmirror_look = \"1s\"\n";
    fs::write(&stormpost.configuration, text.replace("[primary.mailbox]\n", mirrored)).unwrap();
    stormpost
}

fn there(primary: &Primary) -> ImapTalk {
    let mut talk = ImapTalk::connect("127.0.0.1", primary.imap).unwrap();
    talk.sign_in(&primary.address("anna"), &primary.password("anna")).unwrap();
    talk
}

/// Years of mail in twelve folders, with holes among the UIDs.
fn fill(primary: &Primary, separator: &str, count: usize) {
    let mut talk = there(primary);
    for folder in &FOLDERS[4..] {
        let _ = talk.command(&format!("CREATE \"{}\"", folder.replace('/', separator)));
    }
    for n in 0..count {
        let folder = FOLDERS[n % FOLDERS.len()].replace('/', separator);
        let flags = ["", "\\Seen", "\\Seen \\Answered", "\\Flagged $Forwarded"][n % 4];
        let body = "a line of text\r\n".repeat(n % 50);
        let text = format!(
            "From: <a@b.test>\r\nSubject: {n}\r\nMessage-ID: <{n}@b.test>\r\n\r\nA1 OK {n}\r\n{body}"
        );
        talk.append(&folder, flags, text.as_bytes()).unwrap();
    }
    talk.command("SELECT INBOX").unwrap();
    talk.command("STORE 2:5,9 +FLAGS.SILENT (\\Deleted)").unwrap();
    talk.command("EXPUNGE").unwrap();
}

/// What stands in each folder: UIDVALIDITY, and UID, flags and bytes of each message.
type Shown = BTreeMap<String, (u64, Vec<(u64, Vec<String>, Vec<u8>)>)>;

fn shown(drop: &Maildrop, separator: &str) -> Shown {
    let mut shown = Shown::new();
    for (name, (validity, _)) in &drop.folders {
        shown.insert(name.replace(separator, "/"), (*validity, Vec::new()));
    }
    for message in &drop.messages {
        let mut flags: Vec<String> =
            message.flags.iter().filter(|flag| *flag != "\\Recent").cloned().collect();
        flags.sort();
        let folder = shown.entry(message.folder.replace(separator, "/")).or_default();
        folder.1.push((message.uid, flags, message.text.clone()));
    }
    // Folders that only one of them opens an account with say nothing while they are empty.
    shown.retain(|_, (_, messages)| !messages.is_empty());
    shown.values_mut().for_each(|(_, messages)| messages.sort());
    shown
}

/// The same without numbers: what a person sees.
fn seen(shown: &Shown) -> Vec<(String, Vec<String>, String)> {
    let mut seen = Vec::new();
    for (folder, (_, messages)) in shown {
        for (_, flags, text) in messages {
            let text = String::from_utf8_lossy(text);
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("");
            seen.push((folder.clone(), flags.clone(), subject.to_owned()));
        }
    }
    seen.sort();
    seen
}

fn at_the_primary(primary: &Primary, separator: &str) -> Shown {
    let drop =
        Maildrop::look_whole("127.0.0.1", primary.imap, &primary.address("anna"), &primary.password("anna"));
    shown(&drop, separator)
}

fn here(stormpost: &Stormpost, primary: &Primary) -> Result<Shown, String> {
    let talk = stormpost.imap_as(&primary.address("anna"))?;
    Ok(shown(&Maildrop::read_all(talk, "BODY.PEEK[]")?, "/"))
}

fn copied_through_kills(story: &str, dovecot: &str, separator: &str) {
    let lab = Lab::open(story);
    let primary = primary(&lab, dovecot);
    fill(&primary, separator, 500);
    let mut stormpost = stormpost(&lab, &primary);
    for millis in [700, 1_200] {
        stormpost.launch();
        std::thread::sleep(Duration::from_millis(millis));
        stormpost.kill();
    }
    let begun = Instant::now();
    stormpost.restart();
    let theirs = at_the_primary(&primary, separator);
    let count = |shown: &Shown| shown.values().map(|(_, messages)| messages.len()).sum::<usize>();
    let mut unfinished = String::new();
    wait_for("the mailbox to be copied", Duration::from_secs(40), || match here(&stormpost, &primary) {
        Ok(ours) => count(&ours) >= count(&theirs),
        Err(why) => {
            // A folder that is not whole is not shown in part.
            assert!(why.contains("still being copied"), "{why}");
            unfinished = why;
            false
        }
    });
    lab.say(&format!("copied after two kills in {:.1} s; {unfinished}", begun.elapsed().as_secs_f64()));
    let ours = here(&stormpost, &primary).unwrap();
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "the folders");
    for (folder, ours) in &ours {
        assert!(*ours == theirs[folder], "{folder} has other numbers, flags or bytes");
    }
    let date = |talk: &mut ImapTalk, folder: &str| -> Vec<String> {
        talk.examine(folder).unwrap();
        let answers = talk.command("FETCH 1:* (INTERNALDATE)").unwrap();
        answers
            .iter()
            .filter(|answer| answer.text.contains("FETCH"))
            .map(|answer| answer.text.clone())
            .collect()
    };
    let mut talk = stormpost.imap_as(&primary.address("anna")).unwrap();
    assert_eq!(date(&mut talk, "Lists"), date(&mut there(&primary), "Lists"), "INTERNALDATE");

    primary_changes(&lab, &stormpost, &primary, separator);
    people_change(&lab, &stormpost, &primary, separator);
    stormpost.stop();
}

fn come_together(what: &str, lab: &Lab, stormpost: &Stormpost, primary: &Primary, separator: &str) {
    let begun = Instant::now();
    let both = || {
        let ours = here(stormpost, primary).map(|shown| seen(&shown)).unwrap_or_default();
        (ours, seen(&at_the_primary(primary, separator)))
    };
    let mut last = both();
    while last.0 != last.1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:#?}", differences(&last));
        last = both();
    }
    lab.say(&format!("{what}: both the same after {:.2} s", begun.elapsed().as_secs_f64()));
}

type Seen = Vec<(String, Vec<String>, String)>;

fn differences((ours, theirs): &(Seen, Seen)) -> (Seen, Seen) {
    let only = |a: &Seen, b: &Seen| a.iter().filter(|row| !b.contains(row)).cloned().collect();
    (only(ours, theirs), only(theirs, ours))
}

/// Somebody works with the primary as ever: it is seen here.
fn primary_changes(lab: &Lab, stormpost: &Stormpost, primary: &Primary, separator: &str) {
    let mut talk = there(primary);
    talk.command("SELECT INBOX").unwrap();
    talk.command("STORE 1 +FLAGS (\\Answered work)").unwrap();
    talk.append("INBOX", "", b"Subject: new there\r\n\r\nnew\r\n").unwrap();
    come_together("a flag and a new message", lab, stormpost, primary, separator);
    talk.command("MOVE 3:4 Lists").unwrap();
    talk.command("STORE 5 +FLAGS (\\Deleted)").unwrap();
    talk.command("EXPUNGE").unwrap();
    talk.command("CREATE Made").unwrap();
    talk.append("Made", "\\Seen", b"Subject: made there\r\n\r\nnew\r\n").unwrap();
    let path = |path: &str| format!("\"{}\"", path.replace('/', separator));
    talk.command(&format!("RENAME {} {}", path("Work/2026"), path("Work/2027"))).unwrap();
    come_together("a move, a removal, a new folder and a new name", lab, stormpost, primary, separator);
}

/// A person works here: it is seen at the primary.
fn people_change(lab: &Lab, stormpost: &Stormpost, primary: &Primary, separator: &str) {
    let mut talk = stormpost.imap_as(&primary.address("anna")).unwrap();
    talk.command("SELECT INBOX").unwrap();
    talk.command("STORE 1:3 +FLAGS (\\Flagged)").unwrap();
    talk.command("MOVE 2 Lists").unwrap();
    talk.command("STORE 4 +FLAGS (\\Deleted)").unwrap();
    talk.command("EXPUNGE").unwrap();
    talk.command("CREATE \"Mine/Deep\"").unwrap();
    talk.command("COPY 1 \"Mine/Deep\"").unwrap();
    talk.append("Drafts", "\\Draft", b"Subject: a draft here\r\n\r\nnew\r\n").unwrap();
    talk.command("RENAME Made Given").unwrap();
    come_together("what a person did here", lab, stormpost, primary, separator);
}

#[test]
fn a_mailbox_in_sdbox_is_copied_through_kills_and_stays_in_step() {
    copied_through_kills("pulled-sdbox", "", "/");
}

#[test]
fn a_mailbox_in_maildir_is_copied_through_kills_and_stays_in_step() {
    copied_through_kills("pulled-maildir", "mail_location = maildir:~/Maildir\n", ".");
}

#[test]
fn a_disaster_at_the_primary_is_not_copied_until_a_person_says_so() {
    let lab = Lab::open("pulled-brake");
    let primary = primary(&lab, "");
    let mut talk = there(&primary);
    talk.command("CREATE Bulk").unwrap();
    for n in 0..150 {
        talk.append("Bulk", "", format!("Subject: bulk {n}\r\n\r\ntext\r\n").as_bytes()).unwrap();
    }
    let mut stormpost = stormpost(&lab, &primary);
    stormpost.restart();
    let count = || here(&stormpost, &primary).map_or(0, |shown| seen(&shown).len());
    wait_for("the mailbox to be copied", Duration::from_secs(30), || count() == 150);
    talk.command("SELECT Bulk").unwrap();
    talk.command("STORE 1:* +FLAGS.SILENT (\\Deleted)").unwrap();
    talk.command("EXPUNGE").unwrap();
    wait_for("the brake to hold", Duration::from_secs(15), || {
        stormpost.tell(&["mirror", "status"]).out.contains("150 of 150 messages vanished")
    });
    assert_eq!(count(), 150, "nothing was removed here");
    let address = primary.address("anna");
    assert!(stormpost.tell(&["mirror", "accept", &address]).ok);
    wait_for("what vanished to be followed", Duration::from_secs(15), || count() == 0);
    stormpost.stop();
}
