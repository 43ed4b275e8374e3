use std::borrow::Cow;

use crate::attribute::{entries, find, label};

fn found(json: &str, keys: &[&str]) -> Vec<Option<String>> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut found = Vec::new();
    find(json, &keys, &mut found);
    found
        .into_iter()
        .map(|of| of.map(Cow::into_owned))
        .collect()
}

#[test]
fn each_kind_of_value_is_found_whatever_stands_before_it() {
    let json = r#"{"a":"x,}\"","b":[1,{"c":"]"}],"d":{"c":"no"},"n":-1.5,"t":true,"c":"yes"}"#;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        found(json, &["c", "a", "b", "n", "t", "absent"]),
        [
            some("yes"),
            some("x,}\""),
            some(r#"[1,{"c":"]"}]"#),
            some("-1.5"),
            some("true"),
            None
        ]
    );
    assert_eq!(entries(json).count(), 6);
}

#[test]
fn what_is_no_object_and_what_is_empty_has_nothing() {
    for json in [
        "",
        "{}",
        "null",
        "[1]",
        r#"{"a":null}"#,
        r#"{"a":""}"#,
        r#"{"a"#,
    ] {
        assert_eq!(found(json, &["a"]), [None], "{json}");
    }
}

#[test]
fn escapes_are_read_as_json_has_them() {
    let text = |value| label(value).map(Cow::into_owned);
    assert_eq!(
        text(r#""\u00e9\n\\\/\ud83d\ude00""#).as_deref(),
        Some("é\n\\/😀")
    );
    assert_eq!(text(r#""plain""#).as_deref(), Some("plain"));
}
