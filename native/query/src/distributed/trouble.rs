//! Errors on their way between nodes, and what went wrong in an attempt.
//!
//! The library sends DataFusion's errors as they are, and of others the text alone: what an error of
//! ours is goes as a text that is read again at its destination.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use otlake_base::{Code, Error, Kind};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::Status;

use super::limits::ERROR_BYTES;
use crate::error::from_datafusion;

/// What begins an error of ours, and parts its fields. No text of a person has it.
const MARK: char = '\u{1}';

/// An error of ours, from a task.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) error: Error,
    /// The node without which the query may succeed.
    pub(crate) node: Option<Arc<str>>,
}

impl Told {
    /// The error of a task.
    pub(crate) fn of(error: Error) -> Told {
        Told { error, node: None }
    }

    /// The error that a node was lost.
    pub(crate) fn lost(node: &Arc<str>, why: impl fmt::Display) -> Told {
        let what = format!("node `{node}` was lost in a query: {why}");
        Told {
            error: Error::new(Code::QueryIncomplete, what),
            node: Some(Arc::clone(node)),
        }
    }

    /// As DataFusion carries it.
    pub(crate) fn carried(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// The error that a text is, if it is one.
    pub(crate) fn read(text: &str) -> Option<Told> {
        let mut fields = text.strip_prefix(MARK)?.splitn(4, MARK);
        let (code, kind) = (fields.next()?, fields.next()?);
        let (node, message) = (fields.next()?, fields.next()?);
        // A newer node may have codes that this one does not know: what can be done about them counts.
        let code = Code::from_name(code).unwrap_or_else(|| match Kind::from_name(kind) {
            Some(Kind::Unavailable) => Code::QueryIncomplete,
            _ => Code::QueryFailed,
        });
        Some(Told {
            error: Error::new(code, message),
            node: (!node.is_empty()).then(|| node.into()),
        })
    }

    /// The error of ours in another.
    pub(crate) fn find(error: &DataFusionError) -> Option<Told> {
        match error {
            DataFusionError::Shared(inner) => Self::find(inner),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::find(inner)
            }
            DataFusionError::Collection(errors) => errors.iter().find_map(Self::find),
            DataFusionError::External(inner) => Self::within(&**inner),
            DataFusionError::ArrowError(inner, _) => match &**inner {
                ArrowError::ExternalError(inner) => Self::within(&**inner),
                _ => None,
            },
            _ => None,
        }
    }

    fn within(inner: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Told> {
        if let Some(told) = inner.downcast_ref::<Told>() {
            return Some(told.clone());
        }
        match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => Self::find(inner),
            None => Self::read(&inner.to_string()),
        }
    }

    /// An error that came from a worker, by what it is: one of a task as it is, the loss of the
    /// worker, or a fault of what lies between.
    pub(crate) fn from_worker(node: &Arc<str>, error: DataFusionError) -> DataFusionError {
        if let Some(told) = Self::find(&error) {
            return told.carried();
        }
        if let Some(status) = broken(&error) {
            return Self::lost(node, status).carried();
        }
        match innermost(&error) {
            // A task's own errors are told by its guard: these are of the machinery, or of a plan that
            // is not read as it was written.
            DataFusionError::Execution(what)
            | DataFusionError::Internal(what)
            | DataFusionError::Plan(what)
            | DataFusionError::NotImplemented(what)
            | DataFusionError::Configuration(what) => {
                let what = format!("node `{node}`: {what}");
                Self::of(Error::new(Code::QueryFailed, what)).carried()
            }
            _ => error,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, kind) = (self.error.code.as_str(), self.error.kind().name());
        let node = self.node.as_deref().unwrap_or_default();
        let message = &self.error.message;
        let mut end = message.len().min(ERROR_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = &message[..end];
        write!(f, "{MARK}{code}{MARK}{kind}{MARK}{node}{MARK}{message}")
    }
}

impl std::error::Error for Told {}

/// What of an exchange broke, where that is what an error is.
fn broken(error: &DataFusionError) -> Option<String> {
    match innermost(error) {
        DataFusionError::External(inner) => {
            let status = inner.downcast_ref::<Status>()?;
            let source = std::error::Error::source(status);
            let source = source.map(|source| format!(" ({source})"));
            Some(format!(
                "{}{}",
                status.message(),
                source.unwrap_or_default()
            ))
        }
        _ => None,
    }
}

fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            innermost(inner)
        }
        other => other,
    }
}

/// Why an attempt did not come to its end.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Without these nodes it may.
    Lost(BTreeSet<Arc<str>>, Error),
    /// On one node it may.
    Unfit(Error),
    /// It would not in any way.
    Ended(Error),
}

impl Trouble {
    /// The error that a client gets.
    pub(crate) fn error(self) -> Error {
        match self {
            Trouble::Lost(_, error) | Trouble::Unfit(error) | Trouble::Ended(error) => error,
        }
    }
}

/// What goes wrong in an attempt beside its rows: a plan that could not be sent.
#[derive(Default)]
pub(crate) struct Troubles {
    found: Mutex<Vec<Told>>,
    wakes: Notify,
}

impl Troubles {
    /// A plan was not taken, for this reason.
    pub(crate) fn tell(&self, error: &DataFusionError) {
        let told = Told::find(error).unwrap_or_else(|| {
            let error = from_datafusion(error);
            // What cannot be sent is no fault of the statement.
            match error.kind() {
                Kind::Invalid => Told::of(Error::new(Code::QueryFailed, error.message)),
                _ => Told::of(error),
            }
        });
        self.found.lock().push(told);
        self.wakes.notify_one();
    }

    /// Waits for the first.
    pub(crate) async fn found(&self) -> Trouble {
        loop {
            if let Some(trouble) = self.trouble() {
                return trouble;
            }
            self.wakes.notified().await;
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        let found = self.found.lock();
        let first = found.first()?;
        Some(judged(first, found.iter()))
    }

    /// What an error among the rows comes to.
    pub(crate) fn judge(&self, error: &DataFusionError) -> Trouble {
        let told = Told::find(error).unwrap_or_else(|| Told::of(from_datafusion(error)));
        let found = self.found.lock();
        judged(&told, found.iter().chain([&told]))
    }
}

fn judged<'a>(first: &Told, all: impl Iterator<Item = &'a Told>) -> Trouble {
    let lost: BTreeSet<_> = all.filter_map(|told| told.node.clone()).collect();
    let error = first.error.clone();
    match (lost.is_empty(), error.code) {
        (false, _) => Trouble::Lost(lost, error),
        (true, Code::QueryFailed) => Trouble::Unfit(error),
        (true, _) => Trouble::Ended(error),
    }
}
