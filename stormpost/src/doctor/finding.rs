//! One finding: what was looked at, how it is, what fails today because of it, and the line that mends it.

use serde::Serialize;

/// How something is; the worse, the higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Nobody could look; nothing is known.
    Unseen,
    /// It works, and somebody should see to it.
    Warn,
    /// Something fails today because of it.
    Fail,
}

impl Grade {
    /// In a column of a page for people.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Unseen => "?",
            Grade::Warn => "WARN",
            Grade::Fail => "FAIL",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The topic it belongs to; set by whoever asked.
    pub topic: &'static str,
    /// What was looked at.
    pub about: String,
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub words: String,
    /// What fails today because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub today: Option<String>,
    /// The line that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn new(grade: Grade, about: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding { topic: "", about: about.into(), grade, words: words.into(), today: None, mend: None }
    }

    /// As it should be.
    pub fn ok(about: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding::new(Grade::Ok, about, words)
    }

    /// Nobody could look, for this reason.
    pub fn unseen(about: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding::new(Grade::Unseen, about, words)
    }

    /// Somebody should see to it.
    pub fn warn(about: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding::new(Grade::Warn, about, words)
    }

    /// Something fails today.
    pub fn fail(about: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding::new(Grade::Fail, about, words)
    }

    /// What fails today because of it.
    #[must_use]
    pub fn today(mut self, words: impl Into<String>) -> Finding {
        self.today = Some(words.into());
        self
    }

    /// The line that mends it.
    #[must_use]
    pub fn mend(mut self, words: impl Into<String>) -> Finding {
        self.mend = Some(words.into());
        self
    }
}
