//! The page `docs/failover.md`, written from the table.

use crate::{Condition, Settings, TABLE, switches};
use std::collections::BTreeSet;
use std::fmt::Write;
use words_mail::{OrderKind, Plane, State};

const STATES: [State; 5] = [State::Ready, State::Suspect, State::Active, State::Returning, State::Pinned];

fn kind_name(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::PauseDeliveries => "pause-deliveries",
        OrderKind::PauseReplay => "pause-replay",
        OrderKind::OutboundDirect => "outbound-direct",
        OrderKind::CapturedSignIn => "captured-sign-in",
        OrderKind::ExpandLists => "expand-lists",
        OrderKind::Bypass => "bypass",
    }
}

/// The text of `docs/failover.md`.
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    diagram(&mut page);
    transitions(&mut page);
    switched(&mut page);
    conditions(&mut page);
    settings(&mut page);
    page
}

/// Arrows of one pair of states share one label, or the diagram could not be read.
fn diagram(page: &mut String) {
    page.push_str("## The machine\n\n```mermaid\nstateDiagram-v2\n    [*] --> READY\n");
    for from in STATES {
        for to in STATES {
            let labels: BTreeSet<Condition> = TABLE
                .iter()
                .filter(|row| row.from == from && row.to == to && from != to)
                .flat_map(|row| row.when)
                .copied()
                .collect();
            if !labels.is_empty() {
                let names: Vec<&str> = labels.iter().map(|c| c.name()).collect();
                let _ = writeln!(page, "    {from} --> {to}: {}", names.join(" / "));
            }
        }
    }
    page.push_str("```\n\n");
}

fn transitions(page: &mut String) {
    page.push_str("## Every row\n\n| state | condition | next | order | reason, as it is logged |\n|---|---|---|---|---|\n");
    for row in TABLE {
        let names: Vec<&str> = row.when.iter().map(|c| c.name()).collect();
        let (next, order) = match (row.from == row.to, row.tell) {
            (false, _) => (row.to.to_string(), "yes"),
            (true, true) => ("stays".to_owned(), "once, to say so"),
            (true, false) => ("stays".to_owned(), "–"),
        };
        let _ =
            writeln!(page, "| {} | {} | {next} | {order} | {} |", row.from, names.join(", "), row.comment);
    }
}

fn switched(page: &mut String) {
    page.push_str("\n## What a state switches on\n\n| plane |");
    for state in STATES {
        let _ = write!(page, " {state} |");
    }
    page.push_str("\n|---|---|---|---|---|---|\n");
    for plane in Plane::ALL {
        let _ = write!(page, "| {plane} |");
        for state in STATES {
            let cell = match switches(plane, state) {
                None => "as it was".to_owned(),
                Some([]) => "–".to_owned(),
                Some(kinds) => kinds.iter().map(|k| kind_name(*k)).collect::<Vec<_>>().join(", "),
            };
            let _ = write!(page, " {cell} |");
        }
        page.push('\n');
    }
    page.push_str(
        "\nAn order names only what changes. `expand-lists` and `bypass` are never switched by the watch.\n",
    );
}

fn conditions(page: &mut String) {
    page.push_str(
        "\n## Conditions, in order of rank\n\nExactly one holds at a time: the first that applies.\n\n",
    );
    for condition in Condition::ALL {
        let _ = writeln!(page, "- **{}**: {}", condition.name(), meaning(condition));
    }
}

