//! LIST, plain and extended (RFC 5258, RFC 5819, RFC 6154), and LSUB.

use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use stores_mailbox::{Folder, MailboxError, SEPARATOR, SpecialUse, is_below};
use words_imap::{List, ListKind, ListReturn, matches_pattern};

/// A name in the tree: a folder, or only the way to one.
#[derive(Default)]
struct Node {
    exists: bool,
    special: Option<SpecialUse>,
    subscribed: bool,
}

/// The tree of an account's names.
struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    fn of(folders: Vec<Folder>, subscriptions: Vec<String>) -> Tree {
        let mut nodes = BTreeMap::<String, Node>::new();
        for folder in folders {
            for above in above(&folder.name) {
                nodes.entry(above.to_owned()).or_default();
            }
            let node = nodes.entry(folder.name).or_default();
            node.exists = true;
            node.special = folder.special;
        }
        for name in subscriptions {
            for above in above(&name) {
                nodes.entry(above.to_owned()).or_default();
            }
            nodes.entry(name).or_default().subscribed = true;
        }
        Tree { nodes }
    }

    /// All names below `name`.
    fn below<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let first = format!("{name}{SEPARATOR}");
        self.nodes
            .range(first..)
            .take_while(move |(below, _)| is_below(below, name))
            .map(|(below, node)| (below.as_str(), node))
    }
}

/// The names above a name, from the outermost.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(SEPARATOR).map(|(at, _)| &name[..at])
}

impl Session {
    fn names(&self) -> Result<Tree, MailboxError> {
        let account = self.account();
        Ok(Tree::of(self.mailboxes().folders(&account)?, self.mailboxes().subscriptions(&account)?))
    }

    pub(crate) async fn list(&mut self, tag: String, list: List) -> io::Result<()> {
        // RFC 3501 §6.3.8: an empty pattern asks for the separator.
        if list.patterns.iter().all(String::is_empty) && !list.patterns.is_empty() {
            self.out.list(ListKind::List, &["\\Noselect"], Some(SEPARATOR), "", &[]);
            return self.done(&tag, None, "done", true).await;
        }
        let tree = match self.names() {
            Ok(tree) => tree,
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        let plain = list.returns.is_none() && !list.subscribed && !list.special_use && !list.recursive_match;
        let returns = list.returns.clone().unwrap_or(ListReturn {
            children: true,
            special_use: true,
            ..ListReturn::default()
        });
        for (name, node) in &tree.nodes {
            if !is_asked_for(&list, name) {
                continue;
            }
            let is_selected = selects(&list, node)
                && (node.exists || list.subscribed || tree.below(name).any(|(_, below)| below.exists));
            // RFC 5258 §3.5: a parent that was not selected is told because of a child that is not told itself.
            let has_selected =
                list.recursive_match && tree.below(name).any(|(_, below)| selects(&list, below));
            let stands_for = || {
                has_selected
                    && tree
                        .below(name)
                        .any(|(name, below)| selects(&list, below) && !is_asked_for(&list, name))
            };
            if !is_selected && !stands_for() {
                continue;
            }
            let attributes = attributes(&tree, name, node, &returns, list.subscribed, plain);
            let selections =
                [list.subscribed.then_some("SUBSCRIBED"), list.special_use.then_some("SPECIAL-USE")];
            let child_info: Vec<&str> = selections.into_iter().flatten().filter(|_| has_selected).collect();
            self.out.list(ListKind::List, &attributes, Some(SEPARATOR), name, &child_info);
            if let Some(items) = returns.status.as_ref().filter(|_| node.exists) {
                // A folder removed in this moment has no status.
                let _ = self.tell_status(name, items);
            }
            self.flush_if_full().await?;
        }
        self.done(&tag, None, "done", true).await
    }

    pub(crate) async fn lsub(&mut self, tag: String, reference: String, pattern: String) -> io::Result<()> {
        let tree = match self.names() {
            Ok(tree) => tree,
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        let pattern = format!("{reference}{pattern}");
        let subscribed = tree.nodes.iter().filter(|(_, node)| node.subscribed).map(|(name, _)| name.as_str());
        let mut told = BTreeMap::new();
        let mut ways = BTreeSet::new();
        for name in subscribed {
            if matches_pattern(&pattern, name, SEPARATOR) {
                told.insert(name, true);
            } else if pattern.ends_with('%') {
                // RFC 3501 §6.3.9: what % cuts off is shown as the way to it.
                ways.extend(above(name).filter(|above| matches_pattern(&pattern, above, SEPARATOR)));
            }
        }
        for way in ways {
            told.entry(way).or_insert(false);
        }
        for (name, is_folder) in told {
            let attributes: &[&str] = if is_folder { &[] } else { &["\\Noselect"] };
            self.out.list(ListKind::Lsub, attributes, Some(SEPARATOR), name, &[]);
            self.flush_if_full().await?;
        }
        self.done(&tag, None, "done", true).await
    }
}

/// Whether one of the patterns means this name.
fn is_asked_for(list: &List, name: &str) -> bool {
    let reference = &list.reference;
    list.patterns.iter().any(|pattern| matches_pattern(&format!("{reference}{pattern}"), name, SEPARATOR))
}

/// Whether the selections of a LIST take this name.
fn selects(list: &List, node: &Node) -> bool {
    (!list.subscribed || node.subscribed) && (!list.special_use || node.special.is_some())
}

fn attributes(
    tree: &Tree,
    name: &str,
    node: &Node,
    returns: &ListReturn,
    by_subscription: bool,
    plain: bool,
) -> Vec<&'static str> {
    let mut words = Vec::new();
    if !node.exists {
        words.push(if plain { "\\Noselect" } else { "\\NonExistent" });
    }
    if returns.children {
        let has = tree.below(name).any(|(_, below)| below.exists);
        words.push(if has { "\\HasChildren" } else { "\\HasNoChildren" });
    }
    if node.subscribed && (returns.subscribed || by_subscription) {
        words.push("\\Subscribed");
    }
    if let Some(special) = node.special.filter(|_| returns.special_use) {
        words.push(special.attribute());
    }
    words
}
