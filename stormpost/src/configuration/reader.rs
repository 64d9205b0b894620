//! Reads one table of the configuration against the list of keys, and gathers every fault on the way.

use super::keys::{Key, Kind, keys};
use super::source::{Fault, nearest};
use super::values::{parse_duration, parse_size};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use words_mail::Address;

/// A value and where it stands; what is there by default stands nowhere.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Option<Range<usize>>,
}

/// The faults found so far, and the folder that relative paths begin at.
#[derive(Clone)]
pub(super) struct Reader {
    faults: Rc<RefCell<Vec<Fault>>>,
    base: PathBuf,
}

impl Reader {
    pub(super) fn new(base: &Path) -> Reader {
        Reader { faults: Rc::default(), base: base.to_owned() }
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn finish(&self) -> Vec<Fault> {
        self.faults.take()
    }

    /// A path as written: relative to the configuration's folder, or a systemd credential by `credential:NAME`.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match text.strip_prefix("credential:") {
            Some(name) => {
                let folder =
                    std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_else(|| "/run/credentials".into());
                PathBuf::from(folder).join(name)
            }
            None => self.base.join(text),
        }
    }
}

/// One table of the configuration; an absent one is read as empty.
pub(super) struct Section<'t> {
    pub(super) reader: Reader,
    name: &'static str,
    table: Option<&'t DeTable<'t>>,
    /// Where the table stands.
    pub(super) span: Option<Range<usize>>,
}

/// How a wrong value is called in an error.
fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn key(section: &str, name: &str) -> &'static Key {
    let found = keys().find(|key| key.section == section && key.name == name);
    // Reading an unlisted key would be accepted nowhere and documented nowhere; a test reads every section.
    debug_assert!(found.is_some(), "the key {section}.{name} is not in the list of keys");
    found.unwrap_or(&UNLISTED)
}

const UNLISTED: Key = Key { section: "", name: "", kind: Kind::Text, default: None, words: "" };

