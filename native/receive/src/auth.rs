//! Who may send, and for which tenant.

use std::sync::Arc;

use http::HeaderMap;
use otlake_base::{Code, Error, Result, validate_tenant};
use ring::digest::{SHA256, digest};

use crate::config::Token;

/// The header that names the tenant where no token does.
const TENANT_HEADER: &str = "x-scope-orgid";
const DEFAULT_TENANT: &str = "default";

/// Finds the tenant of each request.
pub struct Auth {
    tokens: Vec<([u8; 32], Arc<str>)>,
    default: Arc<str>,
}

impl Auth {
    /// # Errors
    /// `OTLP_TENANT` for a token of what is no tenant: the name becomes a folder's.
    pub fn new(tokens: &[Token]) -> Result<Self> {
        let tokens = tokens
            .iter()
            .map(|token| {
                validate_tenant(&token.tenant)?;
                Ok((token.sha256, Arc::from(token.tenant.as_str())))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            tokens,
            default: DEFAULT_TENANT.into(),
        })
    }

    /// The tenant that a request with these headers sends for.
    ///
    /// # Errors
    /// `OTLP_UNAUTHENTICATED`, `OTLP_TENANT`.
    pub fn tenant(&self, headers: &HeaderMap) -> Result<Arc<str>> {
        if !self.tokens.is_empty() {
            let token = headers
                .get(http::header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| digest(&SHA256, token.trim().as_bytes()));
            // Every token is compared in full, so that the time tells neither how far one
            // agrees nor where it stands.
            let mut found = None;
            if let Some(given) = token {
                for (known, tenant) in &self.tokens {
                    if is_equal(given.as_ref(), known) {
                        found = Some(tenant);
                    }
                }
            }
            return found.cloned().ok_or_else(|| {
                Error::new(
                    Code::OtlpUnauthenticated,
                    "the request has no token that is known here",
                )
            });
        }
        match headers.get(TENANT_HEADER) {
            None => Ok(self.default.clone()),
            Some(value) => {
                let tenant = value.to_str().unwrap_or("");
                validate_tenant(tenant)?;
                Ok(tenant.into())
            }
        }
    }
}

/// Whether two digests are the same, in a time that does not depend on what they hold.
fn is_equal(one: &[u8], other: &[u8; 32]) -> bool {
    let differing = one
        .iter()
        .zip(other)
        .fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}
