//! Greeting, signing in, and what needs no mailbox: CAPABILITY, ID, ENABLE, NAMESPACE, STARTTLS, LOGIN,
//! AUTHENTICATE, LOGOUT, GETQUOTA, GETQUOTAROOT.

use super::CAPABILITIES;
use crate::options::Security;
use crate::session::{Session, Waiting};
use crate::sign_in::SignInRefusal;
use std::io;
use std::time::Duration;
use stores_mailbox::SEPARATOR;
use words_imap::{Code, Command, Limits, Plain, Secret, Status, decode_base64};

/// How long a sign-in may take to be decided.
const CHECK_TIME: Duration = Duration::from_secs(30);

/// The name of the one quota root of an account.
const QUOTA_ROOT: &str = "";

/// The longest wait after a failed sign-in.
const DELAY_MAX: Duration = Duration::from_secs(30);

impl Session {
    pub(crate) fn greet(&mut self) {
        let code = Code::Capability(self.capabilities().into_iter().map(str::to_owned).collect());
        let text = format!("{} Stormpost is ready", self.shared.options.host);
        self.out.untagged(Status::Ok, Some(&code), &text);
    }

    fn may_sign_in(&self) -> bool {
        self.tls || self.visit.security == Security::Optional
    }

    fn may_start_tls(&self) -> bool {
        !self.tls && self.account.is_none() && self.shared.tls.borrow().is_some()
    }