impl<'t> Section<'t> {
    /// The table `name`, checked for keys that do not exist.
    pub(super) fn new(
        reader: &Reader,
        name: &'static str,
        table: Option<&'t DeTable<'t>>,
        span: Option<Range<usize>>,
    ) -> Section<'t> {
        let section = Section { reader: reader.clone(), name, table, span };
        for (key, _) in table.into_iter().flatten() {
            section.check_key(key);
        }
        section
    }

    fn check_key(&self, key: &Spanned<std::borrow::Cow<'_, str>>) {
        let word: &str = key.get_ref();
        let mine = || keys().filter(|k| k.section == self.name).map(|k| k.name);
        if mine().any(|name| name == word) {
            return;
        }
        let fault = if self.name.is_empty() {
            Fault::error(key.span(), format!("unknown section {word:?}"))
        } else {
            Fault::error(key.span(), format!("unknown key {word:?} in {}", title(self.name)))
        };
        let elsewhere = keys().find(|k| k.name == word && !k.section.is_empty());
        self.reader.fault(match (nearest(word, mine()), elsewhere) {
            (Some(near), _) => fault.hint(format!("did you mean {near:?}?")),
            (None, Some(key)) => fault.hint(format!("{word:?} belongs in {}", title(key.section))),
            (None, None) => {
                let names: Vec<&str> = mine().collect();
                fault.hint(format!("there are: {}", names.join(", ")))
            }
        });
    }

    /// The value as it stands, of the kind the list says or reported.
    fn value(&self, name: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        debug_assert!(!key(self.name, name).words.is_empty());
        self.table?.get(name)
    }

    pub(super) fn wrong_kind(&self, name: &'static str, value: &Spanned<DeValue<'_>>) {
        let kind = &key(self.name, name).kind;
        let words = format!("{name} must be {}, but this is {}", kind.words(), found(value.get_ref()));
        let fault = Fault::error(value.span(), words);
        self.reader.fault(match (kind, value.get_ref()) {
            (Kind::Duration, DeValue::Integer(number)) => {
                fault.hint(format!("write {name} = \"{number}s\" for {number} seconds"))
            }
            (Kind::Switch, DeValue::String(text)) if text == "true" || text == "false" => {
                fault.hint("leave out the quotes")
            }
            (Kind::Text | Kind::Path | Kind::Secret | Kind::Mailbox, DeValue::Integer(number)) => {
                fault.hint(format!("put quotes around it: {name} = \"{number}\""))
            }
            _ => fault,
        });
    }

    fn default(&self, name: &'static str) -> Option<&'static str> {
        key(self.name, name).default
    }

    /// Text from the file, or the default, or nothing.
    pub(super) fn text(&self, name: &'static str) -> Option<At<String>> {
        match self.value(name) {
            None => self.default(name).map(|value| At { value: value.to_owned(), span: None }),
            Some(value) => match value.get_ref() {
                DeValue::String(text) => Some(At { value: text.to_string(), span: Some(value.span()) }),
                _ => {
                    self.wrong_kind(name, value);
                    None
                }
            },
        }
    }

    /// Text that must be there.
    pub(super) fn needed(&self, name: &'static str) -> Option<At<String>> {
        if self.value(name).is_none() && self.default(name).is_none() {
            let words = format!("{} needs {name}", title(self.name));
            let hint = format!("{name}: {}", key(self.name, name).words);
            self.reader.fault(Fault::error(self.span.clone(), words).hint(hint));
            return None;
        }
        let text = self.text(name)?;
        if text.value.trim().is_empty() {
            self.reader.fault(Fault::error(text.span, format!("{name} is empty")));
            return None;
        }
        Some(text)
    }

    /// Text turned into something else; a failure is reported with its words.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let At { value, span } = self.text(name)?;
        match parse(&value) {
            Ok(value) => Some(At { value, span }),
            Err(words) => {
                self.reader.fault(Fault::error(span, words));
                None
            }
        }
    }

    /// A duration; the default when it is wrong, which was reported.
    pub(super) fn duration(&self, name: &'static str) -> Duration {
        let read = self.parsed(name, parse_duration).map(|at| at.value);
        read.or_else(|| parse_duration(self.default(name)?).ok()).unwrap_or_default()
    }

    /// A size in bytes; the default when it is wrong, which was reported.
    pub(super) fn size(&self, name: &'static str) -> u64 {
        if let Some(value) = self.value(name)
            && let DeValue::Integer(_) = value.get_ref()
        {
            return self.integer(name, value).unwrap_or_default();
        }
        let read = self.parsed(name, parse_size).map(|at| at.value);
        read.or_else(|| parse_size(self.default(name)?).ok()).unwrap_or_default()
    }

    fn integer(&self, name: &'static str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_kind(name, value);
            return None;
        };
        let read = u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
        if read.is_none() {
            self.reader.fault(Fault::error(value.span(), format!("{name} must be a whole number from 0 up")));
        }
        read
    }

    /// A whole number in a range; the default when it is wrong, which was reported.
    pub(super) fn count(&self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> u64 {
        let default = || self.default(name).and_then(|d| d.parse().ok()).unwrap_or_default();
        let Some(value) = self.value(name) else { return default() };
        let Some(number) = self.integer(name, value) else { return default() };
        if range.contains(&number) {
            return number;
        }
        let words = format!("{name} must be from {} to {}", range.start(), range.end());
        self.reader.fault(Fault::error(value.span(), words));
        default()
    }

    /// A port number, or nothing.
    pub(super) fn port(&self, name: &'static str) -> Option<u16> {
        self.value(name)?;
        u16::try_from(self.count(name, 1..=65_535)).ok().filter(|port| *port > 0)
    }

    /// `true`, `false` or nothing.
    pub(super) fn switch(&self, name: &'static str) -> Option<At<bool>> {
        match self.value(name) {
            None => self.default(name).map(|d| At { value: d == "true", span: None }),
            Some(value) => match value.get_ref() {
                DeValue::Boolean(on) => Some(At { value: *on, span: Some(value.span()) }),
                _ => {
                    self.wrong_kind(name, value);
                    None
                }
            },
        }
    }

    /// One of the words the list of keys allows.
    pub(super) fn choice(&self, name: &'static str) -> Option<At<String>> {
        let text = self.text(name)?;
        let Kind::Choice(words) = key(self.name, name).kind else { return Some(text) };
        if words.contains(&text.value.as_str()) {
            return Some(text);
        }
        let fault =
            Fault::error(text.span, format!("{name} is {:?}; it must be {}", text.value, one_of(words)));
        self.reader.fault(match nearest(&text.value, words.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean {near:?}?")),
            None => fault,
        });
        None
    }

    /// A path, relative to the configuration's folder.
    pub(super) fn path(&self, name: &'static str) -> Option<At<PathBuf>> {
        let At { value, span } = self.text(name)?;
        if value.is_empty() {
            self.reader.fault(Fault::error(span, format!("{name} is empty")));
            return None;
        }
        Some(At { value: self.reader.path(&value), span })
    }

    /// A path that stands in another value, reported when it is empty.
    pub(super) fn path_of(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| self.reader.path(text))
    }

    /// One mail address with a domain.
    pub(super) fn address(&self, name: &'static str) -> Option<At<Address>> {
        self.parsed(name, parse_address)
    }

    /// The items of a list; a single value counts as a list of one.
    pub(super) fn items(&self, name: &'static str) -> Vec<&'t Spanned<DeValue<'t>>> {
        match self.value(name) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![value],
            },
        }
    }

    /// A list of texts, each turned into something else.
    pub(super) fn list<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<At<T>> {
        let mut list = Vec::new();
        for item in self.items(name) {
            let DeValue::String(text) = item.get_ref() else {
                self.wrong_kind(name, item);
                continue;
            };
            match parse(text) {
                Ok(value) => list.push(At { value, span: Some(item.span()) }),
                Err(words) => self.reader.fault(Fault::error(item.span(), words)),
            }
        }
        list
    }

    /// A list of addresses to listen at.
    pub(super) fn sockets(&self, name: &'static str) -> Vec<At<SocketAddr>> {
        self.list(name, |text| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address to listen at; write \"0.0.0.0:25\", \"127.0.0.1:2525\" or \"[::]:25\"")
            })
        })
    }

    /// A table inside this one.
    pub(super) fn table(&self, name: &'static str, full: &'static str) -> Option<Section<'t>> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(&self.reader, full, Some(table), Some(value.span()))),
            _ => {
                self.wrong_kind(name, value);
                None
            }
        }
    }

    /// A table at the top, empty when it is not there.
    pub(super) fn part(&self, name: &'static str) -> Section<'t> {
        self.table(name, name).unwrap_or_else(|| Section::new(&self.reader, name, None, None))
    }

    /// The tables of `[[name]]`.
    pub(super) fn parts(&self, name: &'static str) -> Vec<Section<'t>> {
        let mut parts = Vec::new();
        let Some(value) = self.value(name) else { return parts };
        let DeValue::Array(items) = value.get_ref() else {
            let words = format!("{name} is a list of tables");
            self.reader
                .fault(Fault::error(value.span(), words).hint(format!("write [[{name}]] with two brackets")));
            return parts;
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    parts.push(Section::new(&self.reader, name, Some(table), Some(item.span())));
                }
                _ => self.wrong_kind(name, item),
            }
        }
        parts
    }

    /// Whether the file has the key.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// Where the key's value stands, else the table.
    pub(super) fn span_of(&self, name: &'static str) -> Option<Range<usize>> {
        self.value(name).map(Spanned::span).or_else(|| self.span.clone())
    }

    /// Reports something about this table.
    pub(super) fn fault(&self, fault: Fault) {
        self.reader.fault(fault);
    }
}

/// A mail address with a domain.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    match Address::parse(text) {
        Ok(address) if !address.domain().is_empty() => Ok(address),
        Ok(_) => Err(format!("{text:?} is not a mail address: it has no domain")),
        Err(why) => Err(format!("{text:?} is not a mail address: {why}")),
    }
}

/// How a section is called in an error.
pub(super) fn title(section: &str) -> String {
    match section {
        "" => "the file".to_owned(),
        "tenant" | "domain" | "primary" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    }
}

pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}