fn meaning(condition: Condition) -> &'static str {
    match condition {
        Condition::PinAsked => "a person pins the present state, for good or until a moment.",
        Condition::UnpinnedDown => "a person ends the pin, or its end is reached, and the plane reads down.",
        Condition::Unpinned => "the same, and the plane reads anything else.",
        Condition::FailoverAsked => {
            "a person opens an event. If the primary was not in doubt, only a person ends it again."
        }
        Condition::FailbackAskedDown => {
            "a person says that the primary is well again, and probes or canaries read down. Real mail is not asked: while \
             deliveries wait it cannot take back what it said, so a person's word sets that aside. \
             An event that only a person ends has to be asked to end again, once it answers."
        }
        Condition::FailbackAsked => "the same, and they do not.",
        Condition::DownLong => {
            "in doubt, down for the whole dwell, mode `automatic`, no announced maintenance."
        }
        Condition::PersonNeeded => {
            "the same in the modes `confirm` and `manual`, also for what is unsteady for long; told once."
        }
        Condition::Unsteady => {
            "in doubt for `unsteady`, neither well for long enough nor down for the dwell."
        }
        Condition::Down => "the evidence reads down.",
        Condition::GivenBack => {
            "returning, reads up (or a person vouches for it and it does not read down), nothing is owed any more, \
             and the reconciliation is clean."
        }
        Condition::GivenBackListed => {
            "the same, but the reconciliation lists what a person must look at: what was lost, doubled, set aside, expired, \
             removed, handed over and not found, or still waits although nothing came of it for the patience of the \
             reconciliation. The order and the notice name the counts, `stormpost event show` ends with exit code 4, and \
             `stormpost reconcile` compares again at any time."
        }
        Condition::UpLong => {
            "reads up for `clear` (in doubt) or `return_dwell` (in an event); each relapse doubles it, up to its \
             maximum."
        }
        Condition::Up => "reads up.",
        Condition::Doubt => {
            "one failed probe or canary that nothing has confirmed, or vantages that disagree."
        }
        Condition::Unmeasured => "nothing fresh is known. It opens nothing and closes nothing.",
    }
}

fn settings(page: &mut String) {
    let s = Settings::default();
    page.push_str("\n## Defaults\n\n| setting | seconds |\n|---|---|\n");
    for (name, value) in [
        ("dwell", s.dwell),
        ("return_dwell", s.return_dwell),
        ("return_dwell_max", s.return_dwell_max),
        ("clear", s.clear),
        ("clear_max", s.clear_max),
        ("unsteady", s.unsteady),
        ("probe_every", s.probe_every),
        ("canary_stale", s.canary_stale),
        ("live_window", s.live_window),
    ] {
        let _ = writeln!(page, "| {name} | {} |", value.as_secs());
    }
}

const INTRODUCTION: &str = "\
# When an outage begins, and when it is over

<!-- Generated from rules/failover; do not edit. To renew it: UPDATE_DOCS=1 cargo test -p rules-failover -->

Each plane of each primary (inbound, outbound, access, sign-in, names) has a machine of its own; so has each set of
accounts for which a person opened an event of their own. A machine is in one of five states:

- **READY**: all is well.
- **SUSPECT**: in doubt. Mail for the primary waits here; nobody is told, because most doubts end by themselves.
- **ACTIVE**: down. An event is open, people are told, we carry the mail.
- **RETURNING**: well again. What was kept is being given back.
- **PINNED**: fixed by a person, whatever is observed, until a person or the end that was set.

A continuity event opens with the first order to ACTIVE or PINNED and closes when no machine of the primary is in an
event any more. A doubt that ends in READY is no event and sends no notice.

## How evidence is read

Three kinds of evidence are independent of each other: *live* traffic, *probes*, and *canary* messages.

- A probe or a canary changes its word when it says the same twice in a row. A failed probe asks again at once. A
  failed dialogue of real mail and a failed probe within ten seconds confirm each other.
- Real mail says down when at least three of its latest dialogues, and at least half of them, failed within
  `live_window`. Failures that are about one account, and refusals of one message, do not count.
- A probe whose recipient is refused for good, though it was taken before in this run of the program, says down: a mail
  system that was set up wrongly refuses everybody. Delivery keeps what is refused to people with an account here
  until the primary has taken mail for somebody else since, and asks again (three times before it believes that). What is
  refused because of this mailbox or this message (5.2.x, 5.6.x, 5.3.4) is believed at once.
- One kind that says down is enough: half outages are the common case. While deliveries wait, real mail cannot say
  that all is well again, so two good probes after its last failure set that failure aside; when real mail has failed
  three times like this while probes were content, probes are blind to what is wrong, and no longer overrule it.
- Each vantage has one vote; more than half of those that have fresh evidence must agree.
- What is stale says nothing: silence is never health.

Dwells are measured with a clock that does not jump.

";
