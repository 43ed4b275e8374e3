//! Tenants, and the quorums that they ask for: in some runs all the same, in others more or fewer
//! acknowledgements than the rest.

use std::time::Duration;

use otlake_base::Signal;
use otlake_replicate::{Copies, Quorum, Quorums};

use super::owning::signal_of;
use super::world::World;
use crate::chance::draw;

/// The quorums of tenants without one of their own: the defaults, with shorter time-outs.
const GENERAL: [Quorum; 3] = [quorum(3, 2, 2000), quorum(2, 2, 2000), Quorum::DEFAULTS[2]];
/// A tenant that asks for more, and its quorums; and one that asks for less.
const STRICT: &str = "s";
const OF_STRICT: [Quorum; 3] = [quorum(3, 3, 2500), quorum(3, 2, 1500), quorum(2, 2, 1000)];
const LAX: &str = "l";
const OF_LAX: [Quorum; 3] = [quorum(3, 1, 1000), quorum(2, 1, 700), quorum(1, 1, 1000)];
/// All, as records take their turns.
const TENANTS: [&str; 4] = ["t", STRICT, "t", LAX];

const fn quorum(copies: usize, acks: usize, millis: u64) -> Quorum {
    Quorum {
        copies,
        acks,
        timeout: Duration::from_millis(millis),
    }
}

/// Whose a record is.
pub fn tenant_of(record: u64) -> &'static str {
    TENANTS[(record / 3 % 4) as usize]
}

/// The quorums of a run.
pub fn quorums_of(seed: u64) -> Quorums {
    let kind = draw(seed, &[b"tenants"]) % 4;
    let mut quorums = Quorums::from(GENERAL);
    for (tenant, of, is_there) in [
        (STRICT, OF_STRICT, kind & 1 == 1),
        (LAX, OF_LAX, kind & 2 == 2),
    ] {
        for signal in Signal::ALL.into_iter().filter(|_| is_there) {
            quorums = quorums.with(signal, tenant.into(), of[signal.index()]);
        }
    }
    quorums
}

/// The same, with everybody's acknowledgements those of who asks for the fewest.
pub fn fewest(quorums: &Quorums) -> Quorums {
    let weak = |signal: Signal, tenant: &str| Quorum {
        acks: quorums.fewest_acks(signal),
        ..quorums.of(signal, tenant)
    };
    let mut weakened = Quorums::from(Signal::ALL.map(|signal| weak(signal, TENANTS[0])));
    for signal in Signal::ALL {
        for tenant in [STRICT, LAX] {
            weakened = weakened.with(signal, tenant.into(), weak(signal, tenant));
        }
    }
    weakened
}

impl World {
    /// What a record is to have before it is acknowledged.
    pub fn quorum_of(&self, record: u64) -> Quorum {
        self.quorums.of(signal_of(record), tenant_of(record))
    }

    /// Fsyncs with which it may be acknowledged in an ensemble.
    pub fn acks_of(&self, record: u64, copies: &Copies) -> usize {
        let quorum = self.quorum_of(record);
        match self.allow_degraded {
            true => quorum.acks.min(copies.followers.len() + 1),
            false => quorum.acks,
        }
    }
}
