use otlake_base::Code;
use otlake_query::QueryEngine;
use serde_json::{Value as Json, json};

use crate::search;
use crate::testing::{Lake, Span, query, request, span, span_id, trace_id};

async fn answer(engine: &QueryEngine, text: &str) -> Json {
    limited(engine, text, 20).await
}

async fn limited(engine: &QueryEngine, text: &str, limit: u32) -> Json {
    let members = json!({
        "query": query(text), "limit": limit, "spansPerSpanset": 100, "mostRecent": true,
    });
    let answer = search(engine, &request(members, None)).await;
    serde_json::from_str(
        &answer
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .json,
    )
    .unwrap()
}

/// `trace:span,span;span trace:…` of an answer, spansets apart by semicolons.
fn shown(answer: &Json) -> String {
    let traces = answer["traces"].as_array().unwrap().iter().map(|trace| {
        let id = u8::from_str_radix(&trace["traceID"].as_str().unwrap()[..2], 16).unwrap();
        let sets = trace["spanSets"].as_array().unwrap().iter().map(|set| {
            let spans = set["spans"].as_array().unwrap();
            assert_eq!(set["matched"], spans.len());
            let spans = spans.iter().map(|span| {
                let id = u64::from_str_radix(span["spanID"].as_str().unwrap(), 16).unwrap();
                id.to_string()
            });
            spans.collect::<Vec<_>>().join(",")
        });
        format!("{id}:{}", sets.collect::<Vec<_>>().join(";"))
    });
    let mut traces: Vec<String> = traces.collect();
    traces.sort();
    traces.join(" ")
}

async fn spans_of(engine: &QueryEngine, text: &str) -> String {
    shown(&answer(engine, text).await)
}

/// Trace 1 is in files and live batches, 2 in a file, 3 live.
///
/// ```text
///  1  1 GET /cart (shop, server)      2  1 GET /cart (shop)     3  1 checkout (till, error)
///     |- 2 SELECT (db, client)           `- 2 SELECT (db)          |- 2 pay (bank)
///     |- 3 SELECT (db, error)                                      |  `- 3 SELECT (db)
///     `- 4 render (shop)                                           `- 4 pay (bank)
/// ```
fn lake() -> Lake {
    let first = [
        span(1, 1, 0, "GET /cart")
            .lasts(100)
            .has(json!({"http.route": "/cart", "http.status_code": 200, "n": 5, "ok": true})),
        span(1, 2, 1, "SELECT")
            .service("db")
            .kind(3)
            .lasts(20)
            .has(json!({"db.rows": 3, "share": 0.5, "tags": ["a", "b"]}))
            .event(3, "retry", json!({"attempt": 2})),
    ];
    let rest = [
        span(1, 3, 1, "SELECT")
            .service("db")
            .kind(3)
            .fails()
            .lasts(30),
        span(1, 4, 1, "render")
            .kind(1)
            .lasts(5)
            .link(2, 1, json!({"why": "follows"})),
    ];
    let second = [
        span(2, 1, 0, "GET /cart")
            .has(json!({"http.route": "/cart", "n": 6, "service.name": "odd"})),
        span(2, 2, 1, "SELECT")
            .service("db")
            .has(json!({"n": "6"}))
            .resource(json!({"n": 7})),
    ];
    let third = [
        span(3, 1, 0, "checkout").service("till").fails().lasts(900),
        span(3, 2, 1, "pay")
            .service("bank")
            .resource(json!({"region": "eu"})),
        span(3, 3, 2, "SELECT").service("db"),
        span(3, 4, 1, "pay")
            .service("bank")
            .resource(json!({"region": "us"})),
    ];
    Lake::new()
        .file(&first)
        .file(&second)
        .live(&rest)
        .live(&third)
}

