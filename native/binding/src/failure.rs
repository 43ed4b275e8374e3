//! otlake's error as JavaScript's: napi gives asynchronous errors no code of their own, so the
//! message carries it in front, `CODE: what happened`.

use otlake_base::{Code, Error};

/// What every export returns.
pub type Outcome<T> = Result<T, Failure>;

/// An otlake error on its way to JavaScript.
#[derive(Debug)]
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(Error::new(
            Code::Internal,
            format!("a native task ended early: {error}"),
        ))
    }
}

impl From<Failure> for napi::Error {
    fn from(Failure(error): Failure) -> Self {
        napi::Error::from_reason(format!("{}: {}", error.code.as_str(), error.message))
    }
}

impl From<Failure> for napi::JsError {
    fn from(failure: Failure) -> Self {
        napi::Error::from(failure).into()
    }
}