    fn capabilities(&self) -> Vec<&'static str> {
        let mut words = CAPABILITIES.to_vec();
        if self.account.is_none() {
            if self.may_start_tls() {
                words.push("STARTTLS");
            }
            words.push(if self.may_sign_in() { "AUTH=PLAIN" } else { "LOGINDISABLED" });
        }
        words
    }

    pub(crate) async fn greetings(&mut self, tag: String, command: Command) -> io::Result<()> {
        match command {
            Command::Capability => {
                let words = self.capabilities();
                self.out.capability(&words);
                self.out.ok(&tag, "that is all");
            }
            Command::Logout => {
                self.bye("good-bye");
                self.out.ok(&tag, "done");
            }
            Command::StartTls if self.may_start_tls() => {
                self.out.ok(&tag, "begin the handshake");
                self.begin_tls = true;
            }
            Command::StartTls => self.out.bad(&tag, "TLS cannot begin here"),
            Command::Login { user, password } => {
                if self.may_sign_in() {
                    return self.sign_in(tag, &user, password).await;
                }
                self.out.no(&tag, Some(&Code::PrivacyRequired), "begin TLS first");
            }
            Command::Authenticate { mechanism, initial } => {
                return self.authenticate(tag, &mechanism, initial).await;
            }
            Command::Id(fields) => {
                let known = |name: &str| {
                    let found = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                    found.and_then(|(_, value)| value.clone()).unwrap_or_default()
                };
                // Escaped by the log: it is the client's own text.
                tracing::debug!(peer = %self.visit.peer, name = ?known("name"), version = ?known("version"), "IMAP client");
                self.out.id(&[("name", "Stormpost"), ("version", env!("CARGO_PKG_VERSION"))]);
                self.out.ok(&tag, "done");
            }
            Command::Enable(words) => self.enable(&tag, &words),
            Command::Namespace => {
                self.out.namespace("", SEPARATOR);
                self.out.ok(&tag, "done");
            }
            Command::GetQuota { root } => self.quota(&tag, None, &root),
            Command::GetQuotaRoot { mailbox } => self.quota(&tag, Some(&mailbox), QUOTA_ROOT),
            _ => self.out.bad(&tag, "this server does not do that"),
        }
        Ok(())
    }

    /// GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1): an account is one root, and what has no limit is not told.
    fn quota(&mut self, tag: &str, mailbox: Option<&str>, root: &str) {
        let account = self.account();
        if let Some(mailbox) = mailbox {
            match self.mailboxes().folder(&account, mailbox) {
                Ok(folder) => self.out.quota_root(&folder.name, &[QUOTA_ROOT]),
                Err(error) => return self.refuse(tag, &error),
            }
        }
        if root != QUOTA_ROOT {
            return self.out.no(tag, Some(&Code::NonExistent), "there is no such quota root");
        }
        let (messages, bytes) = match self.mailboxes().usage(&account) {
            Ok(usage) => usage,
            Err(error) => return self.refuse(tag, &error),
        };
        let limits = &self.shared.options.limits;
        let mut resources = Vec::new();
        if let Some(limit) = limits.account_bytes {
            // RFC 9208 §5.1: storage is told in units of 1024 bytes.
            resources.push(("STORAGE", bytes.div_ceil(1_024), limit.div_ceil(1_024)));
        }
        if let Some(limit) = limits.account_messages {
            resources.push(("MESSAGE", messages, limit));
        }
        self.out.quota(QUOTA_ROOT, &resources);
        self.out.ok(tag, "done");
    }

    fn enable(&mut self, tag: &str, words: &[String]) {
        let mut enabled = Vec::new();
        for word in words {
            match word.as_str() {
                "CONDSTORE" => {
                    self.condstore = true;
                    enabled.push("CONDSTORE");
                }
                // RFC 7162 §3.2.3: QRESYNC brings CONDSTORE.
                // RFC 6855 §3: names are UTF-8 from now on, both ways.
                "UTF8=ACCEPT" => {
                    self.utf8 = true;
                    self.reader.set_utf8(true);
                    self.out.set_utf8(true);
                    enabled.push("UTF8=ACCEPT");
                }
                "QRESYNC" => {
                    self.condstore = true;
                    self.qresync = true;
                    enabled.push("QRESYNC");
                }
                _ => {}
            }
        }
        self.out.enabled(&enabled);
        self.out.ok(tag, "done");
    }

    async fn authenticate(
        &mut self,
        tag: String,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> io::Result<()> {
        if !self.may_sign_in() {
            self.out.no(&tag, Some(&Code::PrivacyRequired), "begin TLS first");
            return Ok(());
        }
        if mechanism != "PLAIN" {
            self.out.no(&tag, Some(&Code::Cannot), "only PLAIN is known here");
            return Ok(());
        }
        match initial {
            Some(message) => self.authenticate_plain(tag, &message.0).await,
            None => {
                self.out.continuation("");
                self.reader.expect_line();
                self.waiting = Some(Waiting::Authenticate { tag });
                Ok(())
            }
        }
    }

    /// The client's answer to our `+`.
    pub(crate) async fn authenticate_line(&mut self, tag: String, line: Vec<u8>) -> io::Result<()> {
        if line == b"*" {
            self.out.bad(&tag, "you broke it off");
            return Ok(());
        }
        match decode_base64(&line) {
            Some(message) => self.authenticate_plain(tag, &message).await,
            None => {
                self.out.bad(&tag, "that is not base 64");
                Ok(())
            }
        }
    }

    async fn authenticate_plain(&mut self, tag: String, message: &[u8]) -> io::Result<()> {
        let Some(Plain { authorize, user, password }) = Plain::read(message) else {
            self.out.bad(&tag, "that is no PLAIN message");
            return Ok(());
        };
        if !authorize.is_empty() && authorize != user {
            self.out.no(&tag, Some(&Code::AuthorizationFailed), "nobody may sign in as somebody else here");
            return Ok(());
        }
        self.sign_in(tag, &user, password).await
    }

    async fn sign_in(&mut self, tag: String, user: &str, password: Secret) -> io::Result<()> {
        let limits = self.shared.options.limits.clone();
        let peer = self.visit.peer;
        if !self.guest.may_try(&limits) {
            tracing::info!(%peer, user = ?user, "IMAP sign-in not tried: too many failures from this address");
            self.bye("too many failed sign-ins from your address; try again in ten minutes");
            return Ok(());
        }
        let answer = match std::str::from_utf8(&password.0) {
            Ok(password) => {
                let check = self.shared.sign_in.check(user, password, peer);
                let late = || Err(SignInRefusal::Later("this cannot be decided now; try again".into()));
                tokio::time::timeout(CHECK_TIME, check).await.unwrap_or_else(|_| late())
            }
            Err(_) => Err(SignInRefusal::Wrong),
        };
        match answer {
            Ok(account) => {
                let password = std::str::from_utf8(&password.0).unwrap_or_default();
                self.pass = self.shared.sign_in.pass(&account, password);
                let done = self.signed_in(tag, account).await;
                if self.account.is_none() {
                    self.pass = None;
                }
                done
            }
            Err(SignInRefusal::Later(why)) => {
                tracing::info!(%peer, user = ?user, why = ?why, "IMAP sign-in cannot be decided");
                self.out.no(&tag, Some(&Code::Unavailable), &why);
                Ok(())
            }
            Err(SignInRefusal::Wrong) => {
                self.guest.failed();
                tracing::info!(%peer, user = ?user, "IMAP sign-in failed");
                let delay = limits.failure_delay.saturating_mul(1 << self.failures.min(8)).min(DELAY_MAX);
                self.failures += 1;
                tokio::time::sleep(delay).await;
                self.out.no(&tag, Some(&Code::AuthenticationFailed), "the name or the password is wrong");
                if self.failures >= limits.failures_per_connection {
                    self.bye("too many failed sign-ins");
                }
                Ok(())
            }
        }
    }

    async fn signed_in(&mut self, tag: String, account: words_mail::AccountId) -> io::Result<()> {
        let limits = &self.shared.options.limits;
        if !self.guest.sign_in(&account, limits) {
            self.out.no(&tag, Some(&Code::Limit), "too many connections of this account; close some");
            return Ok(());
        }
        let (command, message) = (limits.command, limits.message);
        if let Err(error) = self.mailboxes().open_account(&account).await {
            self.refuse(&tag, &error);
            self.ending = true;
            return Ok(());
        }
        tracing::info!(peer = %self.visit.peer, %account, tls = self.tls, "IMAP sign-in");
        self.reader.set_limits(Limits { command, message, ..Limits::default() });
        self.account = Some(account);
        let code = Code::Capability(self.capabilities().into_iter().map(str::to_owned).collect());
        self.out.tagged(&tag, Status::Ok, Some(&code), "you are signed in");
        Ok(())
    }
}
