//! What is kept back: in nobody's mailbox until a person lets it out, and only that lets it out.

use super::*;

fn kept<'a>(to: &'a [&'a str], subject: &'a str) -> Mail<'a> {
    let action = serde_json::json!({"do": "quarantine", "reason": "virus (clamav): Eicar"});
    let verdict = serde_json::json!({"rules": 2, "action": action, "may_bounce": true});
    Mail { verdict: Some(verdict), ..mail(to, subject) }
}

fn listed(life: &Life) -> Vec<String> {
    let filter = Filter { standing: Some(Standing::Quarantined), ..Filter::default() };
    let page = life.view.list(&filter, None, 100);
    let recipients = page.queued.iter().flat_map(|queued| &queued.recipients);
    let mut listed: Vec<String> = recipients
        .map(|r| format!("{}: {}", r.address.local(), r.last.clone().unwrap_or_default()))
        .collect();
    listed.sort();
    listed
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_back_is_listed_and_in_nobodys_mailbox_until_it_is_released() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(kept(&["anna@x.example", "dora@home.example"], "virus")).await;
    life.settle_down(10 * SECOND).await;
    let both = ["anna: virus (clamav): Eicar", "dora: virus (clamav): Eicar"];
    assert_eq!(listed(&life), both);
    assert_eq!(life.view.counts().quarantined, 2);
    for person in ["anna@x.example", "dora@home.example"] {
        assert!(life.folders(person, trace).is_empty(), "{person}");
    }
    // Trying everything again, giving everything back: nothing of it reaches what is kept back.
    for act in [Act::Retry, Act::Bounce, Act::Redirect { to: address("bert@x.example") }] {
        life.act(act, None).await;
    }
    assert_eq!(listed(&life), both);
    assert!(house.office().stored().is_empty() && life.letters().is_empty());
    life.act(Act::Release, Some(trace)).await;
    life.settle_down(10 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna quarantined 0", "anna over 1"]);
    assert_eq!(life.folders("anna@x.example", trace), ["INBOX"]);
    assert_eq!(life.folders("dora@home.example", trace), ["INBOX"]);
    assert!(listed(&life).is_empty());
    life.stop().await;
    let life = house.live();
    life.settle_down(10 * SECOND).await;
    assert!(listed(&life).is_empty());
    assert_eq!(house.office().stored().len(), 1, "delivered once, whatever is read anew");
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_released_before_a_crash_is_delivered_after_it() {
    let mut house = House::new();
    let life = house.live();
    let trace = life.accept(kept(&["anna@x.example"], "virus")).await;
    life.settle_down(10 * SECOND).await;
    life.stop().await;
    let life = house.live();
    life.settle_down(10 * SECOND).await;
    assert_eq!(listed(&life), ["anna: virus (clamav): Eicar"], "a start changes nothing");
    life.pause(true).await;
    life.act(Act::Release, Some(trace)).await;
    life.kill().await;
    let life = house.live();
    life.pause(false).await;
    life.settle_down(60 * SECOND).await;
    assert_eq!(life.outcomes(trace), ["anna quarantined 0", "anna over 1"]);
    assert_eq!(life.folders("anna@x.example", trace), ["INBOX"]);
    assert_eq!(house.office().stored().len(), 1);
    life.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_back_is_deleted_by_a_person_or_by_its_age_and_nobody_is_told() {
    let mut house = House::new();
    house.change = |settings| settings.quarantine_age = Duration::from_secs(86_400);
    let life = house.live();
    let here = life.accept(kept(&["dora@home.example"], "one")).await;
    let old = life.accept(kept(&["anna@x.example"], "two")).await;
    life.settle_down(10 * SECOND).await;
    life.act(Act::Delete, Some(here)).await;
    assert_eq!(listed(&life), ["anna: virus (clamav): Eicar"]);
    sleep(90_000 * SECOND).await;
    assert!(listed(&life).is_empty());
    assert_eq!(life.outcomes(old), ["anna quarantined 0", "anna deleted 0"]);
    assert!(life.letters().is_empty() && house.office().stored().is_empty());
    assert!(life.folders("dora@home.example", here).is_empty());
    life.stop().await;
}
