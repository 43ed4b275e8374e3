use otlake_query::QueryEngine;
use serde_json::{Value as Json, json};

use crate::testing::{Lake, expression, query, request, span};
use crate::{tag_values, tags};

fn lake() -> Lake {
    let stored = [
        span(1, 1, 0, "GET")
            .has(json!({"http.route": "/a", "n": 1, "share": 0.5, "ok": true, "list": ["x", "y"]}))
            .event(1, "retry", json!({"attempt": 2})),
        span(1, 2, 1, "SELECT")
            .service("db")
            .resource(json!({"region": "eu"}))
            .fails(),
    ];
    let live = [span(2, 1, 0, "POST")
        .has(json!({"n": "one"}))
        .link(1, 1, json!({"why": "w"}))];
    Lake::new().file(&stored).live(&live)
}

async fn scopes(engine: &QueryEngine, scope: Json, filter: Option<&str>, limit: u32) -> Json {
    let filter = filter.map_or(Json::Null, query);
    let members = json!({"scope": scope, "query": filter, "limit": limit});
    let answer = tags(engine, &request(members, None)).await.unwrap();
    let answer: Json = serde_json::from_str(&answer.json).unwrap();
    let scopes = answer["scopes"].as_array().unwrap().iter();
    let scopes = scopes.map(|scope| {
        (
            scope["name"].as_str().unwrap().to_owned(),
            scope["tags"].clone(),
        )
    });
    Json::Object(scopes.collect())
}

async fn values(engine: &QueryEngine, tag: &str, filter: Option<&str>) -> Vec<String> {
    let filter = filter.map_or(Json::Null, query);
    let members = json!({"tag": expression(tag), "query": filter, "limit": 100});
    let answer = tag_values(engine, &request(members, None)).await.unwrap();
    let answer: Json = serde_json::from_str(&answer.json).unwrap();
    let values = answer["tagValues"].as_array().unwrap().iter();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    values
        .map(|value| format!("{} {}", text(&value["type"]), text(&value["value"])))
        .collect()
}

#[tokio::test]
async fn keys_are_told_by_scope() {
    let (engine, _folder) = lake().open();
    let all = scopes(&engine, Json::Null, None, 100).await;
    assert_eq!(
        all["span"],
        json!(["http.route", "list", "n", "ok", "share"])
    );
    assert_eq!(all["resource"], json!(["region", "service.name"]));
    assert_eq!(all["event"], json!(["attempt"]));
    assert_eq!(all["link"], json!(["why"]));
    assert_eq!(all["instrumentation"], json!(["lang"]));
    assert!(
        all["intrinsic"]
            .as_array()
            .unwrap()
            .contains(&json!("duration"))
    );
    let of_spans = scopes(&engine, json!("span"), Some(r#"{ name = "POST" }"#), 100).await;
    assert_eq!(of_spans, json!({"span": ["n"]}));
    let few = scopes(&engine, json!("span"), None, 2).await;
    assert_eq!(few["span"].as_array().unwrap().len(), 2);
    let members = json!({"scope": "planet", "query": null, "limit": 5});
    assert!(tags(&engine, &request(members, None)).await.is_err());
}

#[tokio::test]
async fn values_are_told_with_their_types() {
    let (engine, _folder) = lake().open();
    assert_eq!(
        values(&engine, "span.n", None).await,
        ["int 1", "string one"]
    );
    assert_eq!(values(&engine, ".share", None).await, ["float 0.5"]);
    assert_eq!(values(&engine, "span.ok", None).await, ["bool true"]);
    assert_eq!(
        values(&engine, "span.list", None).await,
        ["string x", "string y"]
    );
    assert_eq!(values(&engine, "event.attempt", None).await, ["int 2"]);
    assert_eq!(values(&engine, "event:name", None).await, ["string retry"]);
    assert_eq!(
        values(&engine, "resource.service.name", None).await,
        ["string db", "string shop"]
    );
    assert_eq!(
        values(&engine, "resource.service.name", Some("{ status = error }")).await,
        ["string db"]
    );
    assert_eq!(
        values(&engine, "rootName", None).await,
        ["string GET", "string POST"]
    );
    let statuses = values(&engine, "status", None).await;
    assert_eq!(statuses, ["keyword error", "keyword ok", "keyword unset"]);
    assert_eq!(values(&engine, "duration", None).await, [""; 0]);
    assert_eq!(values(&engine, "span.none", None).await, [""; 0]);
}

#[tokio::test]
async fn spans_of_other_nodes_have_keys_and_values() {
    let (engine, _folder) = lake().elsewhere().open();
    let all = scopes(&engine, Json::Null, Some("{ kind = server }"), 100).await;
    assert_eq!(
        all["span"],
        json!(["http.route", "list", "n", "ok", "share"])
    );
    assert_eq!(all["link"], json!(["why"]));
    let named = values(&engine, ".n", Some("{ name = \"POST\" }")).await;
    assert_eq!(named, ["string one"]);
    assert_eq!(
        values(&engine, "rootServiceName", None).await,
        ["string shop"]
    );
}
