//! Durations and sizes as people write them.

use std::time::Duration;

/// Milliseconds of each unit, the long ones first.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `250ms`, `30s`, `5m`, `1h30m`, `7d`.
///
/// # Errors
/// In words, with an example.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration; write a number and a unit: 250ms, 30s, 5m, 1h30m, 7d");
    let mut rest = text.trim();
    let mut millis = 0u64;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
        millis = number.checked_mul(unit.1).and_then(|n| millis.checked_add(n)).ok_or_else(wrong)?;
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration as it can be read back: `1h30m`.
pub fn write_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    // Weeks are read and not written: nobody thinks of 30 days as 4w2d.
    for (unit, size) in &UNITS[1..] {
        if millis >= *size {
            out += &format!("{}{unit}", millis / size);
            millis %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

/// Reads `4096`, `64MiB`, `20GB`.
///
/// # Errors
/// In words, with an example.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write a number and a unit: 4096, 512KiB, 64MiB, 20GB");
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim().to_lowercase();
    let unit = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(unit.1).ok_or_else(wrong)
}

/// Writes a size for people: `64 MiB`, `1.4 GiB`.
pub fn write_size(bytes: u64) -> String {
    const NAMES: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() < 0.05 {
        format!("{value:.0} {}", NAMES[unit])
    } else {
        format!("{value:.1} {}", NAMES[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them_and_back() {
        for (text, millis, back) in [
            ("250ms", 250, "250ms"),
            ("30s", 30_000, "30s"),
            ("120s", 120_000, "2m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("2w", 1_209_600_000, "14d"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(write_duration(duration), back);
            assert_eq!(parse_duration(back), Ok(duration));
        }
        for text in [
            "",
            "s",
            "5",
            "5 minutes",
            "-5s",
            "1.5h",
            "5s5",
            "99999999999999999999d",
            "300000000000000d",
            "ms5",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("20GB", 20_000_000_000),
            ("1kb", 1_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GB", "64 megabytes", "99999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(write_size(0), "0 bytes");
        assert_eq!(write_size(64 << 20), "64 MiB");
        assert_eq!(write_size(1_500_000_000), "1.4 GiB");
    }
}
