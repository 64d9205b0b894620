//! Dates as IMAP writes them (RFC 3501 §9 `date`, `date-time`).

use crate::scan::{Cursor, Parsed, Problem, utf8};
use std::fmt;
use words_mail::Time;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day of the calendar, without a time or a zone. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// The year, 0 to 9999.
    pub year: u16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
}

impl Date {
    /// The day on which `time` lies, in UTC.
    pub fn of(time: Time) -> Date {
        let (year, month, day, ..) = time.civil();
        Date { year: u16::try_from(year.clamp(0, 9_999)).unwrap_or(0), month: month as u8, day: day as u8 }
    }

    /// Reads `1-Feb-1994`; the day may have a leading zero or space.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))? + 1;
        let day = digits(day.trim_start_matches(' '), 1..=2)?;
        let year = digits(year, 4..=4)?;
        let longest = match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        ((1..=longest).contains(&day)).then_some(Date {
            year: year as u16,
            month: month as u8,
            day: day as u8,
        })
    }

    pub(crate) fn scan(c: &mut Cursor<'_>) -> Parsed<Date> {
        Date::parse(&utf8(c.astring()?)?).ok_or(Problem::bad("a date is wrong; it is written 1-Feb-1994"))
    }
}

/// `1-Feb-1994`, as a SEARCH takes it.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = MONTHS.get(usize::from(self.month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        write!(f, "{}-{month}-{:04}", self.day, self.year)
    }
}

/// A number of digits only, as many as `lens` allows.
fn digits(text: &str, lens: std::ops::RangeInclusive<usize>) -> Option<u32> {
    (lens.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Reads `17-Jul-1996 02:44:25 -0700`, the day with a leading space or zero where it has one digit.
pub fn parse_date_time(text: &str) -> Option<Time> {
    let text = text.trim_start_matches(' ');
    let mut parts = text.split(' ');
    let date = Date::parse(parts.next()?)?;
    let mut clock = parts.next()?.split(':');
    let mut two = |most: u32| digits(clock.next()?, 2..=2).filter(|n| *n <= most);
    let (hour, minute, second) = (two(23)?, two(59)?, two(60)?);
    let zone = parts.next()?;
    let sign = match zone.as_bytes().first()? {
        b'+' => -1,
        b'-' => 1,
        _ => return None,
    };
    let zone = digits(zone.get(1..)?, 4..=4)?;
    if clock.next().is_some() || parts.next().is_some() || zone % 100 > 59 {
        return None;
    }
    let local = Time::from_civil(
        i64::from(date.year),
        u32::from(date.month),
        u32::from(date.day),
        hour,
        minute,
        second,
    );
    let away = i64::from(zone / 100 * 60 + zone % 100) * 60;
    Some(Time::from_seconds(local.seconds() + sign * away))
}

/// Writes a moment as INTERNALDATE does, in UTC: `17-Jul-1996 09:44:25 +0000`.
pub fn format_date_time(time: Time) -> String {
    // RFC 3501 has four digits for the year: what lies outside is written as the nearest that fits.
    let (least, most) =
        (Time::from_civil(0, 1, 1, 0, 0, 0).seconds(), Time::from_civil(9_999, 12, 31, 23, 59, 59).seconds());
    let (year, month, day, hour, minute, second) =
        Time::from_seconds(time.seconds().clamp(least, most)).civil();
    let month = MONTHS.get((month as usize).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
    format!("{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, written) in [
            ("17-Jul-1996 02:44:25 -0700", "17-Jul-1996 09:44:25 +0000"),
            (" 1-Feb-2026 23:59:59 +0100", " 1-Feb-2026 22:59:59 +0000"),
            ("01-jan-1970 00:00:00 +0000", " 1-Jan-1970 00:00:00 +0000"),
            ("29-Feb-2024 00:00:00 +0530", "28-Feb-2024 18:30:00 +0000"),
        ] {
            let time = parse_date_time(text).unwrap();
            assert_eq!(format_date_time(time), written);
            assert_eq!(parse_date_time(written), Some(time));
        }
        for wrong in [
            "",
            "17-Jul-1996",
            "17-Jul-1996 02:44:25",
            "17-Jul-1996 24:00:00 +0000",
            "31-Feb-1996 02:44:25 +0000",
            "1-Foo-1996 02:44:25 +0000",
            "1-Jan-96 02:44:25 +0000",
            "1-Jan-1996 02:44 +0000",
            "1-Jan-1996 02:44:25 GMT",
            "1-Jan-1996 02:44:25 +0099",
            "1-Jan-1996 02:44:25 +0000 x",
            "+1-Jan-1996 02:44:25 +0000",
            "1-Jan-1996 02:44:25 é000",
        ] {
            assert_eq!(parse_date_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn moments_outside_four_digits_of_years_are_still_written() {
        assert_eq!(format_date_time(Time(i64::MIN)), " 1-Jan-0000 00:00:00 +0000");
        assert_eq!(format_date_time(Time(i64::MAX)), "31-Dec-9999 23:59:59 +0000");
    }
}
