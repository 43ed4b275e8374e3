use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use object_store::ObjectStore;
use otlake_base::Code;

use crate::failure::told;
use crate::testing::{Faulty, bucket, failed};

fn probed(store: &Arc<Faulty>) -> Result<(), otlake_base::Error> {
    let folder = tempfile::tempdir().unwrap();
    bucket(store, folder.path()).probe()
}

#[test]
fn a_store_that_keeps_names_is_taken_and_left_as_it_was() {
    let store = Arc::new(Faulty::default());
    probed(&store).unwrap();
    assert!(futures::executor::block_on(store.inner.list(None).next()).is_none());
}

#[test]
fn i3_a_store_that_overwrites_is_refused() {
    let store = Arc::new(Faulty::default());
    store.overwrites.store(true, Ordering::SeqCst);
    let error = probed(&store).unwrap_err();
    assert_eq!(error.code, Code::BucketUnusable);
    assert!(error.message.contains("s3://lake/tables"), "{error}");
    assert!(error.message.contains("If-None-Match"), "{error}");
    assert!(futures::executor::block_on(store.inner.list(None).next()).is_none());
}

#[test]
fn what_the_operator_can_mend_is_told_with_its_fix_and_the_rest_is_a_passing_fault() {
    let store = Arc::new(Faulty::default());
    for (refusal, code, fix) in [
        (
            "404 Not Found: <Code>NoSuchBucket</Code>",
            Code::BucketUnusable,
            "storage.tables",
        ),
        (
            "403: <Code>AccessDenied</Code>",
            Code::BucketUnusable,
            "s3:ListBucket",
        ),
        (
            "403: <Code>RequestTimeTooSkewed</Code>",
            Code::BucketUnusable,
            "clock",
        ),
        (
            "403: <Code>InvalidAccessKeyId</Code>",
            Code::BucketUnusable,
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "403: <Code>SignatureDoesNotMatch</Code>",
            Code::BucketUnusable,
            "secret",
        ),
        (
            "http://169.254.169.254/latest: timed out",
            Code::BucketUnusable,
            "no credentials",
        ),
        ("501 Not Implemented", Code::BucketUnusable, "501"),
        ("connection refused", Code::TableIo, "does not answer"),
        ("503 Slow Down", Code::TableIo, "does not answer"),
    ] {
        *store.refusal.lock() = Some(refusal);
        let error = probed(&store).unwrap_err();
        assert_eq!(error.code, code, "{refusal}: {error}");
        assert!(error.message.contains(fix), "{refusal}: {error}");
    }
}

#[test]
fn a_bucket_that_is_gone_does_not_look_like_a_file_that_is() {
    let missing = |source: &str| object_store::Error::NotFound {
        path: "x".to_owned(),
        source: source.into(),
    };
    let file = told(missing("<Code>NoSuchKey</Code>"));
    assert_eq!(file.kind(), std::io::ErrorKind::NotFound);
    let bucket = told(missing("<Code>NoSuchBucket</Code>"));
    assert_eq!(bucket.kind(), std::io::ErrorKind::Other);
    assert_eq!(told(failed("x")).kind(), std::io::ErrorKind::Other);
}
