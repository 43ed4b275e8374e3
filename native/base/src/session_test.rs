use super::*;

fn at(stream: u128, sequence: u64) -> Position {
    let stream = StreamId(stream);
    Position { stream, sequence }
}

#[test]
fn a_token_is_read_as_it_was_written_and_asks_for_the_most_of_each() {
    let mut session = Session::from(at(7, 3));
    session.add(at(7, 2));
    session.add(at(1, 9));
    session.add_version(Table::Spans, 12);
    session.add_version(Table::Spans, 11);
    let text = session.to_string();
    assert_eq!(text, format!("{:032x}:9,{:032x}:3,spans@12", 1, 7));
    assert_eq!(text.parse::<Session>().unwrap(), session);
    let spaced = format!(" {:032x}:3 ,,{:032x}:9, spans@12,spans@2", 7, 1);
    assert_eq!(spaced.parse::<Session>().unwrap(), session);
    assert!("".parse::<Session>().unwrap().is_empty());
    let mut merged = Session::from(at(7, 8));
    merged.merge(&session);
    assert_eq!(merged.positions().collect::<Vec<_>>(), [at(1, 9), at(7, 8)]);
}

#[test]
fn i5_what_is_no_token_or_too_long_a_one_is_refused() {
    let long: Vec<String> = (0..=SESSION_PARTS)
        .map(|part| at(part as u128, 1).to_string())
        .collect();
    for text in ["x", "7:3", "spams@1", "spans@x", &long.join(",")] {
        let error = text.parse::<Session>().expect_err(text);
        assert_eq!(error.code, Code::QuerySession);
    }
    assert!(long[1..].join(",").parse::<Session>().is_ok());
}
