//! From messages to conversations (RFC 5256 §3): pure, without recursion, in memory that grows with the messages only.

use std::collections::HashMap;
use std::io::Write;

/// Referred messages that nobody has are kept apart up to this many for each message there is; it bounds the memory.
const UNSEEN_PER_MESSAGE: usize = 8;

/// How far up a chain of answers is walked in search of a loop; what is longer is not linked further.
const DEPTH_MAX: usize = 10_000;

/// What threading must know of a message. Texts arrive as hashes, so that a hostile header costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threadable {
    /// Its number or UID, as the answer shall name it.
    pub number: u32,
    /// When it was sent, in seconds; when it arrived if nobody knows.
    pub date: i64,
    /// The base subject; `None` when it is empty.
    pub subject: Option<u64>,
    /// The subject says that it answers or forwards another.
    pub answers: bool,
    /// Its Message-ID.
    pub id: Option<u64>,
    /// The Message-IDs it refers to, the oldest first (RFC 5256 §3, step 1).
    pub references: Vec<u64>,
}

/// A message, or the place of one that nobody has, and what answers it.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Which of the messages.
    message: Option<usize>,
    children: Vec<usize>,
}

/// Conversations, in order.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    numbers: Vec<Option<u32>>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Threads {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// As `thread-list`s of RFC 5256 §5. Chains can be as long as the mailbox, so nothing here recurses.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        enum Step {
            Open(usize),
            Close,
        }
        let mut steps: Vec<Step> = self.roots.iter().rev().map(|root| Step::Open(*root)).collect();
        while let Some(step) = steps.pop() {
            let Step::Open(mut node) = step else {
                out.push(b')');
                continue;
            };
            out.push(b'(');
            let mut first = true;
            loop {
                if let Some(number) = self.numbers[node] {
                    // Writing to a Vec cannot fail.
                    let _ = write!(out, "{}{number}", if first { "" } else { " " });
                    first = false;
                }
                match self.children[node].as_slice() {
                    [] => {
                        out.push(b')');
                        break;
                    }
                    [only] => node = *only,
                    many => {
                        if !first {
                            out.push(b' ');
                        }
                        steps.push(Step::Close);
                        steps.extend(many.iter().rev().map(|child| Step::Open(*child)));
                        break;
                    }
                }
            }
        }
    }
}

/// ORDEREDSUBJECT: messages with the same base subject are one conversation, in the order they were sent; all others
/// answer the first.
pub fn by_subject(messages: &[Threadable]) -> Threads {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|at| (messages[*at].date, messages[*at].number));
    let mut threads = Threads {
        numbers: messages.iter().map(|m| Some(m.number)).collect(),
        children: vec![Vec::new(); messages.len()],
        roots: Vec::new(),
    };
    // In the order of dates, so that conversations stand in the order of their first messages.
    let mut first: HashMap<Option<u64>, usize> = HashMap::new();
    for at in order {
        match first.get(&messages[at].subject) {
            Some(root) => threads.children[*root].push(at),
            None => {
                first.insert(messages[at].subject, at);
                threads.roots.push(at);
            }
        }
    }
    threads
}

/// REFERENCES: who answers whom, then conversations with the same base subject together.
pub fn by_references(messages: &[Threadable]) -> Threads {
    let (mut nodes, roots) = linked(messages);
    let roots = pruned(&mut nodes, roots);
    let mut forest = Forest { messages, nodes };
    let roots = forest.ordered(roots);
    let mut roots = forest.gathered(roots);
    forest.sort_below(&roots);
    roots.sort_by_key(|root| forest.moment(*root));
    Threads {
        numbers: forest.nodes.iter().map(|n| n.message.map(|at| messages[at].number)).collect(),
        children: forest.nodes.into_iter().map(|n| n.children).collect(),
        roots,
    }
}

