//! One immutable state of the directory, made for fast answers to `RCPT TO`.

use crate::account::{Account, Class, Domain};
use crate::learned::Learned;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use words_mail::{AccountId, Address, PrimaryId, Tenant, Time};

/// What the directory knows of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// An account: by its address, an alias, a plus-tag, the catch-all, or as postmaster.
    Account {
        /// Which account.
        account: AccountId,
        /// Whose it is.
        tenant: Tenant,
        /// The mail system of record behind the recipient's domain.
        primary: Option<PrimaryId>,
    },
    /// The primary itself said yes to this recipient before. Accepted and queued, shown to nobody.
    Learned {
        /// Whose it is.
        tenant: Tenant,
        /// The mail system that said so.
        primary: PrimaryId,
        /// When it said so; the epoch for a postmaster that every domain has.
        at: Time,
    },
    /// Surely nobody: `550 5.1.1`.
    Unknown {
        /// Whose domain it is.
        tenant: Tenant,
    },
    /// Nobody here knows: ask the primary, else `450 4.1.1`.
    CannotTell {
        /// Whose domain it is.
        tenant: Tenant,
        /// Whom to ask.
        primary: PrimaryId,
    },
    /// Not a domain of ours: relayed only for somebody who signed in.
    NotOurs,
}

/// Two things that cannot both be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address or domain it is about.
    pub subject: String,
    /// The account that stays without it, if it is about one.
    pub account: Option<AccountId>,
    /// What is wrong and what to do.
    pub words: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.words)
    }
}

#[derive(Debug)]
struct Place {
    domain: Domain,
    catch_all: Option<usize>,
    postmaster: Option<usize>,
}

/// An immutable state of the directory. Cheap to share; every look-up is a hash or two.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    accounts: Vec<Account>,
    by_address: HashMap<String, usize>,
    places: HashMap<String, Place>,
    first_domain: Option<String>,
    learned: Learned,
}

impl Snapshot {
    /// Builds the look-up tables. Of two accounts that claim one address the earlier keeps it; each such conflict
    /// is returned, and the caller decides whether it can be lived with.
    pub fn build(
        generation: u64,
        domains: &[Domain],
        accounts: Vec<Account>,
        learned: Learned,
    ) -> (Snapshot, Vec<Conflict>) {
        let mut conflicts = Vec::new();
        let mut places = HashMap::with_capacity(domains.len());
        for domain in domains {
            let mut domain = domain.clone();
            domain.name = domain.name.to_lowercase();
            // Without a primary there is nobody else to ask.
            domain.authoritative |= domain.primary.is_none();
            let name = spelled(&domain.name).into_owned();
            if places.contains_key(&name) {
                conflicts.push(conflict(&domain.name, None, "this domain is listed twice; keep one"));
                continue;
            }
            places.insert(name, Place { domain, catch_all: None, postmaster: None });
        }
        let by_address = index(&accounts, &places, &mut conflicts);
        let mut snapshot = Snapshot {
            generation,
            accounts,
            by_address,
            places,
            first_domain: domains.first().map(|d| d.name.to_lowercase()),
            learned,
        };
        for domain in domains {
            snapshot.appoint(&domain.name.to_lowercase(), &mut conflicts);
        }
        (snapshot, conflicts)
    }

    /// Finds out who gets postmaster's mail and everybody else's in one domain.
    fn appoint(&mut self, name: &str, conflicts: &mut Vec<Conflict>) {
        let Some(place) = self.place(name) else { return };
        let mut lookup = |wanted: &Option<Address>, what: &str| {
            let wanted = wanted.as_ref()?;
            let found = self.by_address.get(&*spelled(&wanted.key())).copied();
            if found.is_none() {
                let words =
                    format!("{what} goes to {wanted}, which is no account here; add it or name another");
                conflicts.push(conflict(name, None, &words));
            }
            found
        };
        let catch_all = lookup(&place.domain.catch_all, "catch_all");
        let postmaster = lookup(&place.domain.postmaster, "postmaster");
        let postmaster = postmaster.or_else(|| self.first_admin(&place.domain));
        if let Some(place) = self.places.get_mut(&*spelled(name)) {
            place.catch_all = catch_all;
            place.postmaster = postmaster;
        }
    }

    /// The first admin of the domain, else of its tenant. A domain whose mail lives here only must have somebody
    /// (RFC 5321 §4.5.1), so without an admin it is the first account of the tenant.
    fn first_admin(&self, domain: &Domain) -> Option<usize> {
        let of_tenant = |account: &Account| {
            self.place(account.address.domain()).is_some_and(|p| p.domain.tenant == domain.tenant)
        };
        let is_admin = |account: &Account| account.class == Class::Admin && of_tenant(account);
        let find = |wanted: &dyn Fn(&Account) -> bool| self.accounts.iter().position(wanted);
        find(&|a| is_admin(a) && spelled(a.address.domain()) == spelled(&domain.name))
            .or_else(|| find(&is_admin))
            .or_else(|| if domain.primary.is_none() { find(&of_tenant) } else { None })
    }

