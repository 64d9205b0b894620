//! A node that ran once, taken out of service; broken off in every place.

use super::*;
use crate::configuration::Configuration;
use progress::{Progress, Step};
use words_mail::Time;

fn folder_with_key() -> (tempfile::TempDir, Configuration) {
    let folder = tempfile::tempdir().unwrap();
    let text = "[node]\nname = \"mx.example.org\"\ndata = \"data\"\nkey_file = \"key\"\n[[domain]]\nname = \"example.org\"\n";
    let (configuration, _) = Configuration::parse(&folder.path().join("x.toml"), text.to_owned()).unwrap();
    std::fs::create_dir_all(configuration.node.data.join("journal/deep")).unwrap();
    std::fs::write(configuration.node.data.join("journal/deep/segment"), b"secret").unwrap();
    std::fs::write(configuration.node.data.join("mailbox.sqlite"), b"view").unwrap();
    std::fs::write(&configuration.node.key_file, b"0123456789").unwrap();
    (folder, configuration)
}

#[test]
fn the_key_goes_first_and_what_was_broken_off_goes_on() {
    let (_folder, configuration) = folder_with_key();
    assert_eq!(wipe::wipe(&configuration).unwrap(), 3);
    assert!(!configuration.node.key_file.exists());
    assert_eq!(std::fs::read_dir(&configuration.node.data).unwrap().count(), 0);
    assert_eq!(wipe::wipe(&configuration).unwrap(), 0, "a second time nothing is left to do");
    // Killed after the key, before the files.
    let (_folder, configuration) = folder_with_key();
    std::fs::remove_file(&configuration.node.key_file).unwrap();
    assert_eq!(wipe::wipe(&configuration).unwrap(), 2);
}

#[test]
fn what_was_set_up_anew_in_the_same_place_is_not_destroyed() {
    let (_folder, configuration) = folder_with_key();
    let key = &configuration.node.key_file;
    let ours = Progress { key: wipe::fingerprint(key).unwrap(), ..Progress::default() };
    assert!(ours.key.as_deref().is_some_and(|key| key.len() == 16));
    still_the_same(&configuration, &ours).unwrap();
    std::fs::write(key, b"another").unwrap();
    let refused = still_the_same(&configuration, &ours).unwrap_err();
    assert!(refused.words.contains("a new node?"), "{}", refused.words);
    // Killed between writing over it and removing it.
    std::fs::write(key, [0; 10]).unwrap();
    still_the_same(&configuration, &ours).unwrap();
    std::fs::remove_file(key).unwrap();
    still_the_same(&configuration, &ours).unwrap();
}

#[test]
fn a_link_in_the_data_folder_is_removed_and_not_followed() {
    let (folder, configuration) = folder_with_key();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), b"x").unwrap();
    std::os::unix::fs::symlink(&outside, configuration.node.data.join("link")).unwrap();
    wipe::wipe(&configuration).unwrap();
    assert!(outside.join("precious").exists());
}

#[test]
fn how_far_it_came_is_read_again_and_the_receipt_tells_all() {
    let (folder, configuration) = folder_with_key();
    assert_eq!(Progress::load(folder.path()).unwrap(), None);
    let mut progress = Progress {
        node: "mx.example.org".into(),
        data: configuration.node.data.clone(),
        step: Step::Wiped,
        began: Time::from_seconds(1_795_000_000),
        by: "anna".into(),
        reason: "moving house".into(),
        removed: 3,
        ..Progress::default()
    };
    progress.moved.insert("example.org".into(), Time::from_seconds(1_795_000_100));
    progress.exported = Some(export::Exported { messages: 7, filed: 5, accounts: 2, ..Default::default() });
    progress.save(folder.path()).unwrap();
    assert_eq!(Progress::load(folder.path()).unwrap().as_ref(), Some(&progress));
    let text = receipt::write(folder.path(), &configuration, &progress).unwrap();
    for expected in [
        "anna",
        "moving house",
        "the MX of example.org was seen to lead elsewhere",
        "7 messages",
        "5 of 2 mailboxes",
        "then 2 files",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(folder.path().join("receipt.json").exists() && folder.path().join("receipt.txt").exists());
    std::fs::write(folder.path().join("retire.json"), b"hello").unwrap();
    assert!(Progress::load(folder.path()).is_err(), "what makes no sense is not taken for a beginning");
}

#[test]
fn an_export_that_was_changed_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("export");
    std::fs::create_dir_all(there.join("mailboxes/a/cur")).unwrap();
    std::fs::write(there.join("journal.jsonl"), b"{}\n").unwrap();
    std::fs::write(there.join("ledger.jsonl"), b"{}\n{}\n").unwrap();
    std::fs::write(there.join("mailboxes/a/cur/1"), b"mail").unwrap();
    let hash = |name: &str| blake3::hash(&std::fs::read(there.join(name)).unwrap()).to_hex().to_string();
    let names = ["journal.jsonl", "ledger.jsonl", "mailboxes/a/cur/1"];
    let list: std::collections::BTreeMap<_, _> = names.iter().map(|name| (*name, hash(name))).collect();
    let text = serde_json::to_vec_pretty(&list).unwrap();
    std::fs::write(there.join("manifest.json"), &text).unwrap();
    let exported = export::Exported {
        messages: 1,
        entries: 2,
        filed: 1,
        manifest: blake3::hash(&text).to_hex().to_string(),
        ..Default::default()
    };
    export::verify(folder.path(), &exported).unwrap();
    let says = |exported: &export::Exported| export::verify(folder.path(), exported).unwrap_err().words;
    assert!(says(&export::Exported { entries: 3, ..exported.clone() }).contains("the ledger"));
    assert!(says(&export::Exported { messages: 2, ..exported.clone() }).contains("2 were written"));
    std::fs::write(there.join("mailboxes/a/cur/1"), b"other").unwrap();
    assert!(says(&exported).contains("mailboxes/a/cur/1 is not as it was written"));
    std::fs::write(there.join("mailboxes/a/cur/1"), b"mail").unwrap();
    std::fs::write(there.join("more"), b"x").unwrap();
    assert!(says(&exported).contains("more is not as it was written"));
}