#[tokio::test]
async fn conditions_select_spans() {
    let (engine, _folder) = lake().open();
    for (text, spans) in [
        (r#"{ name = "render" }"#, "1:4"),
        (
            r#"{ name != "SELECT" && resource.service.name = "shop" }"#,
            "1:1,4 2:1",
        ),
        (
            r#"{ resource.service.name = "db" && status = error }"#,
            "1:3",
        ),
        (r#"{ .service.name = "odd" }"#, "2:1"),
        (r#"{ kind = client }"#, "1:2,3"),
        ("{ duration > 50ms }", "1:1 3:1"),
        ("{ duration >= 30ms && duration < 900ms }", "1:1,3"),
        (r#"{ span.http.route = "/cart" }"#, "1:1 2:1"),
        ("{ span.n = 5 }", "1:1"),
        ("{ span.n > 4.5 }", "1:1 2:1"),
        ("{ span.n != 5 }", "2:1"),
        (r#"{ span.n = "6" }"#, "2:2"),
        ("{ .n >= 6 }", "2:1"),
        ("{ resource.n = 7 }", "2:2"),
        ("{ span.ok = true }", "1:1"),
        ("{ span.ok }", "1:1"),
        ("{ span.share = 0.5 }", "1:2"),
        (
            "{ span.n = nil && resource.service.name = \"shop\" }",
            "1:4",
        ),
        ("{ span.n != nil }", "1:1 2:1,2"),
        ("{ !(span.n = 5) && name = \"GET /cart\" }", "2:1"),
        (r#"{ name =~ "GET.*" }"#, "1:1 2:1"),
        (r#"{ name =~ "GET" }"#, ""),
        (r#"{ name !~ "GET.*|SELECT|pay" }"#, "1:4 3:1"),
        (r#"{ span.http.route =~ "/c.*" }"#, "1:1 2:1"),
        (r#"{ span.tags = "b" }"#, "1:2"),
        (r#"{ span.tags != "b" }"#, ""),
        (r#"{ span.tags != "c" }"#, "1:2"),
        ("{ span.n + 1 = 6 }", "1:1"),
        ("{ span.n * 2 > span.http.status_code }", ""),
        ("{ span.n < span.http.status_code }", "1:1"),
        (r#"{ event:name = "retry" }"#, "1:2"),
        ("{ event.attempt > 1 }", "1:2"),
        (
            "{ event.attempt = nil && name = \"SELECT\" }",
            "1:3 2:2 3:3",
        ),
        ("{ event:timeSinceStart = 3ms }", "1:2"),
        (r#"{ link.why = "follows" }"#, "1:4"),
        (
            r#"{ instrumentation.lang = "rust" && kind = internal }"#,
            "1:4",
        ),
        (
            r#"{ instrumentation:name = "lib" && instrumentation:version = "1.2" && kind = internal }"#,
            "1:4",
        ),
        ("{ parent = nil }", "1:1 2:1 3:1"),
        ("{ true && status = error }", "1:3 3:1"),
        (r#"{ span:id = "4" }"#, "1:4 3:4"),
        (r#"{ name = "a" || name = "pay" }"#, "3:2,4"),
        ("{ (span.n = 5) = false && name = \"render\" }", "1:4"),
    ] {
        assert_eq!(spans_of(&engine, text).await, spans, "{text}");
    }
    let by_id = format!(r#"{{ trace:id = "{}" }}"#, trace_id(2));
    assert_eq!(spans_of(&engine, &by_id).await, "2:1,2");
    let linked = format!(r#"{{ link:spanID = "{}" }}"#, span_id(1));
    assert_eq!(spans_of(&engine, &linked).await, "1:4");
}

#[tokio::test]
async fn what_the_whole_trace_tells_is_a_condition_too() {
    let (engine, _folder) = lake().open();
    for (text, spans) in [
        ("{ traceDuration > 500ms }", "3:1,2,3,4"),
        (r#"{ rootName = "GET /cart" && status = error }"#, "1:3"),
        (r#"{ rootServiceName = "till" && name = "pay" }"#, "3:2,4"),
        ("{ childCount = 3 }", "1:1"),
        ("{ childCount = 0 && name = \"pay\" }", "3:4"),
        (
            r#"{ parent.http.route = "/cart" && name = "render" }"#,
            "1:4",
        ),
        (r#"{ parent.resource.service.name = "bank" }"#, "3:3"),
        ("{ nestedSetParent < 0 }", "1:1 2:1 3:1"),
        ("{ nestedSetLeft = 2 }", "1:2 2:2 3:2"),
        ("{ !(childCount > 0) && kind = internal }", "1:4"),
    ] {
        assert_eq!(spans_of(&engine, text).await, spans, "{text}");
    }
}

#[tokio::test]
async fn operators_relate_spans_of_files_and_live_batches() {
    let (engine, _folder) = lake().open();
    let (cart, select) = (r#"{ name = "GET /cart" }"#, r#"{ name = "SELECT" }"#);
    for (text, spans) in [
        (format!("{cart} > {select}"), "1:2,3 2:2"),
        (format!("{{ status = error }} >> {select}"), "3:3"),
        (format!("{select} < {cart}"), "1:1 2:1"),
        (format!("{select} << {{ status = error }}"), "3:1"),
        (format!("{select} ~ {{ name = \"render\" }}"), "1:4"),
        (format!("{cart} !> {select}"), "3:3"),
        (format!("{{ status = error }} !>> {select}"), "1:2,3 2:2"),
        (format!("{select} !< {cart}"), ""),
        (format!("{select} !<< {{ name = \"pay\" }}"), "3:4"),
        (format!("{select} !~ {{ name = \"pay\" }}"), "3:2,4"),
        (format!("{cart} &> {select}"), "1:1,2,3 2:1,2"),
        (format!("{{ status = error }} &>> {select}"), "3:1,3"),
        (format!("{select} &< {cart}"), "1:1,2,3 2:1,2"),
        (format!("{select} &<< {{ status = error }}"), "3:1,3"),
        (format!("{select} &~ {{ name = \"render\" }}"), "1:2,3,4"),
        (format!("{cart} && {{ status = error }}"), "1:1,3"),
        (
            "{ name = \"render\" } || { name = \"pay\" }".to_owned(),
            "1:4 3:2,4",
        ),
        (
            format!("({{ name = \"checkout\" }} > {{ name = \"pay\" }}) > {select}"),
            "3:3",
        ),
    ] {
        assert_eq!(spans_of(&engine, &text).await, spans, "{text}");
    }
}

#[tokio::test]
async fn pipelines_filter_group_and_join() {
    let (engine, _folder) = lake().open();
    for (text, spans) in [
        ("{ } | count() > 3", "1:1,2,3,4 3:1,2,3,4"),
        ("{ name = \"SELECT\" } | count() = 2", "1:2,3"),
        ("{ } | avg(duration) > 100ms", "3:1,2,3,4"),
        ("{ } | max(span.n) = 6", "2:1,2"),
        ("{ } | sum(span.n) < 6", "1:1,2,3,4"),
        ("{ } | min(duration) < 10ms", "1:1,2,3,4"),
        (
            "{ } | by(resource.service.name) | count() > 1",
            "1:1,4;2,3 3:2,4",
        ),
        ("{ name = \"pay\" } | by(resource.region)", "3:2;4"),
        (
            "{ name = \"pay\" } | by(resource.region) | coalesce()",
            "3:2,4",
        ),
        ("{ } | { name = \"render\" }", "1:4"),
        ("({ } | count() > 3) > { name = \"SELECT\" }", "1:2,3 3:3"),
        (
            "{ name = \"SELECT\" } | select(span.db.rows) | count() > 1",
            "1:2,3",
        ),
    ] {
        assert_eq!(spans_of(&engine, text).await, spans, "{text}");
    }
    let grouped = answer(
        &engine,
        "{ name = \"pay\" } | by(resource.region) | count() = 1",
    )
    .await;
    let attributes = &grouped["traces"][0]["spanSets"][0]["attributes"];
    assert_eq!(
        *attributes,
        json!([
            {"key": "by(resource.region)", "value": {"stringValue": "eu"}},
            {"key": "count()", "value": {"intValue": "1"}},
        ])
    );
}

#[tokio::test]
async fn a_trace_is_shown_with_its_root_and_what_was_asked() {
    let (engine, _folder) = lake().open();
    let answer = answer(&engine, "{ span.db.rows > 1 } | select(status, span.share)").await;
    let trace = &answer["traces"][0];
    assert_eq!(trace["traceID"], trace_id(1));
    assert_eq!(trace["rootServiceName"], "shop");
    assert_eq!(trace["rootTraceName"], "GET /cart");
    assert_eq!(trace["startTimeUnixNano"], "1767225601001000000");
    assert_eq!(trace["durationMs"], 100);
    assert_eq!(
        trace["serviceStats"]["db"],
        json!({"spanCount": 2, "errorCount": 1})
    );
    assert_eq!(trace["spanSet"], trace["spanSets"][0]);
    assert_eq!(
        trace["spanSets"][0],
        json!({
            "spans": [{
                "spanID": span_id(2), "name": "SELECT", "durationNanos": "20000000",
                "startTimeUnixNano": "1767225601002000000",
                "attributes": [
                    {"key": "db.rows", "value": {"intValue": "3"}},
                    {"key": "status", "value": {"stringValue": "unset"}},
                    {"key": "share", "value": {"doubleValue": 0.5}},
                ],
            }],
            "matched": 1, "attributes": [],
        })
    );
}

#[tokio::test]
async fn the_newest_traces_come_first_and_within_their_times() {
    let (engine, _folder) = lake().open();
    let answer = limited(&engine, "{ }", 2).await;
    let ids = answer["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| trace["traceID"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [trace_id(3), trace_id(2)]);
    let members =
        json!({"query": query("{ }"), "limit": 20, "spansPerSpanset": 0, "mostRecent": false});
    let within = search(&engine, &request(members, Some((1_003, 2_001))))
        .await
        .unwrap();
    let within: Json = serde_json::from_str(&within.json).unwrap();
    assert_eq!(shown(&within), "1:3,4 2:1");
    // The root is told although it began earlier.
    let first = within["traces"].as_array().unwrap().iter();
    let first = first
        .clone()
        .find(|trace| trace["traceID"] == trace_id(1))
        .unwrap();
    assert_eq!(first["rootTraceName"], "GET /cart");
}

#[tokio::test]
async fn a_span_that_a_resend_doubled_counts_once() {
    let spans = [span(1, 1, 0, "a"), span(1, 2, 1, "b")];
    let (engine, _folder) = Lake::new().file(&spans).live(&spans).open();
    assert_eq!(spans_of(&engine, "{ }").await, "1:1,2");
    assert_eq!(spans_of(&engine, "{ } | count() = 2").await, "1:1,2");
    assert_eq!(
        spans_of(&engine, "{ name = \"a\" } > { name = \"b\" }").await,
        "1:2"
    );
}

#[tokio::test]
async fn circles_and_missing_parents_end() {
    let spans = [
        span(1, 1, 2, "a"),
        span(1, 2, 1, "b"),
        span(1, 3, 9, "c"),
        span(1, 4, 3, "d"),
    ];
    let (engine, _folder) = Lake::new().file(&spans).open();
    assert_eq!(spans_of(&engine, "{ name = \"c\" } >> { }").await, "1:4");
    let answer = answer(&engine, "{ name = \"a\" } || { name = \"b\" }").await;
    assert_eq!(shown(&answer), "1:1,2");
    assert_eq!(
        answer["traces"][0]["rootServiceName"],
        "<root span not yet received>"
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (engine, _folder) = lake().open();
    for text in [
        r#"{ name = 5 }"#,
        r#"{ duration = "long" }"#,
        "{ status > error }",
        "{ kind = error }",
        "{ name }",
        "{ } | avg(name) > 1",
        "{ } | rate()",
    ] {
        let members =
            json!({"query": query(text), "limit": 20, "spansPerSpanset": 3, "mostRecent": false});
        let error = search(&engine, &request(members, None)).await.unwrap_err();
        let code = if text.contains("rate") {
            Code::TraceqlRequest
        } else {
            Code::TraceqlType
        };
        assert_eq!(error.code, code, "{text}: {error}");
    }
    let members = json!({"query": query(r#"{ name =~ "(" }"#), "limit": 1, "spansPerSpanset": 3});
    let error = search(&engine, &request(members, None)).await.unwrap_err();
    assert_eq!(error.code, Code::TraceqlRegex);
    for members in [
        json!({"query": query("{ }"), "limit": 0, "spansPerSpanset": 3, "mostRecent": false}),
        json!({"query": {"pipeline": [{"kind": "never"}], "metrics": null, "hints": []}, "limit": 1, "spansPerSpanset": 3}),
    ] {
        let error = search(&engine, &request(members, None)).await.unwrap_err();
        assert_eq!(error.code, Code::TraceqlRequest, "{error}");
    }
}

#[tokio::test]
async fn memory_that_whole_traces_take_has_a_limit() {
    let wide: Vec<Span> = (1..=200)
        .map(|number| {
            let text = format!("{number}").repeat(2_000);
            span(number, 1, 0, "a").has(json!({ "text": text }))
        })
        .collect();
    let (engine, _folder) = Lake::new().file(&wide).open_with(256 << 10);
    let members = json!({
        "query": query("{ parent.text = nil && traceDuration > 0ms }"),
        "limit": 1_000, "spansPerSpanset": 3, "mostRecent": false,
    });
    let error = search(&engine, &request(members, None)).await.unwrap_err();
    assert_eq!(error.code, Code::QueryMemory, "{error}");
}

#[tokio::test]
async fn spans_of_other_nodes_come_with_the_columns_that_a_query_takes() {
    let (alone, _folder) = lake().open();
    let (among, _other) = lake().elsewhere().open();
    for text in [
        "{ }",
        "{ span.n > 4 } | select(resource.region, event.attempt)",
        r#"{ parent.http.route = "/cart" && rootServiceName = "shop" }"#,
        "{ status = error } >> { kind = server } | avg(span.db.rows) < 9 | by(statusMessage)",
        r#"{ link.why != nil || instrumentation.lang = "rust" } | count() > 1"#,
    ] {
        let (one, other) = (answer(&alone, text).await, answer(&among, text).await);
        assert_eq!(one["traces"], other["traces"], "{text}");
    }
}

#[tokio::test]
async fn a_stage_looks_at_each_spanset_by_itself() {
    let (engine, _folder) = lake().open();
    for (text, spans) in [
        // Of each service: a SELECT and a sibling of the same service.
        (
            r#"{ } | by(resource.service.name) | { name = "SELECT" } ~ { name = "SELECT" }"#,
            "1:2,3",
        ),
        (
            r#"{ name != "pay" } | { name = "checkout" } >> { name = "SELECT" }"#,
            "3:3",
        ),
        (
            r#"{ name != "checkout" } | { name = "checkout" } >> { name = "SELECT" }"#,
            "",
        ),
        (r#"({ name = "pay" } | by(resource.region))"#, "3:2;4"),
    ] {
        assert_eq!(spans_of(&engine, text).await, spans, "{text}");
    }
}

#[tokio::test]
async fn the_most_recent_are_shown_where_they_have_to_be() {
    // In every trace the last span is not of the result; the older the trace the later it is.
    let mut spans = Vec::new();
    for trace in 1..=100_u8 {
        let start = i64::from(trace) * 10;
        spans.push(span(trace, 1, 0, "a").start(start));
        spans.push(span(trace, 2, 1, "b").start(start + 1));
        spans.push(span(trace, 3, 9, "b").start(5_000 - start));
    }
    let (engine, _folder) = Lake::new().file(&spans).open();
    let members = json!({
        "query": query(r#"{ name = "a" } > { name = "b" }"#),
        "limit": 2, "spansPerSpanset": 3, "mostRecent": true,
    });
    let found = search(&engine, &request(members, None)).await.unwrap();
    assert_eq!(
        shown(&serde_json::from_str(&found.json).unwrap()),
        "100:2 99:2"
    );
}
