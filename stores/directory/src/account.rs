//! Accounts and domains as the directory keeps them.

use serde::{Deserialize, Serialize};
use words_mail::{AccountId, Address, PrimaryId, Tenant};

/// What kind of account it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// One person.
    #[default]
    Person,
    /// A person who runs the mail: the first one gets `postmaster` unless the domain says otherwise.
    Admin,
    /// A mailbox several people share.
    Shared,
    /// A room, a printer, a program.
    Device,
}

impl Class {
    /// Every class, with the word by which tables and files name it.
    pub const ALL: [(Class, &'static str); 4] = [
        (Class::Person, "person"),
        (Class::Admin, "admin"),
        (Class::Shared, "shared"),
        (Class::Device, "device"),
    ];

    /// The class of that name.
    pub fn parse(word: &str) -> Option<Class> {
        Class::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(class, _)| *class)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Class::ALL.iter().find(|(class, _)| *class == self).map_or("person", |(_, name)| name)
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an account came from, which decides who may take it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Listed in the configuration or a table it names; gone when it is listed no more.
    Configured,
    /// Added by a person with `account add` or `account import`; stays until a person removes it.
    Added,
}

/// One account with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The main address; in lower case it is the account's id.
    pub address: Address,
    /// The name to show, possibly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Further addresses of the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Address>,
    /// What kind of account it is.
    #[serde(default)]
    pub class: Class,
    /// Nobody may sign in; mail is still taken in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Where it came from.
    pub origin: Origin,
}

impl Account {
    /// The account's id: the main address in lower case.
    pub fn id(&self) -> AccountId {
        AccountId::new(&self.address.to_string())
    }

    /// The main address and the aliases.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.address).chain(&self.aliases)
    }
}

/// An account as a person or a table names it, before the directory has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// The main address.
    pub address: Address,
    /// The name to show, possibly empty.
    pub name: String,
    /// Further addresses.
    pub aliases: Vec<Address>,
    /// What kind of account it is.
    pub class: Class,
}

impl NewAccount {
    /// A person with one address and no name.
    pub fn new(address: Address) -> NewAccount {
        NewAccount { address, name: String::new(), aliases: Vec::new(), class: Class::Person }
    }
}

/// A domain that mail is taken in for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name in lower case.
    pub name: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// The mail system of record behind it; none means its mail lives here only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryId>,
    /// Whether the accounts known here are all there are, so that others are refused for good. Always so for a
    /// domain without a primary.
    pub authoritative: bool,
    /// The account that gets mail for addresses nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_all: Option<Address>,
    /// The account that gets `postmaster`; by default the first admin account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postmaster: Option<Address>,
}
