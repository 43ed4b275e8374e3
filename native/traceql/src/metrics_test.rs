use otlake_base::Code;
use otlake_query::QueryEngine;
use serde_json::{Value as Json, json};

use crate::metrics;
use crate::testing::{EPOCH, Lake, MS, query, request, span, trace_id};

/// The second up to 2: two GETs (shop) of 8 and 16 ms, one SELECT (db) of 100 ms below the first.
/// Up to 3: a GET of 64 ms, an error. Up to 4: nothing. Up to 5: a SELECT of 1 ms.
fn lake() -> Lake {
    let stored = [
        span(1, 1, 0, "GET")
            .start(1_001)
            .lasts(8)
            .has(json!({"n": 3, "code": 200})),
        span(1, 2, 1, "SELECT")
            .start(1_100)
            .lasts(100)
            .service("db"),
        span(2, 1, 0, "GET")
            .start(1_900)
            .lasts(16)
            .has(json!({"n": 5, "code": 500})),
    ];
    let live = [
        span(3, 1, 0, "GET")
            .start(2_100)
            .lasts(64)
            .fails()
            .has(json!({"n": 7})),
        span(4, 1, 0, "SELECT").start(4_500).lasts(1).service("db"),
    ];
    Lake::new().file(&stored).live(&live)
}

async fn answer(engine: &QueryEngine, text: &str, step_ms: Option<i64>, exemplars: u32) -> Json {
    let step = step_ms.map(|ms| (ms * MS).to_string());
    let members = json!({"query": query(text), "stepNs": step, "exemplars": exemplars});
    let answer = metrics(engine, &request(members, Some((1_000, 5_000)))).await;
    serde_json::from_str(
        &answer
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .json,
    )
    .unwrap()
}

/// `labels second=value …` of each series.
async fn series(engine: &QueryEngine, text: &str) -> Vec<String> {
    let answer = answer(engine, text, Some(1_000), 0).await;
    let series = answer["series"].as_array().unwrap().iter().map(|series| {
        let samples = series["samples"].as_array().unwrap().iter().map(|sample| {
            let ms: i64 = sample["timestampMs"].as_str().unwrap().parse().unwrap();
            format!("{}={}", (ms - EPOCH / MS) / 1_000, sample["value"])
        });
        let samples: Vec<String> = samples.collect();
        format!(
            "{} {}",
            series["promLabels"].as_str().unwrap(),
            samples.join(" ")
        )
    });
    series.collect()
}

