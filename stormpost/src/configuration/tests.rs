use super::*;
use std::os::unix::fs::PermissionsExt;

fn parse(text: &str) -> Result<(Configuration, Faults), Faults> {
    Configuration::parse(Path::new("/etc/stormpost/stormpost.toml"), text.to_owned())
}

fn refused(text: &str) -> String {
    match parse(text) {
        Err(faults) => faults.to_string(),
        Ok(_) => panic!("was taken:\n{text}"),
    }
}

fn warned(text: &str) -> String {
    match parse(text) {
        Err(faults) => panic!("was refused:\n{faults}"),
        Ok((_, warnings)) => warnings.to_string(),
    }
}

const SMALL: &str = "\
[node]
name = \"mx.example.org\"
[listen]
smtp = \"0.0.0.0:25\"
[[domain]]
name = \"example.org\"
accounts = [\"anna@example.org\"]
";

const FRONT: &str = "\
[node]
name = \"mx.example.org\"
data = \"data\"
[listen]
smtp = [\"0.0.0.0:25\", \"[::]:25\"]
[notify]
mail = \"me@provider.example\"
[[domain]]
name = \"Example.org\"
primary = \"office\"
postmaster = \"anna@example.org\"
accounts = [\"anna@example.org\", { address = \"bert@example.org\", aliases = [\"b@example.org\"], class = \"admin\" }]
[[domain]]
name = \"example.com\"
primary = \"office\"
[[primary]]
id = \"office\"
dwell = \"3s\"
[primary.deliver]
host = \"mail.office.example\"
[primary.mailbox]
host = \"mail.office.example\"
reader = { user = \"{account}*reader\", password_file = \"reader.password\" }
writer = { user = \"{account}*writer\", password_file = \"credential:writer\" }
";

#[test]
fn the_smallest_configuration_has_sane_defaults() {
    let (configuration, warnings) = parse(SMALL).unwrap();
    assert_eq!(warnings.to_string(), "");
    assert_eq!(configuration.node.key_file, Path::new("/var/lib/stormpost/key"));
    assert_eq!(configuration.tenants[0].tenant.0, "default");
    assert!(configuration.domains[0].domain.authoritative, "its accounts are all there are");
    assert_eq!(configuration.limits.message_size, 64 << 20);
    assert_eq!(configuration.notify.from.to_string(), "stormpost@mx.example.org");
    assert_eq!(configuration.retention.observations, Duration::from_secs(400 * 86_400));
}

#[test]
fn a_node_in_front_of_a_primary_is_read_whole() {
    let (configuration, warnings) = parse(FRONT).unwrap();
    assert_eq!(warnings.to_string(), "");
    assert_eq!(configuration.node.data, Path::new("/etc/stormpost/data"), "relative to the file");
    let [org, com] = configuration.domains.as_slice() else { panic!("two domains") };
    assert_eq!((org.domain.name.as_str(), org.domain.authoritative), ("example.org", true));
    assert!(!com.domain.authoritative, "nobody listed its accounts");
    assert_eq!(org.listed[1].class, stores_directory::Class::Admin);
    let office = configuration.primary(&PrimaryId("office".into())).unwrap();
    assert_eq!(office.dwell, Duration::from_secs(3));
    assert_eq!(office.deliver.place, ServerPlace::Host("mail.office.example".into(), 25));
    let mailbox = office.mailbox.as_ref().unwrap();
    assert_eq!(mailbox.port, 993);
    let Some(MailboxLogin::Master(login)) = &mailbox.writer else { panic!("a master user") };
    let SecretSource::File(path) = &login.password else { panic!("a file") };
    assert!(path.ends_with("writer") && !path.starts_with("/etc"), "a systemd credential: {path:?}");
}

#[test]
fn both_examples_of_the_documentation_are_good() {
    let page = page();
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|e| e.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert_eq!(warned(example), "");
    }
}

#[test]
fn an_unknown_key_shows_its_place_and_the_nearest_one() {
    let text = SMALL.replace("accounts =", "acounts =");
    assert_eq!(
        refused(&text),
        "\
error: unknown key \"acounts\" in [[domain]]
 --> /etc/stormpost/stormpost.toml:7:1
  |
7 | acounts = [\"anna@example.org\"]
  | ^^^^^^^
 = did you mean \"accounts\"?
"
    );
    let misplaced = format!("{SMALL}probe_every = \"2s\"\n");
    assert!(refused(&misplaced).contains(" = \"probe_every\" belongs in [[primary]]"));
    let section = format!("{SMALL}[limit]\nhops = 50\n");
    assert!(
        refused(&section).contains("unknown section \"limit\"") && refused(&section).contains("\"limits\"")
    );
    assert!(
        refused(&format!("{SMALL}[notify]\nxyzzy = 1\n")).contains("there are: mail, webhook, from, repeat")
    );
}

#[test]
fn a_value_of_the_wrong_kind_says_what_is_wanted() {
    assert_eq!(
        refused(&FRONT.replace("dwell = \"3s\"", "dwell = 3")),
        "\
error: dwell must be a duration like \"30s\", \"5m\" or \"1h30m\", but this is a number
  --> /etc/stormpost/stormpost.toml:18:9
   |
18 | dwell = 3
   |         ^
 = write dwell = \"3s\" for 3 seconds
"
    );
    let quoted =
        FRONT.replace("primary = \"office\"\npost", "authoritative = \"true\"\nprimary = \"office\"\npost");
    assert!(refused(&quoted).contains("authoritative must be true or false, but this is text"));
    assert!(refused(&quoted).contains(" = leave out the quotes"));
    assert!(refused(&SMALL.replace("[[domain]]", "[domain]")).contains("write [[domain]] with two brackets"));
    assert!(refused(&SMALL.replace("\"mx.example.org\"", "5")).contains("name must be text in quotes"));
    assert!(refused(&SMALL.replace("0.0.0.0:25", "25")).contains("is not an address to listen at"));
}

#[test]
fn a_bad_duration_and_a_bad_size_show_how_to_write_one() {
    assert_eq!(
        refused(&FRONT.replace("\"3s\"", "\"3 minuets\"")),
        "\
error: \"3 minuets\" is not a duration; write a number and a unit: 250ms, 30s, 5m, 1h30m, 7d
  --> /etc/stormpost/stormpost.toml:18:9
   |
18 | dwell = \"3 minuets\"
   |         ^^^^^^^^^^^
"
    );
    let size = format!("{SMALL}[limits]\nmessage_size = \"64 megs\"\n");
    assert!(refused(&size).contains("\"64 megs\" is not a size"));
    let range = format!("{SMALL}[limits]\nrecipients = 10\n");
    assert!(refused(&range).contains("recipients must be from 100 to 100000"));
    assert!(
        refused(&format!("{SMALL}[limits]\nhops = -3\n")).contains("hops must be a whole number from 0 up")
    );
}

#[test]
fn a_domain_listed_twice_is_shown_once_more() {
    let text = format!("{SMALL}[[domain]]\nname = \"EXAMPLE.org\"\n");
    assert_eq!(
        refused(&text),
        "\
error: the domain \"example.org\" is there twice
 --> /etc/stormpost/stormpost.toml:9:8
  |
9 | name = \"EXAMPLE.org\"
  |        ^^^^^^^^^^^^^
 = keep one of the two
"
    );
}

#[test]
fn several_errors_are_told_at_once_and_in_order() {
    let text = "\
[node]
nam = \"mx.example.org\"
[listen]
smtp = \"nowhere\"
[[domain]]
name = \"exam ple.org\"
primary = \"offise\"
[[primary]]
id = \"office\"
dwell = true
[primary.deliver]
tls = \"requird\"
";
    let shown = refused(text);
    let errors: Vec<&str> = shown.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(
        errors,
        [
            "error: [node] needs name",
            "error: unknown key \"nam\" in [node]",
            "error: \"nowhere\" is not an address to listen at; write \"0.0.0.0:25\", \"127.0.0.1:2525\" or \"[::]:25\"",
            "error: \"exam ple.org\" is not a host name; write for example \"mx.example.org\"",
            "error: there is no primary \"offise\"",
            "error: dwell must be a duration like \"30s\", \"5m\" or \"1h30m\", but this is true or false",
            "error: [primary.deliver] needs host",
            "error: tls is \"requird\"; it must be \"none\", \"opportunistic\", \"required\" or \"implicit\"",
        ],
        "{shown}"
    );
    assert!(shown.contains("did you mean \"office\"?") && shown.contains("did you mean \"required\"?"));
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    let shown = refused("[node]\nname = mx.example.org\n[listen\n");
    assert!(shown.contains("not TOML") && shown.contains("stormpost.toml:2:"), "{shown}");
    let twice = refused("[node]\nname = \"a.example\"\nname = \"b.example\"\n");
    assert!(twice.contains("duplicate key") && twice.contains("stormpost.toml:3:1"), "{twice}");
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Configuration::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(faults.contains("the configuration cannot be read: there is no such file"), "{faults}");
    assert!(faults.contains("stormpost init writes one"), "{faults}");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"\xff\xfe").unwrap();
    assert!(Configuration::load(&binary).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn a_password_in_the_file_works_and_is_warned_about_and_never_shown() {
    let text = FRONT.replace("password_file = \"reader.password\"", "password = \"s3cret-w0rd\"");
    let (configuration, warnings) = parse(&text).unwrap();
    let shown = format!("{configuration:?}");
    assert!(!shown.contains("s3cret-w0rd"), "Debug shows a password");
    assert!(warnings.list.iter().any(|w| w.words == "a password stands in the configuration"), "{warnings}");
    let both = FRONT.replace("password_file = \"reader", "password = \"x\", password_file = \"reader");
    assert!(refused(&both).contains("both password and password_file"));
}

#[test]
fn secrets_are_read_only_from_files_that_are_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let source = SecretSource::File(path.clone());
    mode(0o604);
    assert!(source.read().unwrap_err().contains("run: chmod 600"));
    mode(0o600);
    assert_eq!(source.read().unwrap().expose(), "s3cret");
    assert!(!format!("{:?}", source.read()).contains("s3cret"));
    std::fs::write(&path, "\n").unwrap();
    assert!(source.read().unwrap_err().contains("is empty"));
    assert!(
        SecretSource::File(folder.path().join("no")).read().unwrap_err().contains("there is no such file")
    );
}

#[test]
fn what_cannot_work_together_is_told() {
    for (from, to, expected) in [
        ("[primary.deliver]\nhost = \"mail.office.example\"\n", "", "the primary has no [primary.deliver]"),
        (
            "host = \"mail.office.example\"\n[primary.m",
            "host = \"h\"\nsocket = \"s\"\n[primary.m",
            "both host and socket",
        ),
        ("[[primary]]\nid = \"office\"", "[[primary]]\nid = \"my office\"", "an id has letters"),
        (
            "[[primary]]\n",
            "[[primary]]\nid = \"office\"\ndeliver = { host = \"h\" }\n[[primary]]\n",
            "is there twice",
        ),
        ("[listen]\n", "[listen]\nimap = \"0.0.0.0:25\"\n", "is the door for"),
        ("reader = {", "reader = { accounts_file = \"t.csv\",", "with accounts_file there is no user"),
        ("user = \"{account}*reader\", ", "", "there is a password and no user"),
        (
            "[[domain]]\nname = \"example.com\"",
            "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n[[domain]]\nname = \"example.com\"",
            "there are several tenants",
        ),
        (
            "primary = \"office\"\npost",
            "authoritative = false\npost",
            "without a primary nobody else can be asked",
        ),
        ("[notify]\n", "[tls]\ncertificate = \"c.pem\"\n[notify]\n", "[tls] needs key"),
        ("[notify]\n", "[notify]\nwebhook = \"example.org\"\n", "is not a URL"),
        ("dwell = \"3s\"", "probe_every = \"0s\"", "probe_every cannot be zero"),
    ] {
        let text = FRONT.replacen(from, to, 1);
        assert_ne!(text, FRONT, "{from}");
        let shown = refused(&text);
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
}

#[test]
fn what_somebody_should_know_is_warned_about() {
    for (from, to, expected) in [
        ("me@provider.example", "anna@example.org", "would wait for its return"),
        ("mail = \"me@provider.example\"\n", "", "nobody is told when a primary fails"),
        (
            "[[primary]]\nid = \"office\"",
            "[[primary]]\nid = \"spare\"\ndeliver = { host = \"h\" }\n[[primary]]\nid = \"office\"",
            "no domain has the primary \"spare\"",
        ),
        ("{account}*reader", "reader", "does not say whose mailbox"),
        (
            "host = \"mail.office.example\"\n[primary.m",
            "host = \"h\"\ntls = \"none\"\nuser = \"u\"\npassword_file = \"p\"\n[primary.m",
            "unencrypted",
        ),
        ("smtp = [\"0.0.0.0:25\", \"[::]:25\"]", "", "no door for mail"),
    ] {
        let text = FRONT.replacen(from, to, 1);
        assert_ne!(text, FRONT, "{from}");
        let shown = warned(&text);
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
}

#[test]
fn accounts_come_from_tables_too_and_their_faults_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stormpost.toml");
    let text = SMALL.replace("[\"anna@example.org\"]", "\"people.csv\"");
    let (configuration, _) = Configuration::parse(&path, text).unwrap();
    let faults = configuration.directory_accounts().unwrap_err();
    assert!(faults[0].contains("people.csv cannot be read: there is no such file"), "{faults:?}");
    std::fs::write(folder.path().join("people.csv"), "address\nanna@example.org\nnobody\n").unwrap();
    let faults = configuration.directory_accounts().unwrap_err();
    assert!(faults[0].contains("people.csv, line 3: \"nobody\" is not an address"), "{faults:?}");
    std::fs::write(folder.path().join("people.csv"), "address\nanna@example.org\n").unwrap();
    assert_eq!(configuration.directory_accounts().unwrap().len(), 1);
}

#[test]
fn control_characters_of_a_configuration_do_not_reach_the_terminal() {
    let shown = refused("[node]\nname = \"a\\u001b[31m\"\n");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let raw = refused("[node]\nn\u{1b}ame = 1\n");
    assert!(!raw.contains('\u{1b}'), "{raw:?}");
    assert_eq!(visible("a\u{1b}[2J\u{202e}b\r\n"), "a\\u{1b}[2J\\u{202e}b\\r\\n");
}

#[test]
fn every_key_of_the_list_stands_in_a_described_table_and_its_default_is_good() {
    for key in keys() {
        let described = key.section.is_empty() || PARTS.iter().any(|part| part.section == key.section);
        assert!(described, "{}.{}", key.section, key.name);
        assert!(key.words.trim_end_matches('*').ends_with(['.', '…']), "{}: {}", key.name, key.words);
        let Some(default) = key.default else { continue };
        match key.kind {
            Kind::Duration => assert!(parse_duration(default).is_ok(), "{}", key.name),
            Kind::Size => assert!(parse_size(default).is_ok(), "{}", key.name),
            Kind::Count => assert!(default.parse::<u64>().is_ok(), "{}", key.name),
            Kind::Choice(words) => assert!(words.contains(&default), "{}", key.name),
            _ => {}
        }
    }
    for (at, key) in keys().enumerate() {
        let twice = keys().skip(at + 1).any(|k| k.section == key.section && k.name == key.name);
        assert!(!twice, "{}.{} is listed twice", key.section, key.name);
    }
}

/// Every key is really read: given a value of an impossible kind, each one complains.
#[test]
fn every_key_of_the_list_is_read() {
    for key in keys().filter(|key| !key.section.is_empty()) {
        let impossible = "1979-05-27";
        let table = match key.section {
            "tenant" | "domain" | "primary" => format!("[[{}]]\n", key.section),
            "account" => "[[domain]]\nname = \"a.example\"\n[[domain.accounts]]\n".to_owned(),
            "domain.dkim" => "[[domain]]\nname = \"a.example\"\n[domain.dkim]\n".to_owned(),
            section if section.starts_with("primary.") => format!("[[primary]]\nid = \"a\"\n[{section}]\n"),
            section => format!("[{section}]\n"),
        };
        let shown = refused(&format!("{table}{} = {impossible}\n", key.name));
        let expected = format!("{} must be ", key.name);
        assert!(shown.contains(&expected), "{}.{}:\n{shown}", key.section, key.name);
    }
}

#[test]
fn the_page_of_keys_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = page();
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/configuration.md is not what the list of keys says; run the tests with WRITE_DOCS=1"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_configuration_or_faults(text in "[a-z\\[\\]={}\"'.\n #0-9é\u{1b}-]{0,120}") {
        if let Err(faults) = parse(&text) {
            proptest::prop_assert!(faults.has_errors());
            let shown = faults.to_string();
            let clean = !shown.contains(char::from(27));
            proptest::prop_assert!(clean);
        }
    }

    #[test]
    fn a_configuration_cut_anywhere_does_not_panic(at in 0usize..FRONT.len(), put in "[\\[\\]={}\"\n-]{0,3}") {
        let text = format!("{}{put}{}", &FRONT[..at], &FRONT[at..]);
        let _ = parse(&text).map_err(|faults| faults.to_string());
    }
}

/// The keys with a default of the tables that are mostly numbers.
fn numbers() -> impl Iterator<Item = (&'static Key, &'static str)> {
    let tables = ["limits", "retention", "primary"];
    keys().filter(move |key| tables.contains(&key.section)).filter_map(|key| Some((key, key.default?)))
}

#[test]
fn every_number_that_is_written_is_the_one_that_is_read() {
    let text = |section: &str, name: &str, value: &str| {
        let line = format!("{name} = {value}\n");
        match section {
            "primary" => {
                FRONT.replace("id = \"office\"\ndwell = \"3s\"\n", &format!("id = \"office\"\n{line}"))
            }
            _ => format!("{FRONT}[{section}]\n{line}"),
        }
    };
    let read = |text: &str| match parse(text) {
        Ok((configuration, _)) => format!("{configuration:?}"),
        Err(faults) => panic!("{faults}"),
    };
    for (key, default) in numbers() {
        let (default, other) = match key.kind {
            Kind::Count => (default.to_owned(), (default.parse::<u64>().unwrap() / 2).to_string()),
            Kind::Duration => {
                let half = write_duration(parse_duration(default).unwrap() / 2);
                (format!("{default:?}"), format!("{half:?}"))
            }
            Kind::Size => (format!("{default:?}"), format!("\"{}\"", parse_size(default).unwrap() / 2)),
            Kind::Choice(words) => {
                let other = words.iter().find(|word| **word != default).unwrap();
                (format!("{default:?}"), format!("{other:?}"))
            }
            _ => continue,
        };
        let (section, name) = (key.section, key.name);
        let as_default = read(&text(section, name, &default));
        assert_ne!(read(&text(section, name, &other)), as_default, "[{section}] {name} changes nothing");
    }
}

/// A key that is read and then forgotten is a promise that nobody keeps.
#[test]
fn every_number_that_is_read_is_used_outside_of_the_configuration() {
    let mut used = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let reads_only =
                path.to_string_lossy().contains("/configuration/") && name != "bounds.rs" && name != "mod.rs";
            if path.is_dir() {
                folders.push(path);
            } else if !reads_only && name != "tests.rs" {
                used.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    for (key, _) in numbers() {
        let field = match key.name {
            "filed_by" => "filed_by_us",
            other => other,
        };
        let mention = format!(".{field}");
        let mentions = used.match_indices(&mention).filter(|(at, found)| {
            let next = used[at + found.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        });
        assert!(mentions.count() > 0, "[{}] {} is read and never used", key.section, key.name);
    }
}

#[test]
fn a_canary_that_could_not_be_sent_is_warned_of() {
    let with = |text: &str| warned(&text.replace("dwell = \"3s\"", "canary = \"canary@example.org\""));
    assert_eq!(with(FRONT), "");
    let writer = FRONT.lines().last().unwrap();
    assert!(with(&FRONT.replace(writer, "")).contains("could not be deleted again"));
}

#[test]
fn a_password_is_not_remembered_for_longer_than_is_safe() {
    let text = format!("{SMALL}[limits]\npassword_memory = \"16m\"\n");
    assert!(refused(&text).contains("password_memory must be at most 15m"), "{}", refused(&text));
}

#[test]
fn a_name_for_greetings_is_ascii_and_a_domain_need_not_be() {
    let text = SMALL.replace("mx.example.org", "mx.bücher.example");
    assert!(refused(&text).contains("write its ASCII form"), "{}", refused(&text));
    assert_eq!(
        warned(
            &SMALL.replace("example.org", "bücher.example").replace("mx.bücher.example", "mx.example.org")
        ),
        ""
    );
}
