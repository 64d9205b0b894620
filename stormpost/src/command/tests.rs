use super::*;
use crate::compose::stores;
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::path::Path;
use stores_journal::{IncomingBody, Journal, NewMessage};
use stores_ledger::{ContentAct, ContentDeed, Entry, Ledger, Settlement};
use stores_log::LogKind;
use words_mail::{
    Address, Destination, Envelope, Outcome, Peer, Plane, Recipient, Reply, Sender, Source, Tenant,
};

const VERBS: [&str; 49] = [
    "serve",
    "edge",
    "init",
    "check",
    "status",
    "failover",
    "failback",
    "pin",
    "unpin",
    "maintenance",
    "event list",
    "event show",
    "reconcile",
    "trace",
    "account add",
    "account import",
    "account list",
    "account suspend",
    "account resume",
    "account remove",
    "account password",
    "queue list",
    "queue show",
    "queue pause",
    "queue resume",
    "queue retry",
    "queue redirect",
    "queue delete",
    "queue bounce",
    "quarantine list",
    "quarantine show",
    "quarantine release",
    "quarantine delete",
    "quarantine digest",
    "journal verify",
    "journal show",
    "journal export",
    "journal rebuild",
    "journal erase",
    "notice test",
    "notice ack",
    "notice mute",
    "dkim",
    "demo",
    "event",
    "account",
    "queue",
    "quarantine",
    "journal",
];

#[test]
fn the_command_tree_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_stands_on_the_page_of_commands() {
    let page = page();
    for verb in VERBS {
        assert!(page.contains(&format!(" `stormpost {verb}`\n")), "{verb}");
    }
    for (code, words) in code::ALL {
        assert!(page.contains(&format!("| {code} | {words} |")));
    }
}

#[test]
fn the_page_of_commands_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let page = page();
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/commands.md is not what the command tree says; run the tests with WRITE_DOCS=1"
    );
}

#[test]
fn every_verb_and_every_option_is_explained() {
    fn look(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(look);
    }
    look(&Cli::command());
}

