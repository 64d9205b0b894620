//! The bounds of each road, out of `[limits]`.
//!
//! Every field is written out and none is left to a default: a new bound in a road does not compile until it has a name
//! in the configuration.

use super::Limits;
use crate::compose::sign_in::Bounds;
use roads_accept::AcceptLimits;
use roads_imap::ImapLimits;
use std::collections::BTreeMap;
use std::time::Duration;
use words_smtp::SessionLimits;

/// A message that is too big is read and thrown away up to this, so that its sender hears why.
const DISCARDED: u64 = 500 << 20;
/// A command before signing in has no reason to be longer.
const COMMAND_BEFORE_SIGN_IN: usize = 8 << 10;
/// The answer to a failed sign-in waits so long, and twice as long each time.
const FAILURE_DELAY: Duration = Duration::from_secs(2);
/// A client that connects must sign in within twice the time one sign-in may take.
const SIGN_INS: u32 = 2;

impl Limits {
    /// The bounds of the road in.
    pub fn accept(&self) -> AcceptLimits {
        AcceptLimits {
            connections: self.connections,
            people_connections: self.people_connections,
            local_connections: self.local_connections,
            connections_per_address: self.connections_per_address,
            messages_per_minute: self.messages_per_minute,
            recipients_per_account_hour: self.recipients_per_account_hour,
            receiving: self.receiving,
            body_memory: self.body_memory,
            sizes: BTreeMap::new(),
            spool: self.spool_size,
            header_octets: self.header_size,
            command_time: self.command_timeout,
            piece_time: self.data_timeout,
            message_time: self.message_timeout,
            handshake_time: self.handshake_timeout,
            write_time: self.write_timeout,
            authentication_time: self.authentication_timeout,
            sign_in_time: self.sign_in_timeout,
            sign_in_age: self.sign_in_age,
            call_out_time: self.callout_timeout,
            call_outs: self.callouts,
            call_outs_per_minute: self.callouts_per_minute,
            shutdown_time: self.shutdown_timeout,
            session: SessionLimits {
                line_octets: self.command_octets,
                recipients: self.recipients,
                size: self.message_size,
                discarded: DISCARDED.max(self.message_size),
                bad_commands: self.bad_commands,
                refused_recipients: self.refused_recipients,
                commands: self.commands,
                sign_ins: self.sign_in_failures_per_session,
            },
        }
    }

    /// The bounds of signing in at the primaries.
    pub fn sign_in(&self) -> Bounds {
        let questions = rules_signin::Limits {
            wrong_max: self.wrong_passwords,
            all_max: self.wrong_passwords_per_primary,
            quiet: self.wrong_passwords_quiet,
        };
        Bounds { questions, evidence_age: self.sign_in_age }
    }

    /// The bounds of the IMAP road.
    pub fn imap(&self) -> ImapLimits {
        ImapLimits {
            connections: self.imap_connections,
            connections_per_address: self.imap_connections_per_address,
            connections_per_account: self.imap_connections_per_account,
            failures_per_address: self.sign_in_failures_per_address,
            failures_per_connection: self.sign_in_failures_per_session,
            failure_delay: FAILURE_DELAY,
            sign_in_time: self.sign_in_timeout * SIGN_INS,
            handshake_time: self.handshake_timeout,
            idle_time: self.imap_idle,
            piece_time: self.imap_data_timeout,
            write_time: self.imap_data_timeout,
            shutdown_time: self.shutdown_timeout.min(Duration::from_secs(5)),
            command_before_sign_in: COMMAND_BEFORE_SIGN_IN,
            command: self.imap_command_size,
            message: self.message_size,
            messages_per_append: self.imap_append_messages,
            account_bytes: None,
            account_messages: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use std::path::Path;

    #[test]
    fn without_a_word_in_the_file_the_roads_have_their_own_defaults() {
        let text = "[node]\nname = \"mx.example.org\"\n[[domain]]\nname = \"example.org\"\n";
        let (configuration, _) = Configuration::parse(Path::new("x.toml"), text.to_owned()).unwrap();
        let limits = configuration.limits;
        let ours = limits.accept();
        let mut theirs = AcceptLimits::default();
        // One bound for all roads, and it is not SMTP's own.
        theirs.session.size = limits.message_size;
        assert_eq!(ours, theirs);
        assert_eq!(limits.imap(), ImapLimits::default());
    }
}
