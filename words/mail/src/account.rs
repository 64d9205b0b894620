//! Whose mail it is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One person's (or shared) mail. Written as its main address in lower case, which is also how people sign in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(String);

impl AccountId {
    /// The account named by `address`; letter case does not tell accounts apart.
    pub fn new(address: &str) -> AccountId {
        AccountId(address.trim().to_lowercase())
    }

    /// The account's main address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An organisation served by this Stormpost, with its own domains, accounts, limits and notices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(pub String);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
