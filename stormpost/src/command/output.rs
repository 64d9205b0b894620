//! What commands print: tables for people, JSON for programs. Nothing from outside reaches a terminal unescaped.

use crate::configuration::visible;
use serde::Serialize;
use std::io::Write;
use words_mail::Time;

/// Where a command's answer goes. A reader that closed the pipe (`| head`) is no error.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON is wanted.
    pub json: bool,
}

impl Output {
    /// A line for people; control characters are written out.
    pub fn say(self, line: &str) {
        if !self.json {
            let _ = writeln!(std::io::stdout().lock(), "{}", visible(line));
        }
    }

    /// Lines for people, made by ourselves, as they are.
    pub fn text(self, text: &str) {
        if !self.json {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
        }
    }

    /// JSON for programs.
    pub fn value(self, value: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string_pretty(value)
        {
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }

    /// A table for people.
    pub fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        if !self.json {
            let _ = std::io::stdout().lock().write_all(table(headings, rows).as_bytes());
        }
    }
}

/// Progress and complaints, apart from the answer.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
}

/// Columns of equal width; the last one as wide as it is.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    if headings.iter().any(|heading| !heading.is_empty()) {
        line(&mut headings.iter().copied());
    }
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// A moment for people: to the second, UTC.
pub fn moment(time: Time) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// How long ago, or from when to when, for people: the two largest units.
pub fn span(from: Time, to: Time) -> String {
    let seconds = to.since(from).as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, size) in units.iter().skip(first).take(2) {
        if parts.is_empty() || rest >= *size {
            parts.push(format!("{} {name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// A moment as people write it: `2h` (so long ago), `2026-11-22`, `2026-11-22 10:42`, `2026-11-22T10:42:07Z`; UTC.
///
/// # Errors
/// In words, with examples.
pub fn parse_moment(text: &str, now: Time) -> Result<Time, String> {
    let wrong = || format!("{text:?} is not a moment; write 2h (ago), 2026-11-22, or 2026-11-22T10:42 (UTC)");
    if let Ok(ago) = crate::configuration::parse_duration(text) {
        return Ok(now.before(ago));
    }
    let text_part = text.trim().trim_end_matches(['Z', 'z']);
    let (date, time) = text_part.split_once(['T', 't', ' ']).unwrap_or((text_part, "00:00:00"));
    let numbers = |part: &str, by: char| -> Option<Vec<u32>> {
        part.split(by).map(|n| n.parse().ok().filter(|_| n.len() <= 4 && !n.starts_with('+'))).collect()
    };
    let date = numbers(date, '-').ok_or_else(wrong)?;
    let time = numbers(time.split('.').next().unwrap_or(""), ':').ok_or_else(wrong)?;
    let ([year, month @ 1..=12, day @ 1..=31], [hour @ 0..=23, minute @ 0..=59, ..]) = (&date[..], &time[..])
    else {
        return Err(wrong());
    };
    let second = match time.get(2) {
        None => 0,
        Some(second @ 0..=59) if time.len() == 3 => *second,
        Some(_) => return Err(wrong()),
    };
    if *year < 1970 {
        return Err(wrong());
    }
    let moment = Time::from_civil(i64::from(*year), *month, *day, *hour, *minute, second);
    // 31 February would come out as a day in March.
    if moment.civil().2 == *day { Ok(moment) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_hide_nothing_dangerous() {
        let rows = vec![vec!["zoë".into(), "1".into()], vec!["a\u{1b}[31mb".into(), "22".into()]];
        assert_eq!(table(&["who", "n"], &rows), "who           n\nzoë           1\na\\u{1b}[31mb  22\n");
        assert_eq!(table(&["", ""], &[vec!["a".into(), "b".into()]]), "a  b\n");
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = Time::from_civil(2026, 11, 22, 12, 0, 0);
        for (text, expected) in [
            ("2h", Time::from_civil(2026, 11, 22, 10, 0, 0)),
            ("2026-11-21", Time::from_civil(2026, 11, 21, 0, 0, 0)),
            ("2026-11-21 10:42", Time::from_civil(2026, 11, 21, 10, 42, 0)),
            ("2026-11-21T10:42:07Z", Time::from_civil(2026, 11, 21, 10, 42, 7)),
            ("2026-11-21T10:42:07.125Z", Time::from_civil(2026, 11, 21, 10, 42, 7)),
        ] {
            assert_eq!(parse_moment(text, now), Ok(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-02-31",
            "2026-13-01",
            "2026-11-21T25:00",
            "2026-11",
            "11/22/2026",
            "2026-11-21 10:42:07:1",
        ] {
            assert!(parse_moment(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_name_two_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 m"),
            (61, "1 m 1 s"),
            (3_600, "1 h"),
            (90_061, "1 d 1 h"),
            (86_460, "1 d"),
        ] {
            assert_eq!(span(Time::from_seconds(10), Time::from_seconds(10 + seconds)), expected);
        }
        assert_eq!(span(Time::from_seconds(10), Time::from_seconds(5)), "0 s", "a clock that went back");
    }
}
