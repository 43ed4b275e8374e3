use otlake_base::{Code, Error, Result};
use otlake_receive::Ack;

use crate::outcome::{Ended, join};

fn ended(result: Result<Ack>) -> Ended {
    Ended {
        node: "n1".into(),
        result,
        records: 3,
    }
}

fn stored(accepted: u64, session: &str) -> Ended {
    ended(Ok(Ack {
        accepted,
        rejected: 1,
        message: None,
        session: Some(session.into()),
    }))
}

fn failed(code: Code) -> Ended {
    ended(Err(Error::new(code, "why")))
}

#[test]
fn acknowledgements_add_up_and_a_session_has_the_newest_position_of_each_stream() {
    let (a, b) = ("0".repeat(32), "f".repeat(32));
    let ack = join(vec![
        stored(5, &format!("{b}:9")),
        stored(2, &format!("{a}:4,{b}:3")),
        stored(1, &format!("{a}:7")),
    ])
    .unwrap();
    assert_eq!((ack.accepted, ack.rejected, ack.message), (8, 3, None));
    assert_eq!(ack.session.unwrap(), format!("{a}:7,{b}:9"));
}

#[test]
fn one_passing_fault_is_the_whole_requests_and_can_be_retried() {
    for code in Code::ALL {
        let is_between = code.as_str().starts_with("PEER_") && *code != Code::PeerTooLarge;
        let error = Error::new(*code, "");
        let is_passing =
            is_between || matches!(error.kind().name(), "unavailable" | "corrupt" | "cancelled");
        let joined = join(vec![
            stored(1, ""),
            failed(*code),
            failed(Code::OtlpMalformed),
        ]);
        assert_eq!(joined.is_err(), is_passing, "{code:?}");
        if let Err(error) = joined {
            let kind = error.kind().name();
            assert!(
                matches!(kind, "unavailable" | "corrupt" | "cancelled"),
                "{code:?}"
            );
            assert!(error.message.contains("n1"));
        }
    }
    let both = vec![failed(Code::PeerTimeout), failed(Code::IngestOverloaded)];
    assert_eq!(join(both).unwrap_err().code, Code::IngestOverloaded);
}

#[test]
fn a_slice_that_is_refused_for_good_is_so_many_rejected_records() {
    let ack = join(vec![stored(4, ""), failed(Code::OtlpMalformed)]).unwrap();
    assert_eq!((ack.accepted, ack.rejected), (4, 4));
    assert!(
        ack.message
            .unwrap()
            .contains("3 refused with OTLP_MALFORMED")
    );
    let none = join(vec![
        failed(Code::OtlpTooLarge),
        failed(Code::OtlpMalformed),
    ]);
    assert_eq!(none.unwrap_err().code, Code::OtlpTooLarge);
}
