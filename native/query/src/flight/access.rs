//! Who asks, and how fresh the answer must be, from gRPC metadata.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use otlake_base::{Consistency, Error, Kind};
use ring::digest::{SHA256, digest};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::Token;

/// The error as gRPC tells it, its code in `otlake-code`.
pub(super) fn status(error: &Error) -> Status {
    let text = format!("{}: {}", error.code.as_str(), error.message);
    let mut status = match error.kind() {
        Kind::Invalid => Status::invalid_argument(text),
        Kind::Denied => Status::unauthenticated(text),
        Kind::NotFound => Status::not_found(text),
        Kind::Exhausted if error.code == otlake_base::Code::QueryTimeout => {
            Status::deadline_exceeded(text)
        }
        Kind::Exhausted => Status::resource_exhausted(text),
        Kind::Unavailable => Status::unavailable(text),
        Kind::Corrupt => Status::data_loss(text),
        Kind::Cancelled => Status::cancelled(text),
        Kind::Internal => Status::internal(text),
    };
    if let Ok(code) = error.code.as_str().parse() {
        status.metadata_mut().insert("otlake-code", code);
    }
    status
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
}

/// The token in `authorization`: a bearer's, or a basic authentication's password.
pub(super) fn token(metadata: &MetadataMap) -> Option<String> {
    let (scheme, value) = header(metadata, "authorization")?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(value.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// The tenant whose rows the caller sees; every tenant's where there are no tokens and none
/// is named.
pub(super) fn tenant(metadata: &MetadataMap, tokens: &[Token]) -> Result<Option<String>, Status> {
    if tokens.is_empty() {
        return Ok(header(metadata, "x-scope-orgid").map(str::to_owned));
    }
    let denied = || {
        Status::unauthenticated(
            "OTLP_UNAUTHENTICATED: send `authorization: Bearer <token>` with a listed token",
        )
    };
    let token = token(metadata).ok_or_else(denied)?;
    let hash = digest(&SHA256, token.as_bytes());
    tokens
        .iter()
        .find(|known| known.sha256 == hash.as_ref())
        .map(|known| Some(known.tenant.clone()))
        .ok_or_else(denied)
}

/// Whether `otlake-partial` says that an answer may lack rows, as long as it tells.
pub(super) fn partial(metadata: &MetadataMap) -> bool {
    header(metadata, "otlake-partial").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// What `otlake-consistency` and `otlake-session` ask for.
pub(super) fn consistency(metadata: &MetadataMap) -> Result<Consistency, Status> {
    Consistency::parse(
        header(metadata, "otlake-consistency"),
        header(metadata, "otlake-session"),
    )
    .map_err(|error| status(&error))
}
