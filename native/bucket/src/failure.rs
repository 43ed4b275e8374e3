//! What the store's refusals mean, and the fix.

use std::io;

use object_store::Error as StoreError;

/// What stands in the store's answer, and what it means to whoever runs the node.
const MEANINGS: [(&str, &str); 9] = [
    (
        "NoSuchBucket",
        "there is no such bucket: make it, or correct `storage.tables`",
    ),
    (
        "RequestTimeTooSkewed",
        "this machine's clock and the store's differ by more than the store allows: set the clock (NTP)",
    ),
    (
        "InvalidAccessKeyId",
        "the store does not know the access key: correct AWS_ACCESS_KEY_ID or `storage.s3.access_key_id`",
    ),
    (
        "SignatureDoesNotMatch",
        "the secret key is not that of the access key: correct AWS_SECRET_ACCESS_KEY or `storage.s3.secret_access_key`",
    ),
    ("ExpiredToken", "the credentials have expired: renew them"),
    (
        "PermanentRedirect",
        "the bucket is in another region: set `storage.s3.region`",
    ),
    (
        "AuthorizationHeaderMalformed",
        "the bucket is in another region: set `storage.s3.region`",
    ),
    (
        "AccessDenied",
        "access was denied: grant s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects",
    ),
    (
        "169.254.169.254",
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
];

/// What the store's own words are short for; none where nothing more is to be said.
pub(crate) fn meaning(text: &str) -> Option<&'static str> {
    let of = MEANINGS.iter().find(|(sign, _)| text.contains(sign));
    of.map(|(_, meaning)| *meaning)
}

/// The whole chain of what went wrong, once each.
fn text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// What the store said, as a disk says it.
pub(crate) fn told(error: StoreError) -> io::Error {
    let text = text(&error);
    let meant = meaning(&text);
    let kind = match &error {
        // A bucket that is gone does not mean that a file is.
        StoreError::NotFound { .. } if meant.is_none() => io::ErrorKind::NotFound,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            io::ErrorKind::AlreadyExists
        }
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    let text = match (meant, kind) {
        (Some(meaning), _) => format!("{meaning} ({text})"),
        (None, io::ErrorKind::PermissionDenied) => {
            let denied = meaning("AccessDenied").unwrap_or_default();
            format!("{denied} ({text})")
        }
        (None, _) => text,
    };
    io::Error::new(kind, text)
}
