//! What is wrong with a configuration, shown at the place where it is wrong.

use serde::Serialize;
use std::fmt::{self, Write};
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, but somebody should know.
    Warning,
    /// It cannot work so.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The bytes of the configuration it is about, if it is about any.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub words: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// Something that cannot work.
    pub fn error(span: impl Into<Option<Range<usize>>>, words: impl Into<String>) -> Fault {
        Fault { severity: Severity::Error, span: span.into(), words: words.into(), hint: None }
    }

    /// Something that somebody should know.
    pub fn warning(span: impl Into<Option<Range<usize>>>, words: impl Into<String>) -> Fault {
        Fault { severity: Severity::Warning, ..Fault::error(span, words) }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }
}

/// The text of a configuration, for showing places in it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// A place as people count: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Source {
    /// Where a byte stands.
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_start..].chars().count() + 1;
        Place { line: before.matches('\n').count() + 1, column }
    }

    /// A fault with the line it is about and a mark under it.
    pub fn show(&self, fault: &Fault) -> String {
        let mut out = format!("{}: {}\n", fault.severity, visible(&fault.words));
        if let Some(span) = &fault.span {
            let place = self.place(span.start);
            let line = self.text.lines().nth(place.line - 1).unwrap_or("");
            let margin = place.line.to_string();
            let gap = " ".repeat(margin.len());
            let room = line.chars().count().saturating_sub(place.column - 1).max(1);
            let marked =
                self.text.get(span.clone()).map_or(1, |t| t.chars().take_while(|c| *c != '\n').count());
            let mark = "^".repeat(marked.clamp(1, room));
            let indent = " ".repeat(place.column - 1);
            // One character a column, or the mark would stand under the wrong one.
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(out, "{gap}--> {}:{}:{}", visible(&self.name), place.line, place.column);
            let _ = writeln!(out, "{gap} |\n{margin} | {line}\n{gap} | {indent}{mark}");
        } else if !self.name.is_empty() {
            let _ = writeln!(out, " --> {}", visible(&self.name));
        }
        if let Some(hint) = &fault.hint {
            let _ = writeln!(out, " = {}", visible(hint));
        }
        out
    }
}

/// Everything that is wrong with one configuration.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The text it is about.
    pub source: Source,
    /// What is wrong, in the order of the text.
    pub list: Vec<Fault>,
}

impl Faults {
    /// Whether anything cannot work.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Puts them in the order of the text.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|fault| fault.span.as_ref().map_or(usize::MAX, |span| span.start));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.source.show(fault))?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Text with its control characters written out, fit for a terminal whatever it came from.
pub fn visible(text: &str) -> String {
    // Bidirectional overrides can make a line read as something else.
    let unfit = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(unfit) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if unfit(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The word among `words` that somebody who wrote `wrong` most likely meant.
pub fn nearest<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let near = (wrong.chars().count() / 3).clamp(1, 3);
    words
        .into_iter()
        .map(|word| (distance(&wrong, word), word))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Letters to add, drop, change or swap with their neighbour to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