    /// What is known of a recipient. A bare `postmaster` is that of the first domain (RFC 5321 §4.5.1).
    pub fn resolve(&self, address: &Address) -> Resolved {
        let named = if address.domain().is_empty() {
            self.first_domain.as_deref().unwrap_or("")
        } else {
            address.domain()
        };
        let Some(place) = self.place(named) else { return Resolved::NotOurs };
        if let Some(index) = self.holder(address, place) {
            return Resolved::Account {
                account: self.accounts[index].id(),
                tenant: place.domain.tenant.clone(),
                primary: place.domain.primary.clone(),
            };
        }
        let tenant = place.domain.tenant.clone();
        let Some(primary) = place.domain.primary.clone() else { return Resolved::Unknown { tenant } };
        if is_postmaster(address) {
            // Nobody here has it, but the domain must: the primary's own rules decide who reads it.
            return Resolved::Learned { tenant, primary, at: Time(0) };
        }
        if place.domain.authoritative {
            return Resolved::Unknown { tenant };
        }
        match self.learned.find(address, &primary) {
            Some(at) => Resolved::Learned { tenant, primary, at },
            None => Resolved::CannotTell { tenant, primary },
        }
    }

    fn holder(&self, address: &Address, place: &Place) -> Option<usize> {
        let exact = |address: &Address| self.by_address.get(&*spelled(&address.key())).copied();
        exact(address)
            .or_else(|| address.without_tag().as_ref().and_then(exact))
            .or_else(|| if is_postmaster(address) { place.postmaster } else { None })
            .or(place.catch_all)
    }

    /// Whether an account may send with this address as sender or in `From:`: exactly the addresses whose mail it
    /// gets. A suspended account may send as nobody.
    pub fn may_send_as(&self, account: &AccountId, address: &Address) -> bool {
        let allowed = self.account(account).is_some_and(|a| !a.suspended);
        allowed
            && matches!(self.resolve(address), Resolved::Account { account: owner, .. } if owner == *account)
    }

    /// The account that signs in under this name: its main address or an alias, never a tag or the catch-all.
    pub fn login(&self, name: &str) -> Option<&Account> {
        let address = Address::parse(name.trim()).ok()?;
        self.by_address.get(&*spelled(&address.key())).map(|index| &self.accounts[*index])
    }

    /// One account.
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        let index = *self.by_address.get(&*spelled(id.as_str()))?;
        let account = &self.accounts[index];
        (account.id() == *id).then_some(account)
    }

    /// Every account, the configured ones first, each group in the order it was given.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// One domain of ours.
    pub fn domain(&self, name: &str) -> Option<&Domain> {
        self.place(&name.to_lowercase()).map(|place| &place.domain)
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(&*spelled(name))
    }

    /// Every domain of ours, in no particular order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.places.values().map(|place| &place.domain)
    }

    /// The mail system of record of an account.
    pub fn primary_of(&self, id: &AccountId) -> Option<&PrimaryId> {
        self.domain(self.account(id)?.address.domain())?.primary.as_ref()
    }

    /// The tenant of an account.
    pub fn tenant_of(&self, id: &AccountId) -> Option<&Tenant> {
        Some(&self.domain(self.account(id)?.address.domain())?.tenant)
    }

    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every domain has a primary, so that whatever comes in goes to one.
    pub fn lives_at_primaries(&self) -> bool {
        self.places.values().all(|place| place.domain.primary.is_some())
    }

    /// The recipients learned so far.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }
}

/// A domain, or a key with one, in the spelling of the DNS: `bücher.example` and `xn--bcher-kva.example` are one domain
/// (RFC 5890 §2.3.2.1), and mail programs write either.
fn spelled(name: &str) -> Cow<'_, str> {
    let (local, domain) = match name.rsplit_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, name),
    };
    if domain.is_ascii() {
        return Cow::Borrowed(name);
    }
    // What the DNS could not have is nobody's domain; it stays as it is and is not found.
    let Ok(domain) = idna::domain_to_ascii(domain) else { return Cow::Borrowed(name) };
    Cow::Owned(local.map_or_else(|| domain.clone(), |local| format!("{local}@{domain}")))
}

fn is_postmaster(address: &Address) -> bool {
    address.local().eq_ignore_ascii_case("postmaster")
}

fn conflict(subject: &str, account: Option<AccountId>, words: &str) -> Conflict {
    Conflict { subject: subject.to_owned(), account, words: words.to_owned() }
}

/// Puts every address under its key; main addresses first, so that an alias never takes one away.
fn index(
    accounts: &[Account],
    places: &HashMap<String, Place>,
    conflicts: &mut Vec<Conflict>,
) -> HashMap<String, usize> {
    let mut by_address: HashMap<String, usize> = HashMap::with_capacity(accounts.len() * 2);
    let mut claim = |address: &Address, index: usize, conflicts: &mut Vec<Conflict>| {
        let subject = address.to_string();
        let loser = &accounts[index];
        if !places.contains_key(&*spelled(address.domain())) {
            // An account added by a person outlives a domain taken out of the configuration, and comes back with it.
            let words =
                format!("its domain {} is not in the configuration; add a [[domain]]", address.domain());
            conflicts.push(conflict(&subject, Some(loser.id()), &words));
            return;
        }
        let key = spelled(&address.key()).into_owned();
        match by_address.get(&key) {
            None => {
                by_address.insert(key, index);
            }
            Some(holder) if *holder == index => {}
            Some(holder) => {
                let words = format!(
                    "this address already belongs to {}; take it from one of the two",
                    accounts[*holder].address
                );
                conflicts.push(conflict(&subject, Some(loser.id()), &words));
            }
        }
    };
    for (index, account) in accounts.iter().enumerate() {
        claim(&account.address, index, conflicts);
    }
    for (index, account) in accounts.iter().enumerate() {
        for alias in &account.aliases {
            claim(alias, index, conflicts);
        }
    }
    by_address
}
