//! Whether mail gets out: by the smart host, or by port 25 to the internet.

use super::finding::Finding;
use super::patient::Patient;
use super::wire::{Tongue, talk};
use crate::configuration::{ServerPlace, TlsWanted};
use crate::init::outbound::{Outward, SMART_HOST, WELL_KNOWN, look as look_outward};
use std::net::SocketAddr;
use std::sync::Arc;
use words_world::Boxed;

/// Topic `outbound`.
pub(super) fn look(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let smart_host = patient.configuration.outbound.smart_host.as_ref();
        let Some(server) = smart_host else {
            let servers = WELL_KNOWN.map(str::to_owned);
            let seen = tokio::task::spawn_blocking(move || look_outward(&servers)).await;
            return vec![judge_port(seen.unwrap_or(Outward::Untried))];
        };
        let ServerPlace::Host(host, port) = &server.place else {
            return vec![Finding::unseen("smart host", "a local socket, which is not greeted")];
        };
        let answer = match patient.world.names.addresses(host).await.map(|found| found.first().copied()) {
            Ok(Some(ip)) => {
                let (at, implicit) = (SocketAddr::new(ip, *port), server.tls == TlsWanted::Implicit);
                let name = &patient.configuration.outbound.helo;
                talk(&patient.world, at, Tongue::Smtp, implicit, host, name)
                    .await
                    .map(|talked| talked.greeting)
            }
            Ok(None) => Err("it has no address".to_owned()),
            Err(why) => Err(why.to_string()),
        };
        vec![judge_smart_host(&format!("smart host {host}:{port}"), answer)]
    })
}

fn judge_port(seen: Outward) -> Finding {
    let about = "port 25 to the internet";
    match seen {
        Outward::Open(server) => Finding::ok(about, format!("open: {server} answered")),
        Outward::Untried => Finding::unseen(about, "nobody was tried"),
        Outward::Blocked(failed) => Finding::fail(about, format!("nobody answers: {}", failed.join("; ")))
            .today("what people send to other organisations waits here, and so do notices by mail")
            .mend(format!("ask the provider to open it, or use a smart host:\n{SMART_HOST}")),
    }
}

fn judge_smart_host(about: &str, answer: Result<String, String>) -> Finding {
    match answer {
        Ok(greeting) => Finding::ok(about, format!("greets: {greeting}")),
        Err(why) => Finding::fail(about, format!("does not answer: {why}"))
            .today("what people send to other organisations waits here, and so do notices by mail")
            .mend("is [outbound.smart_host] right, and does it let this machine in?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn mail_that_cannot_leave_is_a_fault() {
        for (seen, grade) in [
            (Outward::Open("mx.example:25".to_owned()), Grade::Ok),
            (Outward::Untried, Grade::Unseen),
            (Outward::Blocked(vec!["mx.example:25: refused".to_owned()]), Grade::Fail),
        ] {
            assert_eq!(judge_port(seen).grade, grade);
        }
        assert_eq!(judge_smart_host("x", Ok("hello".to_owned())).grade, Grade::Ok);
        let dead = judge_smart_host("x", Err("refused".to_owned()));
        assert!(dead.grade == Grade::Fail && dead.words.contains("refused"));
    }
}
