//! Leases and locks. One that has expired may still be believed in by who held it: what it guards
//! must refuse a token lower than the highest it has seen (Kleppmann 2016, "How to do distributed
//! locking").

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_LEASES;

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub holder: String,
    /// Its fencing token.
    pub token: u64,
    /// When it ends unless it is renewed, in the group's time, in milliseconds.
    pub expires_ms: u64,
}

/// Leases that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leases {
    /// By name.
    pub held: Arc<BTreeMap<String, Lease>>,
    /// The greatest token that was given.
    pub last_token: u64,
}

/// Why a lease is not given.
pub(crate) enum Ungranted {
    /// It is held so.
    Held(Lease),
    /// There are too many.
    Full,
}

impl Leases {
    pub(crate) fn acquire(
        &mut self,
        name: &str,
        holder: &str,
        expires_ms: u64,
    ) -> Result<u64, Ungranted> {
        let token = match self.held.get(name) {
            Some(lease) if lease.holder == holder => lease.token,
            Some(lease) => return Err(Ungranted::Held(lease.clone())),
            None if self.held.len() >= MAX_LEASES => return Err(Ungranted::Full),
            None => {
                self.last_token += 1;
                self.last_token
            }
        };
        let lease = Lease {
            holder: holder.to_owned(),
            token,
            expires_ms,
        };
        Arc::make_mut(&mut self.held).insert(name.to_owned(), lease);
        Ok(token)
    }

    /// False where it is not held under this token.
    pub(crate) fn renew(&mut self, name: &str, token: u64, expires_ms: u64) -> bool {
        let held = self.is_held(name, token);
        if held && let Some(lease) = Arc::make_mut(&mut self.held).get_mut(name) {
            lease.expires_ms = expires_ms;
        }
        held
    }

    pub(crate) fn release(&mut self, name: &str, token: u64) {
        if self.is_held(name, token) {
            Arc::make_mut(&mut self.held).remove(name);
        }
    }

    /// Whether a lease is held under this token.
    pub fn is_held(&self, name: &str, token: u64) -> bool {
        self.held
            .get(name)
            .is_some_and(|lease| lease.token == token)
    }

    /// When the next one ends.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.held.values().map(|lease| lease.expires_ms).min()
    }

    pub(crate) fn expire(&mut self, now: u64) {
        if self.held.values().any(|lease| lease.expires_ms <= now) {
            Arc::make_mut(&mut self.held).retain(|_, lease| lease.expires_ms > now);
        }
    }
}
