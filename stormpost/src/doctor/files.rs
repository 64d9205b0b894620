//! What `stormpost check` finds, and how well the directory knows the people.

use super::finding::Finding;
use super::patient::Patient;
use crate::configuration::{Fault, Severity};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stores_directory::Coverage;
use words_world::Boxed;

/// A table of accounts that nobody touched for longer is a warning: people come and go.
const TABLE_OLD: Duration = Duration::from_secs(180 * 86_400);

/// Topic `files`.
pub(super) fn files(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let faults = crate::check::findings(&patient.configuration);
        let mut found: Vec<Finding> = faults.into_iter().map(of).collect();
        if found.is_empty() {
            found.push(Finding::ok("configuration and its files", "stormpost check finds nothing"));
        }
        found
    })
}

fn of(fault: Fault) -> Finding {
    let finding = match fault.severity {
        Severity::Error => Finding::fail("check", fault.words)
            .today("the node does not start so at its next restart, or is not safe to run"),
        Severity::Warning => Finding::warn("check", fault.words),
    };
    match fault.hint {
        Some(hint) => finding.mend(hint),
        None => finding,
    }
}

/// Topic `directory`.
pub(super) fn directory(patient: Arc<Patient>) -> Boxed<'static, Vec<Finding>> {
    Box::pin(async move {
        let mut found = Vec::new();
        for domain in &patient.configuration.domains {
            let Some(table) = &domain.table else { continue };
            let age = std::fs::metadata(table).and_then(|facts| facts.modified()).ok();
            let age = age.and_then(|changed| SystemTime::now().duration_since(changed).ok());
            found.extend(
                age.map(|age| judge_table(&table.display().to_string(), age, domain.domain.authoritative)),
            );
        }
        match &patient.node {
            Ok(status) => {
                found.push(judge_coverage(status.coverage, !patient.configuration.primaries.is_empty()))
            }
            Err(_) => found
                .push(Finding::unseen("coverage", "the node does not run, so nobody says who could sign in")),
        }
        found
    })
}

fn judge_table(table: &str, age: Duration, authoritative: bool) -> Finding {
    let about = format!("table of accounts {table}");
    let days = age.as_secs() / 86_400;
    let words = format!("last changed {days} days ago");
    if age <= TABLE_OLD {
        return Finding::ok(about, words);
    }
    Finding::warn(about, words)
        .today(match authoritative {
            true => "who came since then gets no mail: it is refused for good (550)",
            false => "who came since then gets mail while the primary can be asked, and has no mailbox here",
        })
        .mend("export it from your directory again; when it is as it should be: touch it")
}

fn judge_coverage(coverage: Coverage, has_primary: bool) -> Finding {
    let about = "people who could sign in here now";
    let words = format!("{} of {}", coverage.able, coverage.accounts);
    if !has_primary || coverage.able == coverage.accounts {
        return Finding::ok(about, words);
    }
    let mend = "let everybody sign in here once (their password is verified at the primary and remembered), or: stormpost account password";
    match coverage.able {
        0 => Finding::fail(about, words)
            .today("if the primary failed now, nobody could read or send")
            .mend(mend),
        _ => Finding::warn(about, words)
            .today("if the primary failed now, the others could neither read nor send")
            .mend(mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn an_old_table_and_people_without_a_sign_in_are_found() {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        assert_eq!(judge_table("t", days(10), true).grade, Grade::Ok);
        assert!(judge_table("t", days(200), true).today.unwrap().contains("550"));
        let coverage = |able, accounts| Coverage { able, accounts };
        for (coverage, has_primary, grade) in [
            (coverage(5, 5), true, Grade::Ok),
            (coverage(0, 5), false, Grade::Ok),
            (coverage(3, 5), true, Grade::Warn),
            (coverage(0, 5), true, Grade::Fail),
        ] {
            assert_eq!(judge_coverage(coverage, has_primary).grade, grade);
        }
    }
}