#[test]
fn command_lines_people_type_are_understood() {
    for line in [
        "status --json",
        "--json status --exit-code",
        "failover office --plane inbound --plane access --accounts a@example.org,b@example.org --reason x",
        "failover",
        "pin --for 2h --reason x",
        "maintenance office --for 30m",
        "trace --from @example.org --since 2h",
        "trace 01KAN8ZV9M6T4S2R0Q8P6N4M2K",
        "account import - --dry-run",
        "queue list --refused --json --config x.toml",
        "queue redirect 01KAN8ZV9M6T4S2R0Q8P6N4M2K --into bert@example.org",
        "queue retry --parked",
        "journal export --to x --format eml --reason asked",
        "journal show 01KAN8ZV9M6T4S2R0Q8P6N4M2K --content --reason asked",
        "dkim example.org --config x.toml",
        "notice mute --for 2h",
        "demo --people 3 --messages 10 --outage 5 --dwell 3 --primary debian --keep --report r.json",
    ] {
        let words = std::iter::once("stormpost").chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
    let cli = Cli::try_parse_from(["stormpost", "failover", "--plane", "sign-in,names"]).unwrap();
    let Verb::Failover(arguments) = cli.verb else { panic!("failover") };
    assert_eq!(arguments.planes, [Plane::SignIn, Plane::Names]);
}

#[test]
fn wrong_usage_is_refused_before_anything_is_done() {
    for line in [
        "fail-over",
        "failover --plane everything",
        "failover --accounts nobody",
        "maintenance office",
        "maintenance --for soon",
        "pin --for 5",
        "trace 123",
        "account add",
        "account add a@example.org --class boss",
        "queue redirect 01KAN8ZV9M6T4S2R0Q8P6N4M2K",
        "queue list --state gone",
        "queue list --refused --parked",
        "journal erase 01KAN8ZV9M6T4S2R0Q8P6N4M2K",
        "demo --people 1",
    ] {
        let words = std::iter::once("stormpost").chain(line.split(' '));
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    let bare = Cli::try_parse_from(["stormpost"]).unwrap_err();
    assert_eq!(bare.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

const PROGRAMS: Programs = Programs {
    serve: |_, _| Ok(()),
    edge: |_| anyhow::bail!("no edge today"),
    demo: |arguments| Ok(arguments.keep),
};

fn stormpost(folder: &tempfile::TempDir, line: &str) -> Result<u8, (u8, String)> {
    let config = folder.path().join("stormpost.toml");
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let all =
        ["stormpost".to_owned(), "--config".to_owned(), config.display().to_string(), "--json".to_owned()];
    run(Cli::try_parse_from(all.into_iter().chain(words)).unwrap(), PROGRAMS).map_err(|f| (f.code, f.words))
}

fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[[domain]]\nname = \"example.org\"\n\
                accounts = [\"anna@example.org\"]\ndkim = { key_file = \"dkim.pem\" }\n";
    std::fs::write(folder.path().join("stormpost.toml"), text).unwrap();
    folder
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let folder = place();
    assert_eq!(stormpost(&folder, "serve"), Ok(code::WELL));
    assert_eq!(stormpost(&folder, "demo --keep"), Ok(code::WELL));
    assert_eq!(stormpost(&folder, "demo"), Ok(code::FOUND));
    assert_eq!(stormpost(&folder, "edge").unwrap_err(), (code::FAILED, "no edge today".to_owned()));
    let (code, words) = stormpost(&folder, "status").unwrap_err();
    assert!(code == code::NOT_RUNNING && words.contains("the node is not running"), "{words}");
    assert_eq!(stormpost(&folder, "queue delete").unwrap_err().0, code::USAGE, "delete what?");
    assert_eq!(stormpost(&folder, "queue delete --all --parked").unwrap_err().0, code::USAGE);
    assert_eq!(stormpost(&folder, "queue delete --all").unwrap_err().0, code::NOT_RUNNING);
    assert_eq!(stormpost(&folder, "trace").unwrap_err().0, code::USAGE);
    assert_eq!(stormpost(&folder, "trace --since yesterday").unwrap_err().0, code::USAGE);
    assert_eq!(stormpost(&folder, "failover").unwrap_err().0, code::FAILED, "there is no primary");
    assert_eq!(stormpost(&folder, "dkim example.com").unwrap_err().0, code::USAGE);
    assert_eq!(stormpost(&folder, "dkim example.org"), Ok(code::WELL));
    std::fs::remove_file(folder.path().join("stormpost.toml")).unwrap();
    let (code, words) = stormpost(&folder, "status").unwrap_err();
    assert!(code == code::FAILED && words.contains("stormpost init writes one"), "{words}");
}

#[test]
fn accounts_are_kept_without_a_running_node() {
    let folder = place();
    assert_eq!(stormpost(&folder, "account add bert@example.org --name Bert --alias b@example.org"), Ok(0));
    let (code, words) = stormpost(&folder, "account add carl@example.org --alias b@example.org").unwrap_err();
    assert!(code == code::FAILED && words.contains("already belongs to bert@example.org"), "{words}");
    assert!(stormpost(&folder, "account add x@elsewhere.org").is_err());
    std::fs::write(folder.path().join("people.csv"), "address\ndora@example.org\nnobody\n").unwrap();
    let import = format!("account import {}", folder.path().join("people.csv").display());
    let (_, words) = stormpost(&folder, &import).unwrap_err();
    assert!(words.contains("line 3") && words.contains("nothing was changed"), "{words}");
    std::fs::write(folder.path().join("people.csv"), "address\ndora@example.org\n").unwrap();
    assert_eq!(stormpost(&folder, &import), Ok(0));
    assert_eq!(stormpost(&folder, "account suspend dora@example.org"), Ok(0));
    assert_eq!(stormpost(&folder, "account list"), Ok(0));
    assert!(
        stormpost(&folder, "account suspend zoe@example.org").unwrap_err().1.contains("there is no account")
    );
    assert!(
        stormpost(&folder, "account remove anna@example.org")
            .unwrap_err()
            .1
            .contains("listed in the configuration")
    );
    assert_eq!(stormpost(&folder, "account remove bert@example.org"), Ok(0));
    let file = std::fs::read_to_string(folder.path().join("data/directory/directory.json")).unwrap();
    assert!(
        file.contains("dora@example.org") && file.contains("\"suspended\":true") && !file.contains("bert")
    );
}

#[test]
fn a_data_folder_that_somebody_else_has_is_left_alone() {
    let folder = place();
    let _held = crate::compose::stores::lock(&folder.path().join("data")).unwrap();
    let (code, words) = stormpost(&folder, "account add bert@example.org").unwrap_err();
    assert!(code == code::NOT_RUNNING && words.contains("another stormpost (process "), "{words}");
    assert!(stormpost(&folder, "journal rebuild").is_err());
}

/// Opens the logs of a place, as the node would, for one piece of work.
fn with_logs<T>(folder: &tempfile::TempDir, work: impl AsyncFnOnce(Journal, Ledger) -> T) -> T {
    let (configuration, _) = Configuration::load(&folder.path().join("stormpost.toml")).unwrap();
    let world = crate::world::real(None);
    std::fs::create_dir_all(&configuration.node.data).unwrap();
    let keys = stores::keys(&world, &configuration).unwrap();
    let options = |kind| stores::log_options(&configuration, kind);
    let (journal, journal_writer, _) =
        Journal::open(&world, keys.clone(), options(LogKind::Journal)).unwrap();
    let (ledger, ledger_writer, _) = Ledger::open(&world, keys, options(LogKind::Ledger)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let writers = async { tokio::join!(journal_writer.run(stopped.clone()), ledger_writer.run(stopped)) };
        let work = async {
            let result = work(journal, ledger).await;
            stop.send_replace(true);
            result
        };
        tokio::join!(writers, work).1
    })
}

fn message(journal: &Journal) -> NewMessage {
    let address = |text: &str| Address::parse(text).unwrap();
    NewMessage {
        trace: journal.trace_id(),
        tenant: Tenant("default".into()),
        primary: None,
        envelope: Envelope {
            sender: Sender(Some(address("bert@else.example"))),
            recipients: vec![Recipient::new(address("anna@example.org"))],
            eight_bit: false,
            utf8: false,
            ret: None,
            envid: None,
            source: Source::Edge,
            peer: Peer {
                ip: "192.0.2.7".parse().unwrap(),
                helo: "else.example".into(),
                protocol: "ESMTP".into(),
                tls: None,
                account: None,
                name: None,
                port: None,
            },
        },
        verdict: serde_json::Value::Null,
        prefix: "Received: here\r\n".into(),
        body: IncomingBody::Inline(b"Subject: x\r\n\r\nFrom a friend\r\n".to_vec()),
    }
}

#[test]
fn a_message_is_shown_exported_and_erased_and_the_journal_still_verifies() {
    let folder = place();
    assert_eq!(stormpost(&folder, "journal verify").unwrap_err().0, code::FAILED, "there is no key yet");
    let trace = with_logs(&folder, async |journal, _| {
        let receipt = journal.accept(message(&journal)).await.unwrap();
        let trace = receipt.trace;
        receipt.heard();
        trace
    });
    assert_eq!(stormpost(&folder, "journal verify"), Ok(code::WELL));
    assert_eq!(stormpost(&folder, &format!("journal show {trace}")), Ok(code::WELL));
    let mbox = folder.path().join("out.mbox");
    let export = format!("journal export --to {} --sender @else.example --reason asked", mbox.display());
    assert_eq!(stormpost(&folder, &export), Ok(code::WELL));
    let text = std::fs::read_to_string(&mbox).unwrap();
    assert!(
        text.starts_with("From bert@else.example ") && text.ends_with("\n\n>From a friend\n\n"),
        "{text}"
    );
    assert!(
        stormpost(&folder, &export).unwrap_err().1.contains("cannot be written"),
        "never over another file"
    );

    let erase = format!("journal erase {trace} --reason asked");
    let (_, words) = stormpost(&folder, &erase).unwrap_err();
    assert!(words.contains("is not settled for anna@example.org yet"), "{words}");
    with_logs(&folder, async |_, ledger| {
        let settlement = Settlement {
            trace,
            recipient: Address::parse("anna@example.org").unwrap(),
            destination: Destination::Mailbox,
            outcome: Outcome::HandedOver { reply: Reply::new(250, (2, 0, 0), "kept") },
            at: Time::from_seconds(1),
            attempt: 1,
        };
        ledger.append(Entry::Settlement(settlement)).await.unwrap();
    });
    assert_eq!(stormpost(&folder, &erase), Ok(code::WELL));
    assert!(stormpost(&folder, &format!("journal show {trace}")).unwrap_err().1.contains("it was erased"));
    // Who opened or erased content stands in the ledger, with a reason, also when the node does not run.
    with_logs(&folder, async |_, ledger| {
        let acts = ledger.reader().scan_content(None).map(|entered| entered.unwrap().entry);
        let acts: Vec<ContentAct> = acts
            .filter_map(|entry| if let Entry::ContentAct(act) = entry { Some(act) } else { None })
            .collect();
        let told: Vec<_> = acts.iter().map(|act| (act.deed, act.trace, act.which.as_str())).collect();
        let export = (ContentDeed::Exported, None, "sender @else.example");
        assert_eq!(told, [export, export, (ContentDeed::Erased, Some(trace), "")]);
        assert!(acts.iter().all(|act| act.reason == "asked" && !act.by.is_empty()));
    });
    assert_eq!(stormpost(&folder, "journal verify"), Ok(code::WELL));
}

#[test]
fn a_changed_byte_is_found_and_scripts_are_told() {
    let folder = place();
    with_logs(&folder, async |journal, _| {
        for _ in 0..3 {
            journal.accept(message(&journal)).await.unwrap().heard();
        }
    });
    let dir = folder.path().join("data/journal");
    let names = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = names.filter(|path| path.is_file()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
    let mut bytes = std::fs::read(&files[0]).unwrap();
    // In the first message, far from the end, where a cut write could look the same.
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    assert_eq!(stormpost(&folder, "journal verify"), Ok(code::FOUND));
}
