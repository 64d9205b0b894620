//! What a NO means.

use crate::store::StoreError;
use std::time::Duration;
use words_imap::{Code, Status};
use words_smtp::reply::escape;

/// The meaning of a NO or BAD.
pub(super) fn refusal(status: Status, code: Option<&Code>, text: &str) -> StoreError {
    let words = escape(text.as_bytes());
    let why = match code {
        Some(code) => format!("{status} [{}] {words}", escape(code.to_string().as_bytes())),
        None => format!("{status} {words}"),
    };
    match code {
        Some(Code::Unavailable | Code::ServerBug | Code::InUse) => StoreError::Unavailable(why),
        Some(Code::Throttled | Code::Limit) => StoreError::Throttled { why, after: back_off(text) },
        Some(
            Code::AuthenticationFailed | Code::AuthorizationFailed | Code::Expired | Code::PrivacyRequired,
        ) => StoreError::SignIn(why),
        Some(Code::OverQuota) => StoreError::OverQuota(why),
        Some(Code::NonExistent | Code::TryCreate) => StoreError::NoFolder(why),
        Some(Code::AlreadyExists) => StoreError::Exists(why),
        // Dovecot says it in words only when asked to SELECT.
        None if status == Status::No
            && ["doesn't exist", "does not exist"].iter().any(|w| text.contains(w)) =>
        {
            StoreError::NoFolder(why)
        }
        // Exchange says it in words only.
        _ if text.to_ascii_lowercase().contains("throttled") => {
            StoreError::Throttled { why, after: back_off(text) }
        }
        _ => StoreError::Refused(why),
    }
}

/// `Suggested Backoff Time: 299961 milliseconds`, as Exchange Online writes it. At most an hour is believed.
fn back_off(text: &str) -> Option<Duration> {
    let (_, after) = text.split_once("Backoff Time: ")?;
    let (number, unit) = after.split_once(' ')?;
    let millis = number.parse().ok().filter(|_| unit.starts_with("milliseconds"))?;
    Some(Duration::from_millis(millis).min(Duration::from_secs(3_600)))
}
