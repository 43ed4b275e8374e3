//! The time of a query is a limit of all that it does: also of what it does with rows that it has.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::{Clock, Code, Error, Result};
use otlake_query::QueryEngine;
use serde_json::{Value as Json, json};

use crate::json::written;
use crate::testing::{Lake, expression, query, request, span};
use crate::{Answer, metrics, search, tag_values, tags};

const TRACES: u8 = 200;
/// What may be asked of the clock once the time is over: how the query ended, and by whom.
const AFTERWARDS: u64 = 20;

/// A clock that is a millisecond further each time that it is asked.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn unix_nano(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

fn lake() -> Lake {
    let spans = (1..=TRACES).flat_map(|trace| {
        let name = format!("operation {trace}");
        [
            span(trace, 1, 0, &name).has(json!({ "n": trace })),
            span(trace, 2, 1, &name).service("db"),
        ]
    });
    Lake::new().live(&spans.collect::<Vec<_>>())
}

/// What is asked, and how.
enum Asked {
    Traces(&'static str),
    Series(&'static str),
    Tags,
    Values(&'static str),
}

impl Asked {
    async fn of(&self, engine: &QueryEngine, timeout_ms: Option<u64>) -> Result<Answer> {
        let timeout = json!(timeout_ms);
        let range = Some((1_000, 1_000 * (i64::from(TRACES) + 2)));
        match self {
            Asked::Traces(text) => {
                let members = json!({
                    "query": query(text), "limit": 1_000, "spansPerSpanset": 10,
                    "mostRecent": false, "timeoutMs": timeout,
                });
                search(engine, &request(members, None)).await
            }
            Asked::Series(text) => {
                let members = json!({
                    "query": query(text), "stepNs": "1000000000", "exemplars": 100,
                    "timeoutMs": timeout,
                });
                metrics(engine, &request(members, range)).await
            }
            Asked::Tags => {
                let members = json!({
                    "scope": null, "query": null, "limit": 1_000, "timeoutMs": timeout,
                });
                tags(engine, &request(members, None)).await
            }
            Asked::Values(tag) => {
                let members = json!({
                    "tag": expression(tag), "query": null, "limit": 1_000, "timeoutMs": timeout,
                });
                tag_values(engine, &request(members, None)).await
            }
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Asked::Traces(text) | Asked::Series(text) | Asked::Values(text) => text,
            Asked::Tags => "tags",
        }
    }
}

#[tokio::test]
async fn a_query_ends_at_its_time_in_the_middle_of_what_it_does_with_the_rows() {
    let clock = Arc::new(Ticking::default());
    let (engine, _folder) = lake().open_at(64 << 20, Arc::clone(&clock) as Arc<dyn Clock>);
    let ticks = || clock.0.load(Ordering::Relaxed);
    for asked in [
        Asked::Traces("{ }"),
        Asked::Traces("{ } >> { }"),
        Asked::Traces("{ } | by(name) | count() > 0"),
        Asked::Traces("{ traceDuration > 0ms }"),
        Asked::Series("{ } | rate() by (name)"),
        Asked::Series("{ } | quantile_over_time(duration, 0.5, 0.9) by (name)"),
        Asked::Series("{ } >> { } | count_over_time() by (name)"),
        Asked::Series("{ } | rate() by (name) | topk(10)"),
        Asked::Series("{ } | compare({ resource.service.name = \"db\" })"),
    ] {
        let text = asked.text();
        let began = ticks();
        let answer = asked.of(&engine, None).await;
        let answer = answer.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(answer.json.len() > 10_000, "{text}: {}", answer.json);
        let whole = ticks() - began;
        assert!(whole > u64::from(TRACES), "{text}: asked {whole} times");
        for share in [4, 2] {
            let began = ticks();
            let error = asked.of(&engine, Some(whole / share)).await;
            let error = error.map(|answer| answer.json).expect_err(text);
            assert_eq!(error.code, Code::QueryTimeout, "{text}: {error}");
            let passed = ticks() - began;
            let most = whole / share + AFTERWARDS;
            assert!(passed <= most, "{text}: {passed} of {most}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_its_time_is_none() {
    let clock = Arc::new(Ticking::default());
    let (engine, _folder) = lake().open_at(64 << 20, Arc::clone(&clock) as Arc<dyn Clock>);
    for asked in [
        Asked::Traces("{ name = \"operation 7\" }"),
        Asked::Tags,
        Asked::Values("name"),
        Asked::Values("status"),
    ] {
        let answer = asked.of(&engine, Some(10_000)).await;
        assert!(answer.is_ok(), "{}", asked.text());
        let error = asked.of(&engine, Some(1)).await;
        let error = error.map(|answer| answer.json).expect_err(asked.text());
        assert_eq!(error.code, Code::QueryTimeout, "{}", asked.text());
    }
}

#[test]
fn a_message_is_written_as_it_is_and_not_to_its_end_where_the_time_is_over() {
    let line = "a line of \"text\"\n".repeat(10);
    let message = Json::from(vec![line; 5_000]);
    let asked = Cell::new(0);
    let text = written(&message, || {
        asked.set(asked.get() + 1);
        Ok(())
    });
    assert_eq!(text.unwrap(), message.to_string());
    assert!(asked.get() > 10, "asked {} times", asked.get());
    asked.set(0);
    let late = written(&message, || {
        asked.set(asked.get() + 1);
        match asked.get() < 3 {
            true => Ok(()),
            false => Err(Error::new(Code::QueryTimeout, "it is over")),
        }
    });
    assert_eq!(late.unwrap_err().code, Code::QueryTimeout);
    assert_eq!(asked.get(), 3);
}
