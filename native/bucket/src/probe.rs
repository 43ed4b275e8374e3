//! Refuses a bucket that cannot hold tables, at the start.
//!
//! Commits of several nodes stand on one thing: of those who give a file the same name, one
//! succeeds. A store that takes `If-None-Match: *` and does not look at it would let a commit
//! replace another's, and acknowledged rows would be gone without a word.

use std::io;
use std::sync::Arc;

use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use otlake_base::{Code, Error, Result};
use uuid::Uuid;

use crate::address::Address;
use crate::failure::{meaning, told};

/// What the names of probes begin with; they are gone once the node has started.
const NAME: &str = "_otlake_probe_";

/// Looks whether the bucket is there and can be listed, written, read and deleted in, and whether
/// it refuses to give a name twice.
///
/// # Errors
/// `BUCKET_UNUSABLE`, with the fix; `TABLE_IO` where the store does not answer.
pub(crate) async fn probe(store: &Arc<dyn ObjectStore>, address: &Address) -> Result<()> {
    let prefix = Key::parse(&address.prefix).map_err(|error| unusable(address, &error))?;
    let failed = |error| refused(address, told(error));
    let listed = store.list_with_delimiter(Some(&prefix)).await;
    listed.map_err(failed)?;
    let key = prefix.join(format!("{NAME}{}", Uuid::new_v4()));
    let put = |text: &'static str| {
        let payload = PutPayload::from_static(text.as_bytes());
        store.put_opts(&key, payload, PutMode::Create.into())
    };
    let probed = async {
        put("first").await.map_err(failed)?;
        match put("second").await {
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Ok(_) => {
                return Err(unusable(
                    address,
                    &"the store gave a name that was taken: it ignores `If-None-Match: *`, so nodes would overwrite each other's commits. Use a store with conditional writes",
                ));
            }
            Err(error) => return Err(failed(error)),
        }
        let got = store.get(&key).await.map_err(failed)?;
        let bytes = got.bytes().await.map_err(failed)?;
        match &bytes[..] == b"first" {
            true => Ok(()),
            false => Err(unusable(
                address,
                &"the store changed what it refused to overwrite. Use a store with conditional writes",
            )),
        }
    };
    let probed = probed.await;
    let deleted = store.delete(&key).await;
    probed?;
    deleted.map_err(failed)
}

fn unusable(address: &Address, what: &dyn std::fmt::Display) -> Error {
    let place = crate::shown(&address.path());
    Error::new(Code::BucketUnusable, format!("{place}: {what}"))
}

/// What can be mended by whoever configured it is told from a store that does not answer.
fn refused(address: &Address, error: io::Error) -> Error {
    let text = error.to_string();
    let is_refusal = error.kind() == io::ErrorKind::PermissionDenied
        || meaning(&text).is_some()
        || [
            "400 Bad Request",
            "501 Not Implemented",
            "405 Method Not Allowed",
        ]
        .iter()
        .any(|status| text.contains(status));
    if is_refusal {
        return unusable(address, &text);
    }
    let place = crate::shown(&address.path());
    let message = format!("{place}: the store does not answer: {text}");
    Error::new(Code::TableIo, message)
}
