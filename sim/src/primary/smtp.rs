//! Its SMTP side. Facts it holds to: RFC 5321 §4.1.1.4 (a message is accepted by the reply to the final dot), §4.5.2
//! (dot transparency), §6.1 (it may be stored although the reply never arrives).

use super::{Mood, Port, Primary, Wire};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufStream};
use words_world::Stream;

impl Primary {
    pub(super) async fn smtp_session(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut wire = BufStream::new(stream);
        self.reply(&mut wire, "220 primary.example ESMTP").await?;
        let mut recipients: Vec<String> = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            if wire.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let command = line.trim_end().to_ascii_uppercase();
            let verb = command.split_whitespace().next().unwrap_or_default();
            match verb {
                "EHLO" | "HELO" => {
                    let offers = "250-primary.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000";
                    self.reply(&mut wire, offers).await?;
                }
                "MAIL" | "RSET" => {
                    recipients.clear();
                    self.reply(&mut wire, "250 2.1.0 ok").await?;
                }
                "RCPT" => {
                    let answer = self.recipient(&line, &mut recipients);
                    self.reply(&mut wire, answer).await?;
                }
                "DATA" if recipients.is_empty() => self.reply(&mut wire, "554 5.5.1 nobody").await?,
                "DATA" => {
                    self.reply(&mut wire, "354 go on").await?;
                    let message = read_message(&mut wire).await?;
                    self.final_dot(&mut wire, message, &recipients).await?;
                    recipients.clear();
                }
                "QUIT" => return self.reply(&mut wire, "221 2.0.0 bye").await,
                _ => self.reply(&mut wire, "250 2.0.0 ok").await?,
            }
        }
    }

    async fn reply(&self, wire: &mut Wire, text: &str) -> io::Result<()> {
        self.say(Port::Smtp, wire, format!("{text}\r\n").as_bytes()).await
    }

    fn recipient(&self, line: &str, recipients: &mut Vec<String>) -> &'static str {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_ascii_lowercase();
        let inside = self.inside();
        if inside.smtp == Mood::Deferring {
            return "451 4.3.2 not now";
        }
        if inside.smtp == Mood::Quota && inside.store.accounts.keys().next() == Some(&address) {
            return "452 4.2.2 no room";
        }
        if !inside.store.accounts.contains_key(&address) {
            return "550 5.1.1 no such mailbox";
        }
        recipients.push(address);
        "250 2.1.5 ok"
    }

    async fn final_dot(&self, wire: &mut Wire, message: Vec<u8>, to: &[String]) -> io::Result<()> {
        let (done, answered) = self.chance(Port::Smtp).await;
        let marks = crate::judge::mark_of(&message).unwrap_or_default();
        if self.mood(Port::Smtp) == Mood::Refusing && self.dice.one_in(3) {
            self.note(format_args!("refuses {marks} for {to:?}"));
            for address in to {
                self.inside().refused.insert((address.clone(), marks.clone()));
            }
            return self.reply(wire, "554 5.7.1 it looks like spam").await;
        }
        self.note(format_args!("final dot of {marks} for {to:?}: stored {done}, answered {answered}"));
        if done {
            self.file_due();
            let message = Arc::new(message);
            let lazy = self.mood(Port::Smtp) == Mood::Lazy;
            for address in to {
                self.inside().taken.insert((address.clone(), marks.clone()));
                if lazy {
                    let due =
                        tokio::time::Instant::now() + Duration::from_millis(self.dice.range(500, 5_000));
                    self.inside().queue.push((due, address.clone(), message.clone()));
                } else {
                    self.inside().store.arrive(address, message.clone());
                }
            }
        }
        // Death between storing and answering: the window in which others deliver twice.
        tokio::time::sleep(Duration::from_micros(self.dice.range(10, 2_000))).await;
        if !answered {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.reply(wire, "250 2.0.0 stored").await
    }
}

async fn read_message(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if wire.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
