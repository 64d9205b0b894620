//! Secrets: never shown, and read only from files that are nobody else's.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest file that is taken for a password or key.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A secret. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of a file.
    File(PathBuf),
    /// The configuration itself; warned about.
    Inline(Secret),
}

impl SecretSource {
    /// Reads it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or can be read by others; the words say what to do.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(path) => {
                let text = read_private(path)?;
                let line = text.lines().next().unwrap_or("");
                if line.is_empty() {
                    return Err(format!("{} is empty; put the secret on its first line", path.display()));
                }
                Ok(Secret::new(line))
            }
        }
    }
}

/// Reads a file that nobody else may read.
///
/// # Errors
/// When it cannot be read, is too large, is not text, or can be read by others; the words say what to do.
pub fn read_private(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let facts = fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {}", reason(&e)))?;
    if !facts.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if facts.permissions().mode() & 0o007 != 0 {
        return Err(format!("{shown} can be read by everybody on this machine; run: chmod 600 {shown}"));
    }
    if facts.len() > SECRET_BYTES_MAX {
        return Err(format!("{shown} is too large for a secret"));
    }
    let bytes = fs::read(path).map_err(|e| format!("{shown} cannot be read: {}", reason(&e)))?;
    String::from_utf8(bytes).map_err(|_| format!("{shown} is not text"))
}

/// The system's words without its error number.
pub fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
        _ => error.to_string(),
    }
}
