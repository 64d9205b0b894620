//! `docs/configuration.md`, written from the list of keys.

use super::{PARTS, keys};

/// `docs/configuration.md`.
pub fn page() -> String {
    use std::fmt::Write;
    let mut out = String::from(PREFACE);
    for part in PARTS {
        let _ = write!(out, "\n## `{}`\n\n{}\n\n", part.heading, part.words);
        let _ = writeln!(out, "| key | value | default | meaning |\n|---|---|---|---|");
        for key in keys().filter(|key| key.section == part.section) {
            let default = key.default.map_or_else(|| "–".to_owned(), |d| format!("`{d}`"));
            let value = key.kind.words().replace('|', "\\|");
            let _ = writeln!(out, "| `{}` | {value} | {default} | {} |", key.name, key.words);
        }
    }
    out.push_str(AFTERWORD);
    out
}

const PREFACE: &str = "\
<!-- Written by the test `the_page_of_keys_is_up_to_date` from stormpost/src/configuration/keys/; change it there. -->

# The configuration

One [TOML](https://toml.io) file, by default `/etc/stormpost/stormpost.toml`. `stormpost init` writes a working one;
`stormpost check` reads it as `serve` would, looks at every file it names, and says what to do about each finding, with
line and column. An unknown key is an error, never ignored.

- Paths are relative to the folder of the file.
- Durations: `250ms`, `30s`, `5m`, `1h30m`, `7d`. Sizes: `4096`, `512KiB`, `64MiB`, `20GB`.
- Secrets stand in files of their own that nobody else can read, or come as systemd credentials:
  `password_file = \"credential:office\"` reads `$CREDENTIALS_DIRECTORY/office`.
- A change counts after a restart; the certificate's files are reread by themselves.

The smallest one that does something, a plain mail server for one domain:

```toml
[node]
name = \"mx.example.org\"

[listen]
smtp = \"0.0.0.0:25\"
submission = \"0.0.0.0:587\"
imaps = \"0.0.0.0:993\"

[[domain]]
name = \"example.org\"
accounts = [\"anna@example.org\"]
```

In front of a Postfix and Dovecot:

```toml
[node]
name = \"mx.example.org\"
data = \"/var/lib/stormpost\"
key_file = \"credential:stormpost-key\"

[listen]
smtp = \"0.0.0.0:25\"
submissions = \"0.0.0.0:465\"
imaps = \"0.0.0.0:993\"

[tls]
certificate = \"/etc/letsencrypt/live/mx.example.org/fullchain.pem\"
key = \"/etc/letsencrypt/live/mx.example.org/privkey.pem\"

[[domain]]
name = \"example.org\"
primary = \"office\"
accounts = \"accounts.csv\"
dkim = { selector = \"stormpost\", key_file = \"dkim-example.org.pem\" }

[[primary]]
id = \"office\"

[primary.deliver]
host = \"mail.office.example.org\"
tls = \"required\"

[primary.mailbox]
host = \"mail.office.example.org\"
reader = { user = \"{account}*reader\", password_file = \"reader.password\" }
writer = { user = \"{account}*writer\", password_file = \"writer.password\" }

[notify]
mail = [\"anna.private@provider.example\"]
```
";

const AFTERWORD: &str = "
## An account table

```csv
address,name,aliases,class
anna@example.org,Anna Berg,a.berg@example.org anna@example.com,admin
bert@example.org,Bert Dahl,,person
info@example.org,Info,sales@example.org|office@example.org,shared
```

The first line names the columns, in any order; only `address` is needed. Several aliases are separated by blanks or
`|`. Semicolons instead of commas are understood. Plus-tags (`anna+news@…`) work for every account and need no alias.
";
