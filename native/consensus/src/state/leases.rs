//! Leases. A lease that has expired may still be believed in by who held it: what it guards must
//! refuse a token lower than the highest it has seen (Kleppmann 2016, "How to do distributed
//! locking").

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{State, full};
use crate::command::{Answer, Refusal};
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

impl State {
    pub(super) fn acquire(
        &mut self,
        name: &str,
        holder: &str,
        ttl_ms: u64,
    ) -> Result<Answer, Refusal> {
        let token = match self.leases.get(name) {
            Some(lease) if lease.holder == holder => lease.token,
            Some(lease) => {
                return Err(Refusal::Held {
                    holder: lease.holder.clone(),
                    token: lease.token,
                    expires_ms: lease.expires_ms,
                });
            }
            None if self.leases.len() >= MAX_LEASES => return Err(full("leases", MAX_LEASES)),
            None => {
                self.last_token += 1;
                self.last_token
            }
        };
        Ok(self.hold(name, holder.to_owned(), token, ttl_ms))
    }

    pub(super) fn renew(&mut self, name: &str, token: u64, ttl_ms: u64) -> Result<Answer, Refusal> {
        match self.leases.get(name) {
            Some(lease) if lease.token == token => {
                let holder = lease.holder.clone();
                Ok(self.hold(name, holder, token, ttl_ms))
            }
            _ => Err(Refusal::NotHeld),
        }
    }

    pub(super) fn release(&mut self, name: &str, token: u64) -> Answer {
        if self
            .leases
            .get(name)
            .is_some_and(|lease| lease.token == token)
        {
            Arc::make_mut(&mut self.leases).remove(name);
        }
        Answer::Done
    }

    fn hold(&mut self, name: &str, holder: String, token: u64, ttl_ms: u64) -> Answer {
        let expires_ms = self.time_ms + ttl_ms;
        let lease = Lease {
            holder,
            token,
            expires_ms,
        };
        Arc::make_mut(&mut self.leases).insert(name.to_owned(), lease);
        self.expires_at(expires_ms);
        Answer::Leased { token, expires_ms }
    }

    pub(super) fn expire_leases(&mut self) {
        let now = self.time_ms;
        if self.leases.values().any(|lease| lease.expires_ms <= now) {
            Arc::make_mut(&mut self.leases).retain(|_, lease| lease.expires_ms > now);
        }
    }
}
