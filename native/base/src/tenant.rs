//! What a tenant is called.

use crate::limits::MAX_TENANT_BYTES;
use crate::{Code, Error, Result};

/// Checks a tenant's name: 1 to 64 letters, digits, dots, hyphens or underscores, of which the
/// first is a letter or digit.
///
/// # Errors
/// `OTLP_TENANT`.
pub fn validate_tenant(tenant: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid = tenant.len() <= MAX_TENANT_BYTES
        && tenant.bytes().all(allowed)
        && tenant
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
    if valid {
        Ok(())
    } else {
        Err(Error::new(
            Code::OtlpTenant,
            format!("`{}` is no tenant", tenant.escape_debug()),
        ))
    }
}