/// Steps 1 and 2: every message below the last it refers to.
fn linked(messages: &[Threadable]) -> (Vec<Node>, Vec<usize>) {
    let mut parents: Vec<Option<usize>> = vec![None; messages.len()];
    let mut below: Vec<u32> = vec![0; messages.len()];
    let mut by_id: HashMap<u64, usize> = HashMap::new();
    for (at, message) in messages.iter().enumerate() {
        // Of two with one id the first has it (RFC 5256 §3, step 1).
        if let Some(id) = message.id {
            by_id.entry(id).or_insert(at);
        }
    }
    let most = messages.len().saturating_mul(1 + UNSEEN_PER_MESSAGE);
    for (at, message) in messages.iter().enumerate() {
        let mut before = None;
        for id in &message.references {
            let place = match by_id.get(id) {
                Some(place) => *place,
                None if parents.len() < most => {
                    parents.push(None);
                    below.push(0);
                    by_id.insert(*id, parents.len() - 1);
                    parents.len() - 1
                }
                None => continue,
            };
            if let Some(before) = before
                && parents[place].is_none()
                && place != at
                && !is_above(&parents, &below, place, before)
            {
                parents[place] = Some(before);
                below[before] += 1;
            }
            before = Some(place);
        }
        // What others said about its place was from references cut short: its own count.
        if let Some(old) = parents[at].take() {
            below[old] -= 1;
        }
        if let Some(before) = before
            && !is_above(&parents, &below, at, before)
        {
            parents[at] = Some(before);
            below[before] += 1;
        }
    }
    let mut nodes: Vec<Node> = (0..parents.len())
        .map(|at| Node { message: (at < messages.len()).then_some(at), children: Vec::new() })
        .collect();
    let mut roots = Vec::new();
    for (at, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => nodes[*parent].children.push(at),
            None => roots.push(at),
        }
    }
    (nodes, roots)
}

/// Whether `place` is `under` or above it. What has nothing below it is above nothing.
fn is_above(parents: &[Option<usize>], below: &[u32], place: usize, under: usize) -> bool {
    if place == under {
        return true;
    }
    if below[place] == 0 {
        return false;
    }
    let mut next = parents[under];
    for _ in 0..DEPTH_MAX {
        match next {
            None => return false,
            Some(above) if above == place => return true,
            Some(above) => next = parents[above],
        }
    }
    true
}

/// Nodes from the roots on, each after what it is below.
fn from_above(nodes: &[Node], roots: &[usize]) -> Vec<usize> {
    let mut order = roots.to_vec();
    let mut at = 0;
    while let Some(node) = order.get(at) {
        order.extend_from_slice(&nodes[*node].children);
        at += 1;
    }
    order
}

/// Step 3: places of messages that nobody has go, and what is below them moves up; at the top one stays that holds
/// several together.
fn pruned(nodes: &mut [Node], roots: Vec<usize>) -> Vec<usize> {
    for node in from_above(nodes, &roots).into_iter().rev() {
        let before = std::mem::take(&mut nodes[node].children);
        for child in before {
            if nodes[child].message.is_some() {
                nodes[node].children.push(child);
            } else {
                let up = std::mem::take(&mut nodes[child].children);
                nodes[node].children.extend(up);
            }
        }
    }
    let mut kept = Vec::with_capacity(roots.len());
    for root in roots {
        match (nodes[root].message, nodes[root].children.as_slice()) {
            (None, []) => {}
            (None, [only]) => kept.push(*only),
            _ => kept.push(root),
        }
    }
    kept
}

struct Forest<'a> {
    messages: &'a [Threadable],
    nodes: Vec<Node>,
}