#[tokio::test]
async fn spans_are_counted_by_step() {
    let (engine, _folder) = lake().open();
    assert_eq!(
        series(&engine, "{ } | count_over_time()").await,
        [r#"{__name__="count_over_time"} 2=3.0 3=1.0 4=0.0 5=1.0"#]
    );
    assert_eq!(
        series(&engine, "{ name = \"GET\" } | rate()").await,
        [r#"{__name__="rate"} 2=2.0 3=1.0 4=0.0 5=0.0"#]
    );
    assert_eq!(
        series(&engine, "{ } | rate() by (resource.service.name)").await,
        [
            r#"{"resource.service.name"="db"} 2=1.0 3=0.0 4=0.0 5=1.0"#,
            r#"{"resource.service.name"="shop"} 2=2.0 3=1.0 4=0.0 5=0.0"#,
        ]
    );
    assert_eq!(
        series(
            &engine,
            "{ name = \"GET\" } | count_over_time() by (span.code, status)"
        )
        .await,
        [
            r#"{"span.code"="200", "status"="unset"} 2=1.0 3=0.0 4=0.0 5=0.0"#,
            r#"{"span.code"="500", "status"="unset"} 2=1.0 3=0.0 4=0.0 5=0.0"#,
            r#"{"status"="error"} 2=0.0 3=1.0 4=0.0 5=0.0"#,
        ]
    );
    assert_eq!(
        series(
            &engine,
            "{ name = \"SELECT\" } | count_over_time() by (span.code)"
        )
        .await,
        [r#"{"span.code"="nil"} 2=1.0 3=0.0 4=0.0 5=1.0"#]
    );
}

#[tokio::test]
async fn numbers_of_spans_are_aggregated() {
    let (engine, _folder) = lake().open();
    for (text, samples) in [
        (
            "{ name = \"GET\" } | min_over_time(duration)",
            "2=0.008 3=0.064",
        ),
        (
            "{ name = \"GET\" } | max_over_time(duration)",
            "2=0.016 3=0.064",
        ),
        (
            "{ name = \"GET\" } | avg_over_time(duration)",
            "2=0.012 3=0.064",
        ),
        (
            "{ name = \"GET\" } | sum_over_time(duration)",
            "2=0.024 3=0.064",
        ),
        ("{ } | max_over_time(span.n)", "2=5.0 3=7.0"),
        ("{ } | sum_over_time(span.n)", "2=8.0 3=7.0"),
    ] {
        let series = series(&engine, text).await;
        assert_eq!(series.len(), 1, "{text}");
        assert!(
            series[0].ends_with(&format!(" {samples}")),
            "{text}: {}",
            series[0]
        );
    }
    assert_eq!(
        series(&engine, "{ } | max_over_time(span.none)").await,
        [""; 0]
    );
}

#[tokio::test]
async fn quantiles_and_histograms_are_of_powers_of_two() {
    let (engine, _folder) = lake().open();
    // 8 ms are in the bucket up to 2^23 ns, 16 ms in that up to 2^24.
    assert_eq!(
        series(
            &engine,
            "{ name = \"GET\" } | quantile_over_time(duration, 0.5, 1)"
        )
        .await,
        [
            "{p=\"0.5\"} 2=0.008388608 3=0.067108864",
            "{p=\"1.0\"} 2=0.016777216 3=0.067108864",
        ]
    );
    assert_eq!(
        series(
            &engine,
            "{ name = \"GET\" } | histogram_over_time(duration) by (status)"
        )
        .await,
        [
            "{\"status\"=\"error\", __bucket=\"0.067108864\"} 2=0.0 3=1.0 4=0.0 5=0.0",
            "{\"status\"=\"unset\", __bucket=\"0.008388608\"} 2=1.0 3=0.0 4=0.0 5=0.0",
            "{\"status\"=\"unset\", __bucket=\"0.016777216\"} 2=1.0 3=0.0 4=0.0 5=0.0",
        ]
    );
}

#[tokio::test]
async fn structure_and_pipelines_make_series_as_well() {
    let (engine, _folder) = lake().open();
    assert_eq!(
        series(
            &engine,
            "{ name = \"GET\" } > { name = \"SELECT\" } | rate() by (name)"
        )
        .await,
        [r#"{"name"="SELECT"} 2=1.0 3=0.0 4=0.0 5=0.0"#]
    );
    assert_eq!(
        series(&engine, "{ } | count() > 1 | count_over_time()").await,
        [r#"{__name__="count_over_time"} 2=2.0 3=0.0 4=0.0 5=0.0"#]
    );
    assert_eq!(
        series(
            &engine,
            "{ rootName = \"SELECT\" } | max_over_time(duration) by (rootName)"
        )
        .await,
        [r#"{"rootName"="SELECT"} 5=0.001"#]
    );
}

#[tokio::test]
async fn series_are_ranked_and_filtered() {
    let (engine, _folder) = lake().open();
    let by_service = "{ } | count_over_time() by (resource.service.name)";
    assert_eq!(
        series(&engine, &format!("{by_service} | topk(1)")).await,
        [
            r#"{"resource.service.name"="db"} 4=0.0 5=1.0"#,
            r#"{"resource.service.name"="shop"} 2=2.0 3=1.0"#,
        ]
    );
    assert_eq!(
        series(&engine, &format!("{by_service} | bottomk(1)")).await,
        [
            r#"{"resource.service.name"="db"} 2=1.0 3=0.0 4=0.0"#,
            r#"{"resource.service.name"="shop"} 5=0.0"#,
        ]
    );
    assert_eq!(
        series(&engine, &format!("{by_service} | > 1")).await,
        [r#"{"resource.service.name"="shop"} 2=2.0"#]
    );
}

#[tokio::test]
async fn without_a_step_there_is_one_value() {
    let (engine, _folder) = lake().open();
    let counts = answer(&engine, "{ } | count_over_time() by (name)", None, 0).await;
    let values = counts["series"].as_array().unwrap().iter();
    let values: Vec<_> = values
        .map(|series| (series["promLabels"].clone(), series["value"].clone()))
        .collect();
    assert_eq!(
        values,
        [
            (json!(r#"{"name"="GET"}"#), json!(3.0)),
            (json!(r#"{"name"="SELECT"}"#), json!(2.0)),
        ]
    );
    let rate = answer(&engine, "{ } | rate()", None, 0).await;
    assert_eq!(rate["series"][0]["value"], json!(1.25));
}

#[tokio::test]
async fn exemplars_stand_for_their_series() {
    let (engine, _folder) = lake().open();
    let all = answer(
        &engine,
        "{ name = \"GET\" } | max_over_time(duration) by (status)",
        Some(1_000),
        100,
    )
    .await;
    let of = |series: &Json| {
        let exemplars = series["exemplars"].as_array().unwrap().iter();
        let text = |exemplar: &Json| {
            let label = &exemplar["labels"][0];
            assert_eq!(label["key"], "trace:id");
            (
                label["value"]["stringValue"].clone(),
                exemplar["value"].clone(),
            )
        };
        exemplars.map(text).collect::<Vec<_>>()
    };
    assert_eq!(of(&all["series"][0]), [(json!(trace_id(3)), json!(0.064))]);
    assert_eq!(
        of(&all["series"][1]),
        [
            (json!(trace_id(1)), json!(0.008)),
            (json!(trace_id(2)), json!(0.016))
        ]
    );
    let few = answer(&engine, "{ } | rate()", Some(1_000), 2).await;
    assert!((1..=2).contains(&of(&few["series"][0]).len()));
    let structural = answer(&engine, "{ } > { } | rate()", Some(1_000), 5).await;
    assert_eq!(
        of(&structural["series"][0]),
        [(json!(trace_id(1)), json!(1.0))]
    );
}

#[tokio::test]
async fn a_selection_is_compared_with_the_rest() {
    let (engine, _folder) = lake().open();
    let compared = series(&engine, "{ } | compare({ status = error })").await;
    for wanted in [
        r#"{"name"="GET", __meta_type="baseline"} 2=2.0 3=0.0 4=0.0 5=0.0"#,
        r#"{"name"="GET", __meta_type="selection"} 2=0.0 3=1.0 4=0.0 5=0.0"#,
        r#"{"name"="nil", __meta_type="baseline_total"} 2=3.0 3=0.0 4=0.0 5=1.0"#,
        r#"{"resource.service.name"="db", __meta_type="baseline"} 2=1.0 3=0.0 4=0.0 5=1.0"#,
        r#"{"span.n"="7", __meta_type="selection"} 2=0.0 3=1.0 4=0.0 5=0.0"#,
        r#"{"status"="error", __meta_type="selection"} 2=0.0 3=1.0 4=0.0 5=0.0"#,
    ] {
        assert!(
            compared.contains(&wanted.to_owned()),
            "{wanted} in {compared:#?}"
        );
    }
}

#[tokio::test]
async fn what_makes_no_series_is_refused() {
    let (engine, _folder) = lake().open();
    for (text, step) in [
        ("{ }", 1_000),
        ("{ } | min_over_time()", 1_000),
        ("{ } | max_over_time(name)", 1_000),
        ("{ } | quantile_over_time(duration, 2)", 1_000),
        ("{ } | rate()", 0),
    ] {
        let members =
            json!({"query": query(text), "stepNs": (step * MS).to_string(), "exemplars": 0});
        let error = metrics(&engine, &request(members, Some((0, 5_000))))
            .await
            .unwrap_err();
        let is_type = text.contains("min_") || text.contains("max_") || text.contains("quantile");
        let code = if is_type {
            Code::TraceqlType
        } else {
            Code::TraceqlRequest
        };
        assert_eq!(error.code, code, "{text}: {error}");
    }
    let members = json!({"query": query("{ } | rate()"), "stepNs": "1", "exemplars": 0});
    let error = metrics(&engine, &request(members, Some((0, 5_000))))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::TraceqlTooLarge);
    let members = json!({"query": query("{ } | rate()"), "stepNs": "1000000000", "exemplars": 0});
    let error = metrics(&engine, &request(members, None)).await.unwrap_err();
    assert_eq!(error.code, Code::TraceqlRequest);
}

#[tokio::test]
async fn spans_of_other_nodes_count() {
    let (alone, _folder) = lake().open();
    let (among, _other) = lake().elsewhere().open();
    for text in [
        "{ } | rate()",
        "{ name = \"GET\" } | quantile_over_time(duration, 0.9) by (span.code, resource.service.name)",
        "{ } > { } | sum_over_time(span.n) by (rootName)",
        "{ } | compare({ status = error })",
    ] {
        assert_eq!(
            series(&alone, text).await,
            series(&among, text).await,
            "{text}"
        );
    }
}
