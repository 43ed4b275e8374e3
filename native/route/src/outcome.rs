//! What became of a request, from what became of its slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Kind, Position, Result, StreamId};
use otlake_receive::Ack;

/// Slices whose messages a client is told.
const MAX_MESSAGES: usize = 8;

/// How one slice ended.
pub struct Ended {
    /// The node that it went to.
    pub node: Arc<str>,
    pub result: Result<Ack>,
    /// Its records, where it was refused.
    pub records: u64,
}

/// Whether it is between the nodes that something went wrong, so that no owner has judged the
/// slice, or nobody knows how.
pub fn was_not_judged(error: &Error) -> bool {
    matches!(
        error.code,
        Code::PeerUnreachable
            | Code::PeerRefused
            | Code::PeerTimeout
            | Code::PeerOverloaded
            | Code::PeerProtocol
    )
}

/// Whether the same slice can be stored later.
fn is_passing(error: &Error) -> bool {
    was_not_judged(error)
        || matches!(
            error.kind(),
            Kind::Unavailable | Kind::Corrupt | Kind::Cancelled
        )
}

/// One answer of all.
///
/// # Errors
/// A retryable one where any slice met a passing fault; where every slice was refused for good,
/// the first one's.
pub fn join(ended: Vec<Ended>) -> Result<Ack> {
    let mut faults = ended.iter().filter_map(|ended| {
        let error = ended.result.as_ref().err()?;
        is_passing(error).then_some((&ended.node, error))
    });
    let first = faults.next();
    // Where one is overloaded the client is to slow down, whatever else there is.
    let overloaded = |(_, error): &(&Arc<str>, &Error)| error.code == Code::IngestOverloaded;
    let told = first
        .filter(overloaded)
        .or(faults.find(overloaded))
        .or(first);
    if let Some((node, error)) = told {
        return Err(retryable(node, error));
    }
    let mut joined = Ack::default();
    let mut messages = Vec::new();
    let mut sessions = Sessions::default();
    let mut refused = None;
    let mut is_stored = false;
    for Ended {
        result, records, ..
    } in ended
    {
        match result {
            Ok(ack) => {
                is_stored = true;
                joined.accepted += ack.accepted;
                joined.rejected += ack.rejected;
                messages.extend(ack.message);
                sessions.add(ack.session);
            }
            Err(error) => {
                joined.rejected += records;
                let code = error.code.as_str();
                messages.push(format!("{records} refused with {code}: {error}"));
                refused.get_or_insert(error);
            }
        }
    }
    if let (Some(error), false) = (refused, is_stored) {
        return Err(error);
    }
    messages.truncate(MAX_MESSAGES);
    joined.message = (!messages.is_empty()).then(|| messages.join("; "));
    joined.session = sessions.token();
    Ok(joined)
}

/// The newest position of each stream.
#[derive(Default)]
struct Sessions {
    newest: BTreeMap<StreamId, u64>,
}

impl Sessions {
    fn add(&mut self, session: Option<String>) {
        let session = session.unwrap_or_default();
        let positions = session.split(',').filter_map(|part| part.parse().ok());
        for Position { stream, sequence } in positions {
            let newest = self.newest.entry(stream).or_default();
            *newest = sequence.max(*newest);
        }
    }

    fn token(&self) -> Option<String> {
        let positions: Vec<String> = self
            .newest
            .iter()
            .map(|(&stream, &sequence)| Position { stream, sequence }.to_string())
            .collect();
        (!positions.is_empty()).then(|| positions.join(","))
    }
}

/// A passing fault, as a code that the client tries again.
fn retryable(node: &str, error: &Error) -> Error {
    let code = match error.kind() {
        Kind::Unavailable | Kind::Corrupt | Kind::Cancelled => error.code,
        _ => Code::PeerUnreachable,
    };
    Error::new(code, format!("at node `{node}`: {error}"))
}