impl Forest<'_> {
    /// The message that speaks for a node: its own, or the first below an empty place, which stands at the top only.
    fn speaker(&self, node: usize) -> Option<&Threadable> {
        let node = &self.nodes[node];
        let at = node.message.or_else(|| self.nodes[*node.children.first()?].message);
        at.map(|at| &self.messages[at])
    }

    /// By what siblings are put in order.
    fn moment(&self, node: usize) -> (i64, u32) {
        self.speaker(node).map_or((0, 0), |message| (message.date, message.number))
    }

    fn sort_children(&mut self, node: usize) {
        let mut children = std::mem::take(&mut self.nodes[node].children);
        children.sort_by_key(|child| self.moment(*child));
        self.nodes[node].children = children;
    }

    /// Step 4: the top in the order of dates.
    fn ordered(&mut self, mut roots: Vec<usize>) -> Vec<usize> {
        for root in &roots {
            if self.nodes[*root].message.is_none() {
                self.sort_children(*root);
            }
        }
        roots.sort_by_key(|root| self.moment(*root));
        roots
    }

    /// Step 5: conversations about the same subject become one.
    fn gathered(&mut self, roots: Vec<usize>) -> Vec<usize> {
        let mut table: HashMap<u64, usize> = HashMap::new();
        for root in &roots {
            let Some(subject) = self.speaker(*root).and_then(|m| m.subject) else { continue };
            let known = *table.entry(subject).or_insert(*root);
            let (known_is_empty, is_empty) = (self.is_empty(known), self.is_empty(*root));
            if !known_is_empty && (is_empty || self.answers(known) && !self.answers(*root)) {
                table.insert(subject, *root);
            }
        }
        let mut gone = vec![false; self.nodes.len()];
        let mut made = Vec::new();
        for root in &roots {
            let Some(subject) = self.speaker(*root).and_then(|m| m.subject) else { continue };
            let Some(known) = table.get(&subject).copied().filter(|known| known != root) else { continue };
            gone[*root] = true;
            if self.is_empty(known) && self.is_empty(*root) {
                let children = std::mem::take(&mut self.nodes[*root].children);
                self.nodes[known].children.extend(children);
            } else if self.is_empty(known) || self.answers(*root) && !self.answers(known) {
                self.nodes[known].children.push(*root);
            } else {
                self.nodes.push(Node { message: None, children: vec![known, *root] });
                gone[known] = true;
                gone.push(false);
                made.push(self.nodes.len() - 1);
                table.insert(subject, self.nodes.len() - 1);
            }
        }
        roots.into_iter().chain(made).filter(|root| !gone[*root]).collect()
    }

    fn is_empty(&self, node: usize) -> bool {
        self.nodes[node].message.is_none()
    }

    fn answers(&self, node: usize) -> bool {
        self.speaker(node).is_some_and(|message| message.answers)
    }

    /// Step 6: siblings in the order of dates, everywhere.
    fn sort_below(&mut self, roots: &[usize]) {
        for node in from_above(&self.nodes, roots).into_iter().rev() {
            self.sort_children(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `number`, base subject, does it answer, id, references.
    fn message(number: u32, subject: u64, answers: bool, references: &[u64]) -> Threadable {
        Threadable {
            number,
            date: i64::from(number) * 10,
            subject: Some(subject).filter(|s| *s > 0),
            answers,
            id: Some(u64::from(number) + 100),
            references: references.to_vec(),
        }
    }

    fn written(threads: &Threads) -> String {
        let mut out = Vec::new();
        threads.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn references(messages: &[Threadable]) -> String {
        written(&by_references(messages))
    }

    #[test]
    fn subjects_make_conversations_without_grandchildren() {
        let mut late = message(1, 7, false, &[]);
        late.date = 1_000;
        let messages = [
            late,
            message(2, 7, true, &[]),
            message(3, 8, false, &[]),
            message(4, 7, true, &[]),
            message(5, 8, true, &[]),
        ];
        assert_eq!(written(&by_subject(&messages)), "(2 (4)(1))(3 5)");
        assert_eq!(written(&by_subject(&[])), "");
    }

    #[test]
    fn answers_stand_below_what_they_answer() {
        // A chain, a branch, and one that refers to a message nobody has.
        let chain =
            [message(1, 1, false, &[]), message(2, 1, true, &[101]), message(3, 1, true, &[101, 102])];
        assert_eq!(references(&chain), "(1 2 3)");
        let branch = [message(1, 1, false, &[]), message(2, 1, true, &[101]), message(3, 1, true, &[101])];
        assert_eq!(references(&branch), "(1 (2)(3))");
        let orphan = [message(2, 1, true, &[101])];
        assert_eq!(references(&orphan), "(2)");
        // Two that answer the same missing message stay together without it.
        let pair = [message(2, 1, true, &[101]), message(3, 2, true, &[101])];
        assert_eq!(references(&pair), "((2)(3))");
        // A missing one in the middle: what is below it moves up.
        let gap =
            [message(1, 1, false, &[]), message(3, 1, true, &[101, 102]), message(4, 1, true, &[101, 102])];
        assert_eq!(references(&gap), "(1 (3)(4))");
    }

    #[test]
    fn the_same_subject_brings_conversations_together() {
        for (messages, expected) in [
            // An answer without references goes below what it answers.
            (vec![message(1, 1, false, &[]), message(2, 1, true, &[])], "(1 2)"),
            // Also when it came first.
            (vec![message(1, 1, true, &[]), message(2, 1, false, &[])], "(2 1)"),
            // Two that answer nothing, or two answers, are beside each other.
            (vec![message(1, 1, false, &[]), message(2, 1, false, &[])], "((1)(2))"),
            (
                vec![message(1, 1, true, &[]), message(2, 1, true, &[]), message(3, 1, true, &[])],
                "((1)(2)(3))",
            ),
            // An empty subject brings nothing together.
            (vec![message(1, 0, false, &[]), message(2, 0, true, &[])], "(1)(2)"),
            // Into a place that is kept for a missing message.
            (
                vec![message(1, 1, true, &[500]), message(2, 1, true, &[500]), message(3, 1, false, &[])],
                "((1)(2)(3))",
            ),
            // Two such places become one.
            (
                vec![
                    message(1, 1, true, &[500]),
                    message(2, 1, true, &[500]),
                    message(3, 1, true, &[501]),
                    message(4, 1, true, &[501]),
                ],
                "((1)(2)(3)(4))",
            ),
        ] {
            assert_eq!(references(&messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn loops_and_twins_end_no_world() {
        assert_eq!(references(&[message(1, 0, false, &[101])]), "(1)");
        assert_eq!(references(&[message(1, 0, false, &[102]), message(2, 0, false, &[101])]), "(2 1)");
        let twins = [message(1, 0, false, &[]), Threadable { id: Some(101), ..message(2, 0, false, &[]) }];
        assert_eq!(references(&twins), "(1)(2)");
        assert_eq!(references(&[message(1, 0, false, &[7, 8, 7, 9, 8])]), "(1)");
        // A chain as long as a mailbox.
        let long: Vec<_> = (1..=50_000)
            .map(|n| message(n, 0, false, &[u64::from(n) + 99].map(|id| if n == 1 { 1 } else { id })))
            .collect();
        let text = references(&long);
        assert!(text.starts_with("(1 2 3 4 ") && text.ends_with(" 50000)") && text.matches('(').count() == 1);
    }

    fn some() -> impl Strategy<Value = Vec<Threadable>> {
        let one = (
            -5i64..5,
            prop::option::of(1u64..4),
            any::<bool>(),
            prop::option::of(1u64..12),
            prop::collection::vec(1u64..12, 0..5),
        );
        prop::collection::vec(one, 0..25).prop_map(|all| {
            let number = |(at, (date, subject, answers, id, references))| Threadable {
                number: at,
                date,
                subject,
                answers,
                id,
                references,
            };
            (1..).zip(all).map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn every_message_is_in_one_conversation_once(messages in some()) {
            for threads in [by_references(&messages), by_subject(&messages)] {
                let text = written(&threads);
                let mut found: Vec<u32> =
                    text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
                found.sort_unstable();
                prop_assert_eq!(found, messages.iter().map(|m| m.number).collect::<Vec<_>>());
                let mut depth = 0i32;
                for c in text.chars() {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    prop_assert!(depth >= 0);
                }
                prop_assert_eq!(depth, 0);
                prop_assert!(!text.contains("()") && !text.contains("( ") && !text.contains(" )"));
            }
        }
    }
}
