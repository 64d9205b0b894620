//! What each command does to a session.

use super::*;

impl ServerSession {
    /// One whole line, in whatever phase lines are read.
    pub(super) fn on_line(&mut self, line: &[u8]) -> Option<Event<'static>> {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::SaslPlain => self.on_sasl(line, sasl::plain),
            Phase::SaslPassword(user) => self.on_sasl(line, |password| match password {
                "" => Err(Reply::new(501, (5, 5, 2), "the password is empty; nothing was checked")),
                _ => Ok(Credentials { user, password: password.to_owned() }),
            }),
            Phase::SaslUser => {
                match sasl_line(line) {
                    Ok(user) if !user.is_empty() => self.ask_password(user),
                    Ok(_) => self.refuse_command(501, (5, 2), "the user is empty; nothing was checked"),
                    Err(reply) => self.refuse(&reply),
                }
                None
            }
            _ => self.on_command(line),
        }
    }

    fn on_command(&mut self, line: &[u8]) -> Option<Event<'static>> {
        let data_refused = std::mem::take(&mut self.data_refused);
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(reply) => {
                let verb = line.get(..4).unwrap_or_default();
                if data_refused {
                    self.say(503, (5, 5, 1), "DATA was refused, so no message can come now");
                    self.close(421, (4, 7, 0), "closing, because a message came without leave");
                } else if verb.eq_ignore_ascii_case(b"BDAT") {
                    self.write(&reply);
                    self.close(421, (4, 7, 0), "closing, because the length of what follows is not known");
                } else {
                    self.refuse(&reply);
                }
                return None;
            }
        };
        self.commands += 1;
        if self.commands > self.config.limits.commands {
            self.close(421, (4, 7, 0), "too many commands without a message; connect again");
            return None;
        }
        match command {
            Command::Helo(name) => self.on_hello(name, Some(false)),
            Command::Ehlo(name) => self.on_hello(name, Some(true)),
            Command::Lhlo(name) => self.on_hello(name, None),
            Command::Mail(mail) => self.on_mail(mail),
            Command::Rcpt(recipient) => self.on_rcpt(recipient),
            Command::Data => self.on_data(),
            Command::Bdat { octets, last } => self.on_bdat(octets, last),
            Command::StartTls => self.on_starttls(),
            Command::Auth { mechanism, initial } => self.on_auth(mechanism, initial),
            Command::Rset => {
                self.say(250, (2, 0, 0), "forgotten");
                self.reset()
            }
            Command::Noop => {
                self.say(250, (2, 0, 0), "ok");
                None
            }
            Command::Quit => {
                self.close(221, (2, 0, 0), "goodbye");
                None
            }
            Command::Vrfy => {
                self.say(252, (2, 1, 5), "not told here; send a message and see");
                None
            }
            Command::Expn => {
                self.refuse_command(502, (5, 1), "lists are not shown; send a message to the list");
                None
            }
            Command::Help => {
                self.say(
                    214,
                    (2, 0, 0),
                    "commands: EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP AUTH STARTTLS\n\
                     what a reply means stands in its words; the postmaster here reads mail",
                );
                None
            }
            Command::Http => {
                self.close(421, (4, 7, 0), "this is a mail server, not a web server; closing");
                None
            }
        }
    }

    /// `extended` is what the verb was: HELO, EHLO, or (`None`) LHLO.
    fn on_hello(&mut self, name: String, extended: Option<bool>) -> Option<Event<'static>> {
        let lmtp = self.config.dialect == Dialect::Lmtp;
        if lmtp != extended.is_none() {
            let text = if lmtp { "this is LMTP; greet with LHLO" } else { "this is SMTP; greet with EHLO" };
            self.refuse_command(500, (5, 1), text);
            return None;
        }
        self.hello = Some(name);
        self.extended = extended.unwrap_or(true);
        if self.extended {
            let mut text = format!("{}\nPIPELINING\nENHANCEDSTATUSCODES", self.config.host);
            text.push_str(&format!("\nSIZE {}", self.config.limits.size));
            let offer = &self.config.extensions;
            for (offered, line) in [
                (offer.eight_bit, "\n8BITMIME"),
                (offer.utf8, "\nSMTPUTF8"),
                (offer.dsn, "\nDSN"),
                (offer.chunking, "\nCHUNKING"),
                (self.config.starttls && self.tls.is_none(), "\nSTARTTLS"),
                (self.config.dialect == Dialect::Submission && self.tls.is_some(), "\nAUTH PLAIN LOGIN"),
            ] {
                if offered {
                    text.push_str(line);
                }
            }
            write_lines(&mut self.out, 250, None, &text);
        } else {
            write_lines(&mut self.out, 250, None, &self.config.host);
        }
        self.reset()
    }

    fn on_mail(&mut self, mail: Mail) -> Option<Event<'static>> {
        let offer = self.config.extensions;
        let submission = self.config.dialect == Dialect::Submission;
        if self.hello.is_none() {
            self.refuse_command(503, (5, 1), "greet first, with EHLO or LHLO");
        } else if submission && self.tls.is_none() {
            self.refuse_command(530, (7, 0), "send STARTTLS first, then sign in; nothing was stored");
        } else if submission && !self.signed_in {
            self.refuse_command(530, (7, 0), "sign in first; nothing was stored");
        } else if self.transaction.is_some() {
            self.refuse_command(503, (5, 1), "a sender was given already; finish that message or send RSET");
        } else if (mail.utf8 && !offer.utf8) || (mail.eight_bit && !offer.eight_bit) {
            self.refuse_command(555, (5, 4), "a parameter that was not offered; use only what EHLO offered");
        } else if (mail.ret.is_some() || mail.envid.is_some()) && !offer.dsn {
            self.refuse_command(555, (5, 4), "DSN is not offered here; leave RET and ENVID out");
        } else if !mail.utf8 && mail.sender.address().is_some_and(words_mail::Address::is_international) {
            self.say(553, (5, 6, 7), "the sender is not ASCII; add SMTPUTF8 to MAIL FROM");
        } else if mail.size.is_some_and(|size| size > self.config.limits.size) {
            let reply = self.too_big();
            self.write(&reply);
        } else {
            self.asked = Some(Asked::Mail(mail));
        }
        None
    }

    fn on_rcpt(&mut self, recipient: Recipient) -> Option<Event<'static>> {
        let Some(transaction) = &self.transaction else {
            self.refuse_command(503, (5, 1), "no sender was accepted; send MAIL FROM first");
            return None;
        };
        let dsn = recipient.notify.is_some() || recipient.orcpt.is_some();
        if self.body.is_some() {
            self.refuse_command(503, (5, 1), "the message has begun; finish it or send RSET");
        } else if transaction.recipients.len() >= self.config.limits.recipients {
            let limit = self.config.limits.recipients;
            let text = format!("at most {limit} recipients for one message; send it again for the others");
            self.say(452, (4, 5, 3), &text);
        } else if recipient.address.is_international() && !transaction.mail.utf8 {
            self.say(553, (5, 6, 7), "the recipient is not ASCII; add SMTPUTF8 to MAIL FROM");
        } else if dsn && !self.config.extensions.dsn {
            self.refuse_command(555, (5, 4), "DSN is not offered here; leave NOTIFY and ORCPT out");
        } else {
            self.asked = Some(Asked::Rcpt(recipient));
        }
        None
    }

    /// Why no message can come now.
    fn body_refusal(&self) -> Option<Reply> {
        let refusal = |code, text: &str| Some(Reply::new(code, (5, 5, 1), text));
        match &self.transaction {
            None => refusal(503, "no sender was accepted; send MAIL FROM first"),
            Some(transaction) if !transaction.recipients.is_empty() => None,
            // RFC 2033 §4.2 wants 503 here, RFC 5321 §3.3 prefers 554.
            Some(_) if self.config.dialect == Dialect::Lmtp => refusal(503, "no recipient was accepted"),
            Some(_) => refusal(554, "no recipient was accepted, so there is nobody to send it to"),
        }
    }

    fn on_data(&mut self) -> Option<Event<'static>> {
        if self.body.is_some() {
            self.refuse_command(503, (5, 1), "the message came by BDAT so far; end it with BDAT LAST");
            self.data_refused = true;
        } else if let Some(reply) = self.body_refusal() {
            self.refuse(&reply);
            self.data_refused = true;
        } else {
            self.asked = Some(Asked::Body(None));
        }
        None
    }

    fn on_bdat(&mut self, octets: u64, last: bool) -> Option<Event<'static>> {
        if !self.config.extensions.chunking {
            let reply = Reply::new(502, (5, 5, 1), "CHUNKING is not offered here; use DATA");
            self.unwanted(octets, reply);
        } else if self.body.is_some() {
            self.phase = Phase::Chunk { left: octets, last };
        } else if let Some(reply) = self.body_refusal() {
            self.unwanted(octets, reply);
        } else {
            self.asked = Some(Asked::Body(Some((octets, last))));
        }
        None
    }

    /// Reads the octets of a chunk that is refused, within reason, and replies behind them (RFC 3030 §2).
    pub(super) fn unwanted(&mut self, octets: u64, reply: Reply) {
        self.bad += 1;
        if octets > self.config.limits.discarded || self.bad > self.config.limits.bad_commands {
            self.write(&reply);
            self.close(421, (4, 7, 0), "closing, because too much follows that nobody wants");
        } else {
            self.phase = Phase::Unwanted { left: octets, reply };
        }
    }

    fn on_starttls(&mut self) -> Option<Event<'static>> {
        if self.tls.is_some() {
            self.refuse_command(503, (5, 1), "the connection is encrypted already");
        } else if !self.config.starttls {
            self.refuse_command(502, (5, 1), "STARTTLS is not offered here");
        } else {
            self.asked = Some(Asked::StartTls);
        }
        None
    }

    fn on_auth(&mut self, mechanism: Mechanism, initial: Option<String>) -> Option<Event<'static>> {
        if self.config.dialect != Dialect::Submission {
            self.refuse_command(502, (5, 1), "nobody signs in here; people send on the submission port");
        } else if self.tls.is_none() {
            self.refuse_command(538, (7, 11), "send STARTTLS first; a password must not travel in the clear");
        } else if self.hello.is_none() {
            self.refuse_command(503, (5, 1), "greet first, with EHLO");
        } else if self.signed_in || self.transaction.is_some() {
            self.refuse_command(503, (5, 1), "signed in already, or a message is open");
        } else {
            match (mechanism, initial) {
                (Mechanism::Plain, Some(text)) => match sasl::plain(&text) {
                    Ok(credentials) => self.asked = Some(Asked::SignIn(credentials)),
                    Err(reply) => self.refuse(&reply),
                },
                (Mechanism::Plain, None) => {
                    self.out.extend_from_slice(b"334 \r\n");
                    self.phase = Phase::SaslPlain;
                }
                (Mechanism::Login, Some(user)) if !user.is_empty() => self.ask_password(user),
                (Mechanism::Login, _) => {
                    // "Username:" in base64, the question clients wait for.
                    self.out.extend_from_slice(b"334 VXNlcm5hbWU6\r\n");
                    self.phase = Phase::SaslUser;
                }
            }
        }
        None
    }

    fn ask_password(&mut self, user: String) {
        // "Password:".
        self.out.extend_from_slice(b"334 UGFzc3dvcmQ6\r\n");
        self.phase = Phase::SaslPassword(user);
    }

    fn on_sasl(
        &mut self,
        line: &[u8],
        read: impl FnOnce(&str) -> Result<Credentials, Reply>,
    ) -> Option<Event<'static>> {
        match sasl_line(line).and_then(|text| read(&text)) {
            Ok(credentials) => self.asked = Some(Asked::SignIn(credentials)),
            Err(reply) => self.refuse(&reply),
        }
        None
    }

    /// Gives an open transaction up.
    fn reset(&mut self) -> Option<Event<'static>> {
        self.body = None;
        self.transaction.take().map(|_| Event::Reset)
    }

    /// Replies 5xx to a command that was wrong in itself or came at the wrong time; too many of them end the session.
    pub(super) fn refuse_command(&mut self, code: u16, detail: (u16, u16), text: &str) {
        self.refuse(&Reply::new(code, (5, detail.0, detail.1), text));
    }

    fn refuse(&mut self, reply: &Reply) {
        self.write(reply);
        self.bad += 1;
        if self.bad > self.config.limits.bad_commands {
            self.close(421, (4, 7, 0), "too many commands were refused; closing");
        }
    }
}

/// A response line of a sign-in; `*` gives it up (RFC 4954 §4).
fn sasl_line(line: &[u8]) -> Result<String, Reply> {
    match std::str::from_utf8(line) {
        Ok("*") => Err(Reply::new(501, (5, 7, 0), "sign-in given up")),
        Ok(text) => sasl::decode(text),
        Err(_) => sasl::decode("?"),
    }
}
