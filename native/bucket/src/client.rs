//! The client of the store: credentials, time-outs, retries.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use otlake_base::{Code, Error, Result};

use crate::BucketConfig;

/// How long one request may take, connecting and all: more than one part of an upload does on a
/// line of a few Mbit/s.
const REQUEST_TIME: &str = "30 seconds";
/// How long a connection may take.
const CONNECT_TIME: &str = "5 seconds";
/// Times that a request is sent again after a passing fault. Who has asked tries again by itself,
/// and says meanwhile that the store does not answer.
const RETRIES: usize = 4;
/// After so long a request is not sent again.
const RETRY_TIME: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A client by what is configured, and by the AWS variables of the environment where that says
/// nothing. A node has two, for each pool of connections is of one runtime.
pub(crate) fn client(config: &BucketConfig) -> Result<AmazonS3> {
    let timed = |key| AmazonS3ConfigKey::Client(key);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&config.address.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_config(timed(ClientConfigKey::Timeout), REQUEST_TIME)
        .with_config(timed(ClientConfigKey::ConnectTimeout), CONNECT_TIME)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: FIRST_WAIT,
                max_backoff: LONGEST_WAIT,
                base: 2.0,
            },
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
        });
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if config.allow_http {
        builder = builder.with_allow_http(true);
    }
    if let Some((id, secret)) = &config.keys {
        builder = builder
            .with_access_key_id(id)
            .with_secret_access_key(secret);
    }
    // A body that goes through TLS needs no hash of its own in the signature.
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    builder
        .with_unsigned_payload(!is_plain)
        .build()
        .map_err(|error| {
            let message = format!("`storage.s3`: {error}");
            Error::new(Code::ConfigInvalid, message)
        })
}
