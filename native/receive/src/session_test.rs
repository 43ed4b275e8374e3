use http::{HeaderMap, HeaderValue};
use otlake_base::limits::SESSION_WRITE_PARTS;
use otlake_base::{Code, Session};

use super::{HEADER, carried, covering};
use crate::Ack;

fn stream(number: usize) -> String {
    format!("{number:032x}")
}

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, HeaderValue::from_str(token).unwrap());
    headers
}

fn acknowledged(before: &str, own: Option<&str>) -> Option<String> {
    let ack = Ack {
        session: own.map(str::to_owned),
        ..Ack::default()
    };
    covering(carried(&headers(before)).unwrap(), ack).session
}

#[test]
fn i7_an_acknowledgement_covers_what_was_written_and_read_before() {
    let (a, b) = (stream(1), stream(2));
    let (before, own) = (format!("{a}:7,spans@3"), format!("{b}:2"));
    let expected = format!("{a}:7,{b}:2,spans@3");
    assert_eq!(acknowledged(&before, Some(&own)), Some(expected));
    // Of one stream the later counts, whichever names it.
    let (early, late) = (format!("{a}:7"), format!("{a}:9"));
    assert_eq!(acknowledged(&early, Some(&late)), Some(late.clone()));
    assert_eq!(acknowledged(&late, Some(&early)), Some(late));
    // Where nothing was stored it covers what it covered.
    assert_eq!(acknowledged(&early, None), Some(early));
}

#[test]
fn without_a_token_the_acknowledgement_is_what_it_was() {
    assert_eq!(carried(&HeaderMap::new()).unwrap(), Session::default());
    let own = format!("{}:2", stream(2));
    assert_eq!(acknowledged("", Some(&own)), Some(own));
    assert_eq!(acknowledged("", None), None);
}

#[test]
fn a_token_that_is_none_or_leaves_no_room_is_refused_with_what_to_do() {
    for wrong in ["nonsense", "no-table@1", &stream(1)] {
        assert_eq!(
            carried(&headers(wrong)).unwrap_err().code,
            Code::QuerySession
        );
    }
    let tokens = |count: usize| {
        let parts: Vec<String> = (1..=count)
            .map(|part| format!("{}:1", stream(part)))
            .collect();
        carried(&headers(&parts.join(",")))
    };
    assert!(tokens(SESSION_WRITE_PARTS).is_ok());
    let refused = tokens(SESSION_WRITE_PARTS + 1).unwrap_err();
    assert_eq!(refused.code, Code::QuerySession);
    assert!(refused.to_string().contains("read once"), "{refused}");
}
