//! The whole of it, without a network.

use super::*;
use crate::configuration::Configuration;
use patient::Patient;
use records::fake::Facts;
use std::path::Path;

fn configuration(folder: &Path) -> Configuration {
    let text = "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[[domain]]\nname = \"example.org\"\n";
    Configuration::parse(&folder.join("stormpost.toml"), text.to_owned()).unwrap().0
}

async fn patient(folder: &Path, offline: bool) -> Patient {
    let met = Patient::meet(configuration(folder), offline).await;
    Patient { records: Arc::new(Facts::default()), ..met }
}

#[tokio::test]
async fn offline_nobody_is_asked_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let patient = Arc::new(patient(folder.path(), true).await);
    let all: Vec<&'static Topic> = TOPICS.iter().collect();
    let found = examine(&patient, &all, |_, _| {}).await;
    for topic in TOPICS.iter().filter(|topic| topic.needs == Needs::Others) {
        let of: Vec<&Finding> = found.iter().filter(|finding| finding.topic == topic.name).collect();
        assert_eq!(of.len(), 1, "{}", topic.name);
        assert_eq!((of[0].grade, of[0].words.as_str()), (Grade::Unseen, "not looked at: --offline"));
    }
    let topics: Vec<&str> = found.iter().map(|finding| finding.topic).collect();
    let mut sorted = topics.clone();
    sorted.sort_by_key(|name| TOPICS.iter().position(|topic| topic.name == *name));
    assert_eq!(topics, sorted, "told in the order of the list, whoever was ready first");
    let node = found.iter().find(|finding| finding.topic == "node").unwrap();
    assert_eq!(node.grade, Grade::Fail, "{node:?}");
    assert_eq!(exit_code(&found), code::FAILED);
}

#[tokio::test]
async fn a_domain_that_nobody_published_fails_in_every_topic_with_a_line_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let patient = Arc::new(patient(folder.path(), false).await);
    let wanted: Vec<&'static Topic> =
        TOPICS.iter().filter(|topic| ["mx", "spf", "dkim", "dmarc"].contains(&topic.name)).collect();
    let found = examine(&patient, &wanted, |_, _| {}).await;
    assert!(found.iter().any(|f| f.topic == "mx" && f.grade == Grade::Fail && f.mend.is_some()), "{found:?}");
    assert!(found.iter().any(|f| f.topic == "dmarc" && f.grade == Grade::Warn), "{found:?}");
    for finding in found.iter().filter(|finding| finding.grade >= Grade::Warn) {
        assert!(finding.today.is_some() && finding.mend.is_some(), "{finding:?}");
    }
}

#[test]
fn the_worst_finding_decides_the_exit_code() {
    for (grades, expected) in [
        (vec![Grade::Ok, Grade::Unseen], code::WELL),
        (vec![Grade::Warn, Grade::Ok], code::FOUND),
        (vec![Grade::Warn, Grade::Fail], code::FAILED),
        (vec![], code::WELL),
    ] {
        let findings: Vec<Finding> =
            grades.into_iter().map(|grade| Finding { grade, ..Finding::ok("x", "y") }).collect();
        assert_eq!(exit_code(&findings), expected);
    }
}

#[test]
fn topics_have_names_of_their_own() {
    let mut names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TOPICS.len());
    assert!(topic("nowhere").unwrap_err().contains("there are: files, node"));
}
