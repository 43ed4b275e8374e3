//! Which quorum a record needs: by signal, and by tenant where a tenant has one of its own.
//!
//! Records of all tenants stand in one stream and go to the same followers: as many as the tenant needs
//! that asks for the most copies. Each record is acknowledged by its own tenant's numbers. A recovery
//! does not know whose record a gap was, so it counts on the fewest acknowledgements that anyone asks
//! for, which the stream's ensembles tell ([`crate::Copies::acks`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Code, Error, Result, Signal};

use crate::ensemble::Quorum;

/// Quorums that tenants may have of their own, over all signals (I5).
pub const MAX_TENANT_QUORUMS: usize = 4096;

/// The quorums of a node's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorums {
    signals: [OfSignal; 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OfSignal {
    /// Of tenants that have none of their own.
    general: Quorum,
    tenants: HashMap<Arc<str>, Quorum>,
    copies: usize,
    fewest_acks: usize,
    most_acks: usize,
}

impl OfSignal {
    fn new(general: Quorum) -> OfSignal {
        OfSignal {
            general,
            tenants: HashMap::new(),
            copies: general.copies,
            fewest_acks: general.acks,
            most_acks: general.acks,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Quorum> {
        std::iter::once(&self.general).chain(self.tenants.values())
    }

    /// Takes `quorum` for a tenant, in place of what the tenant had.
    fn set(&mut self, tenant: Arc<str>, quorum: Quorum) {
        self.tenants.insert(tenant, quorum);
        self.copies = self.all().map(|quorum| quorum.copies).max().unwrap_or(0);
        self.fewest_acks = self.all().map(|quorum| quorum.acks).min().unwrap_or(0);
        self.most_acks = self.all().map(|quorum| quorum.acks).max().unwrap_or(0);
    }
}

/// By signal, the same for every tenant.
impl From<[Quorum; 3]> for Quorums {
    fn from(signals: [Quorum; 3]) -> Quorums {
        Quorums {
            signals: signals.map(OfSignal::new),
        }
    }
}

impl Default for Quorums {
    fn default() -> Quorums {
        Quorums::from(Quorum::DEFAULTS)
    }
}

impl Quorums {
    /// The same, with a quorum of its own for a tenant's records of a signal.
    #[must_use]
    pub fn with(mut self, signal: Signal, tenant: Arc<str>, quorum: Quorum) -> Quorums {
        self.signals[signal.index()].set(tenant, quorum);
        self
    }

    /// What a record of the tenant needs.
    pub fn of(&self, signal: Signal, tenant: &str) -> Quorum {
        let of = &self.signals[signal.index()];
        // Most nodes have none of tenants, and need not look.
        match of.tenants.is_empty() {
            true => of.general,
            false => *of.tenants.get(tenant).unwrap_or(&of.general),
        }
    }

    /// The most copies of the signal that anyone asks for.
    pub fn copies(&self, signal: Signal) -> usize {
        self.signals[signal.index()].copies
    }

    /// The fewest acknowledgements with which a record of the signal may be acknowledged.
    pub fn fewest_acks(&self, signal: Signal) -> usize {
        self.signals[signal.index()].fewest_acks
    }

    /// The most acknowledgements of the signal that anyone asks for.
    pub fn most_acks(&self, signal: Signal) -> usize {
        self.signals[signal.index()].most_acks
    }

    /// The longest time that any record is waited for.
    pub fn longest_timeout(&self) -> Duration {
        let all = self.signals.iter().flat_map(OfSignal::all);
        all.map(|quorum| quorum.timeout).max().unwrap_or_default()
    }

    /// Checks each quorum's numbers against each other, and how many there are.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, with the tenant.
    pub fn check(&self) -> Result<()> {
        let tenants: usize = self.signals.iter().map(|of| of.tenants.len()).sum();
        if tenants > MAX_TENANT_QUORUMS {
            let text = format!(
                "{tenants} quorums of tenants: there can be {MAX_TENANT_QUORUMS}, so leave out those that are \
                 like the general ones"
            );
            return Err(Error::new(Code::ConfigInvalid, text));
        }
        for of in &self.signals {
            of.general.check()?;
            for (tenant, quorum) in &of.tenants {
                quorum.check().map_err(|error| {
                    Error::new(error.code, format!("tenant `{tenant}`: {error}"))
                })?;
            }
        }
        Ok(())
    }
}
