use std::path::Path;

use otlake_base::Code;

use crate::{Address, shown};

#[test]
fn an_address_and_its_path_stand_for_each_other() {
    for (text, path, key) in [
        ("s3://lake", "/s3:/lake", ""),
        ("s3://lake/", "/s3:/lake", ""),
        ("s3://lake/a/b=1/", "/s3:/lake/a/b=1", "a/b=1"),
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!(address.path(), Path::new(path), "{text}");
        assert_eq!(address.key(&address.path()).unwrap().as_ref(), key);
        assert_eq!(shown(&address.path()), text.trim_end_matches('/'));
    }
    let address = Address::parse("s3://lake/a").unwrap();
    let file = address.path().join("spans/_delta_log/0.json");
    assert_eq!(
        address.key(&file).unwrap().as_ref(),
        "a/spans/_delta_log/0.json"
    );
    for elsewhere in ["/data/log", "/s3:/other/a", "/s3:"] {
        assert_eq!(address.key(Path::new(elsewhere)), None, "{elsewhere}");
    }
    assert_eq!(shown(Path::new("/data/log")), "/data/log");
}

#[test]
fn what_is_no_address_is_refused_by_what_is_wrong() {
    for text in [
        "s3://",
        "s3://ab",
        "s3://a bucket/x",
        "s3:///x",
        "s3://lake//x",
        "s3://lake/a//b",
        "s3://lake/../b",
        "s3://lake/a b",
        "s3://lake/a?b",
        "gs://lake/a",
        &format!("s3://lake/{}", "a".repeat(513)),
    ] {
        // Slashes around a prefix are nothing.
        if text == "s3://lake//x" {
            assert_eq!(Address::parse(text).unwrap().prefix, "x");
            continue;
        }
        let error = Address::parse(text).unwrap_err();
        assert_eq!(error.code, Code::ConfigInvalid, "{text}");
        assert!(error.message.contains("s3://bucket/prefix"), "{error}");
    }
}
