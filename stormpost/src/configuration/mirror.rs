//! How a primary's mailboxes are pulled.

use super::reader::Section;
use std::time::Duration;

/// How much of a primary's mailboxes is kept in step here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorSettings {
    /// Only what came in so many last days; `None`: everything.
    pub days: Option<u32>,
    /// How long the primary is waited for to tell of news before all folders are looked at.
    pub look_every: Duration,
    /// Connections that work at once, at most.
    pub connections: u32,
}

/// The most days that can be asked for: a hundred years.
const DAYS_MAX: u32 = 36_525;

pub(super) fn mirror(section: &Section<'_>) -> Option<MirrorSettings> {
    let look_every = section.duration("mirror_look");
    let connections = u32::try_from(section.count("mirror_connections", 1..=64)).unwrap_or(1);
    let days = section.parsed("mirror", window)?.value?;
    Some(MirrorSettings { days, look_every: look_every.max(Duration::from_secs(1)), connections })
}

/// `off`, `all` or a number of days.
fn window(text: &str) -> Result<Option<Option<u32>>, String> {
    match text {
        "off" => Ok(None),
        "all" => Ok(Some(None)),
        days => {
            let number = days.strip_suffix('d').unwrap_or(days).trim();
            let days = number.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
            let words =
                || format!("{text:?} is neither \"off\" nor \"all\" nor a number of days like \"90d\"");
            days.map(|days| Some(Some(days))).ok_or_else(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_all_nothing_or_days() {
        assert_eq!(window("off"), Ok(None));
        assert_eq!(window("all"), Ok(Some(None)));
        assert_eq!(window("90d"), Ok(Some(Some(90))));
        assert_eq!(window("7"), Ok(Some(Some(7))));
        assert!(window("0d").is_err() && window("some").is_err() && window("999999d").is_err());
    }
}
