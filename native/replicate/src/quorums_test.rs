use std::time::Duration;

use otlake_base::{Code, Signal};

use crate::quorums::MAX_TENANT_QUORUMS;
use crate::testing::name;
use crate::{Quorum, Quorums};

fn quorum(copies: usize, acks: usize, seconds: u64) -> Quorum {
    Quorum {
        copies,
        acks,
        timeout: Duration::from_secs(seconds),
    }
}

#[test]
fn a_tenant_has_its_own_quorum_for_the_signals_that_name_it_and_the_general_one_for_others() {
    let quorums = Quorums::default()
        .with(Signal::Traces, name("strict"), quorum(5, 3, 9))
        .with(Signal::Traces, name("lax"), quorum(2, 1, 1));
    let of = |signal, tenant| quorums.of(signal, tenant).acks;
    assert_eq!(of(Signal::Traces, "strict"), 3);
    assert_eq!(of(Signal::Traces, "lax"), 1);
    assert_eq!(of(Signal::Traces, "other"), 2);
    assert_eq!(of(Signal::Metrics, "lax"), 2);
    assert_eq!(quorums.copies(Signal::Traces), 5);
    assert_eq!(quorums.copies(Signal::Metrics), 2);
    assert_eq!(quorums.fewest_acks(Signal::Traces), 1);
    assert_eq!(quorums.most_acks(Signal::Traces), 3);
    assert_eq!(quorums.longest_timeout(), Duration::from_secs(9));
    quorums.check().expect("it is sound");
    // What a tenant had before does not count any more.
    let quorums = quorums.with(Signal::Traces, name("strict"), quorum(3, 2, 1));
    assert_eq!(quorums.copies(Signal::Traces), 3);
    assert_eq!(quorums.most_acks(Signal::Traces), 2);
}

#[test]
fn an_unsound_quorum_is_refused_with_its_tenant_and_so_are_too_many() {
    let unsound = Quorums::default().with(Signal::Logs, name("blue"), quorum(1, 2, 1));
    let error = unsound
        .check()
        .expect_err("more acknowledgements than copies");
    assert_eq!(error.code, Code::ConfigInvalid);
    assert!(error.to_string().contains("`blue`"), "{error}");
    let mut many = Quorums::default();
    for tenant in 0..=MAX_TENANT_QUORUMS {
        many = many.with(Signal::Logs, tenant.to_string().into(), quorum(1, 1, 1));
    }
    let error = many.check().expect_err("too many");
    assert_eq!(error.code, Code::ConfigInvalid);
}
