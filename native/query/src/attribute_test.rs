use crate::attribute::{Entries, boolean, double, find, int, text, unescape};

const JSON: &str = r#"{"a":"x","nested":{"a":[1,{"b":"}"}]},"n":-12,"d":1.5,"t":true,"z":null,"q\"k":"v\n\u00e9\ud83d\ude00","a":"second","nan":{"$double":"NaN"},"raw":{"$bytes":"AAE="}}"#;

#[test]
fn finds_the_first_of_each_key() {
    assert_eq!(find(JSON, "a"), Some(r#""x""#));
    assert_eq!(find(JSON, "nested"), Some(r#"{"a":[1,{"b":"}"}]}"#));
    assert_eq!(find(JSON, "b"), None);
    assert_eq!(find(JSON, "q\"k").and_then(text).unwrap(), "v\né😀");
    assert_eq!(Entries::new(JSON).unwrap().count(), 10);
}

#[test]
fn reads_values_by_type() {
    let value = |key| find(JSON, key).unwrap();
    assert_eq!(int(value("n")), Some(-12));
    assert_eq!(int(value("d")), None);
    assert_eq!(double(value("d")), Some(1.5));
    assert_eq!(double(value("n")), Some(-12.0));
    assert!(double(value("nan")).unwrap().is_nan());
    assert_eq!(boolean(value("t")), Some(true));
    assert_eq!(text(value("z")), None);
    assert_eq!(text(value("t")).unwrap(), "true");
    assert_eq!(text(value("raw")).unwrap(), "AAE=");
}

#[test]
fn takes_what_is_not_json_without_a_panic() {
    for bad in [
        "",
        "[",
        "{",
        r#"{""#,
        r#"{"a"#,
        r#"{"a":"#,
        r#"{"a":""#,
        r#"{"a":"\"#,
        r#"{"a":{"#,
        "nul",
        r#"{"a" 1}"#,
        "{]}",
        "{,}",
        r#"{"é":"#,
    ] {
        assert_eq!(find(bad, "a"), None, "{bad}");
    }
    assert_eq!(find(r#" { "a" : 1 , "b" : [ ] } "#, "b"), Some("[ ]"));
    assert_eq!(unescape(r"\ud800x\u12"), "\u{fffd}x\u{fffd}12");
    assert_eq!(text("\""), None);
}
