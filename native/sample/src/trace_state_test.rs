use crate::trace_state::{
    Marked, NEVER, Sampling, digits, mark, randomness_of, sampling, threshold_of,
};

/// A trace id of the highest randomness, which passes every threshold.
const HIGH: [u8; 16] = [0xff; 16];

fn marked(state: &str, threshold: u64) -> String {
    match mark(state, threshold, &HIGH) {
        Marked::Now(state) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn thresholds_of_probabilities_are_those_of_the_specification() {
    // The table of "Converting floating-point probability to threshold value", precision 4.
    for (one_in, expected) in [
        (1, "0"),
        (2, "8"),
        (3, "aaab"),
        (4, "c"),
        (5, "cccd"),
        (8, "e"),
        (10, "e666"),
        (16, "f"),
        (100, "fd70a"),
        (1_000, "ffbe77"),
        (10_000, "fff9724"),
        (100_000, "ffff583a"),
        (1_000_000, "ffffef39"),
    ] {
        let threshold = threshold_of(1.0 / f64::from(one_in));
        assert_eq!(digits(threshold), expected, "1 in {one_in}");
    }
    assert_eq!(threshold_of(2f64.powi(-56)), NEVER - 1);
    assert_eq!(digits(NEVER - 1), "ffffffffffffff");
    assert_eq!(digits(1), "00000000000001");
}

#[test]
fn randomness_is_the_low_56_bits_of_the_trace_id() {
    let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10_u128.to_be_bytes();
    assert_eq!(randomness_of(&id), 0x000a_0b0c_0d0e_0f10);
    assert_eq!(randomness_of(&HIGH), NEVER - 1);
}

#[test]
fn explicit_randomness_and_threshold_are_read_as_the_specification_writes_them() {
    let read = |state| {
        let Sampling {
            randomness,
            threshold,
        } = sampling(state);
        (randomness, threshold)
    };
    assert_eq!(read("ot=th:0"), (None, Some(0)));
    assert_eq!(read("ot=th:fd70a4"), (None, Some(0x00fd_70a4_0000_0000)));
    assert_eq!(
        read("a=b, ot=rv:6e6d1a75832a2f;th:8 ,c=d"),
        (Some(0x006e_6d1a_7583_2a2f), Some(0x0080_0000_0000_0000))
    );
    assert_eq!(read("ot=TH:8;th:C"), (None, Some(0x00c0_0000_0000_0000)));
    for absent in [
        "",
        "ot",
        "ot=",
        "ot=th",
        "ot=th:",
        "ot=th:xyz",
        "ot=th:+8",
        "ot=th:123456789012345",
        "ot=rv:6e6d1a75832a2",
        "ot=rv:6e6d1a75832a2ff",
        "ott=th:8",
        "t@ot=th:8",
        "x=ot=th:8",
    ] {
        assert_eq!(read(absent), (None, None), "{absent}");
    }
}

#[test]
fn a_threshold_is_added_beside_what_is_there() {
    let half = threshold_of(0.5);
    assert_eq!(marked("", half), "ot=th:8");
    assert_eq!(marked("a=b,c=d", half), "ot=th:8,a=b,c=d");
    assert_eq!(
        marked("a=b , ot=rv:ffffffffffffff;p:8,,c=d", half),
        "ot=rv:ffffffffffffff;p:8;th:8,a=b,c=d"
    );
    assert_eq!(marked("ot=th:4;p:8", half), "ot=p:8;th:8");
    // A member that is there twice is not after it.
    assert_eq!(marked("ot=p:8,a=b,ot=p:9", half), "ot=p:8;th:8,a=b");
}

#[test]
fn a_span_that_has_passed_a_stricter_threshold_keeps_it() {
    for state in ["ot=th:c", "ot=th:8", "a=b,ot=th:c;rv:ffffffffffffff"] {
        assert_eq!(mark(state, threshold_of(0.5), &HIGH), Marked::AsItWas);
    }
    // Kept for certain: nothing is said that was not.
    for state in ["", "a=b", "ot=th:8", "ot=th:ff"] {
        assert_eq!(mark(state, 0, &HIGH), Marked::AsItWas);
    }
}

#[test]
fn a_threshold_that_the_span_cannot_have_passed_is_not_kept() {
    let state = "ot=rv:90000000000000;th:c";
    assert_eq!(
        mark(state, threshold_of(0.5), &HIGH),
        Marked::Now("ot=rv:90000000000000;th:8".to_owned())
    );
    let low = 0x90_0000_0000_0000_u128.to_be_bytes();
    assert_eq!(
        mark("ot=th:c", threshold_of(0.5), &low),
        Marked::Now("ot=th:8".to_owned())
    );
}

#[test]
fn the_limits_of_w3c_hold_and_ours_stays() {
    let half = threshold_of(0.5);
    let members: Vec<String> = (0..32).map(|at| format!("k{at}=v")).collect();
    let state = marked(&members.join(","), half);
    assert_eq!(state.split(',').count(), 32);
    assert!(state.starts_with("ot=th:8,k0=v,") && state.ends_with(",k30=v"));

    let long = format!("long={}", "x".repeat(200));
    let short: Vec<String> = (0..10)
        .map(|at| format!("s{at}={}", "y".repeat(37)))
        .collect();
    let state = marked(&format!("{long},{}", short.join(",")), half);
    assert_eq!(state, format!("ot=th:8,{}", short.join(",")));

    let many: Vec<String> = (0..20)
        .map(|at| format!("m{at:02}={}", "z".repeat(36)))
        .collect();
    let state = marked(&many.join(","), half);
    assert!(state.len() <= 512, "{}", state.len());
    assert_eq!(state, format!("ot=th:8,{}", many[..12].join(",")));
}

#[test]
fn a_member_of_ours_without_room_is_left_as_it_is() {
    let full = format!("ot=x:{}", "a".repeat(252));
    assert_eq!(mark(&full, threshold_of(0.5), &HIGH), Marked::NoRoom);
    // What it says already can be replaced.
    let state = format!("ot=th:4;x:{}", "a".repeat(240));
    assert!(matches!(
        mark(&state, threshold_of(0.5), &HIGH),
        Marked::Now(_)
    ));
}
