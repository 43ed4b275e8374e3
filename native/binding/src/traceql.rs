//! TraceQL: each call takes one JSON text and gives another, a message of Tempo's.

use napi_derive::napi;
use otlake_base::Result;
use otlake_query::QueryEngine;
use otlake_traceql::Answer;

use crate::engine::Engine;
use crate::failure::Outcome;

/// An answer to TraceQL.
#[napi(object, js_name = "TraceqlAnswer", use_nullable = true)]
pub struct TraceqlAnswer {
    /// The JSON mapping of the message.
    pub json: String,
    /// The session token that covers what it shows; none where the node's own does.
    pub session: Option<String>,
    /// The streams whose rows a partial answer may lack; none where it lacks none.
    pub partial: Option<String>,
}

/// What is asked of spans.
#[derive(Clone, Copy)]
pub enum Asked {
    Traces,
    Tags,
    TagValues,
    Metrics,
}

impl Asked {
    async fn of(self, engine: &QueryEngine, request: &str) -> Result<Answer> {
        match self {
            Asked::Traces => otlake_traceql::search(engine, request).await,
            Asked::Tags => otlake_traceql::tags(engine, request).await,
            Asked::TagValues => otlake_traceql::tag_values(engine, request).await,
            Asked::Metrics => otlake_traceql::metrics(engine, request).await,
        }
    }
}

impl Engine {
    pub async fn traceql(&self, asked: Asked, request: String) -> Outcome<TraceqlAnswer> {
        let (queries, is_joined) = self.asking()?;
        let answer = self
            .asking_runtime()
            .spawn(async move { asked.of(&queries, &request).await })
            .await??;
        let missing = &answer.missing;
        Ok(TraceqlAnswer {
            json: answer.json,
            // Alone, a node's own token covers what its answers show.
            session: is_joined.then(|| answer.session.to_string()),
            partial: (!missing.is_empty()).then(|| otlake_query::named(missing)),
        })
    }
}
