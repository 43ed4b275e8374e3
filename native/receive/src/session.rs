//! What a client's session has covered so far: its acknowledgement covers that, too, so that the
//! token that came last is enough for whatever the client reads next.

use http::HeaderMap;
use otlake_base::limits::SESSION_WRITE_PARTS;
use otlake_base::{Code, Error, Result, Session};

use crate::Ack;

/// The header, in requests and in answers.
pub(crate) const HEADER: &str = "otlake-session";

/// What the request's token asks for; nothing where it has none.
///
/// # Errors
/// `QUERY_SESSION` for what is no token, and for one that has grown so long that the acknowledgement
/// might not find room in it.
pub(crate) fn carried(headers: &HeaderMap) -> Result<Session> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(Session::default());
    };
    let wrong = |what: String| Error::new(Code::QuerySession, what);
    let text = value.to_str();
    let session: Session = text
        .map_err(|_| wrong("the token is not text".to_owned()))?
        .parse()?;
    let parts = session.positions.len() + session.versions.len();
    if parts > SESSION_WRITE_PARTS {
        return Err(wrong(format!(
            "a request to store has a token of {SESSION_WRITE_PARTS} parts at most, not {parts}: \
             read once with it, and go on with the token of the answer, which is shorter"
        )));
    }
    Ok(session)
}

/// The acknowledgement that covers what the request's token asked for, too.
pub(crate) fn covering(mut before: Session, mut ack: Ack) -> Ack {
    if before.is_empty() {
        return ack;
    }
    let own = ack.session.as_deref().map(str::parse::<Session>);
    if let Some(Ok(own)) = own {
        before.merge(&own);
    }
    ack.session = Some(before.to_string());
    ack
}

#[cfg(test)]
#[path = "session_test.rs"]
mod session_test;
