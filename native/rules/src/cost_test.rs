//! What rules cost a million spans, for docs/processing.md: `cargo test --release -p otlake-rules
//! cost -- --ignored --nocapture`.

use otlake_base::{Clock, Metrics, Signal, SystemClock, TableRows};

use crate::config::{Action, Redaction, RuleConfig};
use crate::testing::{
    Record, SENDER, apply, decode, int, plan, redact, rename, request, route, rule, set, text,
};

/// Spans of one request, as a Collector sends them.
const SPANS: u64 = 8_192;
const REQUESTS: u64 = 122;

fn records() -> Vec<Record> {
    let span = |at: u64| Record {
        resource: vec![
            text("service.name", "checkout"),
            text("host.name", "node-17.example"),
        ],
        attributes: vec![
            text("http.request.method", "GET"),
            text(
                "http.route",
                if at.is_multiple_of(10) {
                    "/healthz"
                } else {
                    "/cart/{id}"
                },
            ),
            text("url.full", "https://shop.example/cart/17?session=4711"),
            text("user.email", &format!("user{}@shop.example", at % 1_000)),
            int("http.response.status_code", 200),
            text("server.address", "shop.example"),
            int("server.port", 443),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        ],
        name: "GET /cart/{id}".into(),
        number: 2,
        at,
        ..Record::default()
    };
    (0..SPANS).map(span).collect()
}

#[test]
#[ignore = "it measures, and asserts nothing of the machine"]
fn cost_of_rules_per_million_spans() {
    let body = request(Signal::Traces, &records(), false);
    let clock = SystemClock;
    let measure = |name: &str, rules: &[RuleConfig]| {
        let planned = (!rules.is_empty()).then(|| plan(rules, &Metrics::new()));
        let mut best = f64::MAX;
        for _ in 0..5 {
            let mut seconds = 0.0;
            for _ in 0..REQUESTS {
                let from = clock.monotonic();
                let rows = decode(Signal::Traces, &body);
                let rows = match &planned {
                    Some(rules) => {
                        let from = clock.monotonic();
                        let rows = apply(&**rules, rows);
                        seconds += clock.monotonic().saturating_sub(from).as_secs_f64();
                        rows
                    }
                    None => {
                        seconds += clock.monotonic().saturating_sub(from).as_secs_f64();
                        TableRows::all_of(&SENDER.into(), rows)
                    }
                };
                assert!(rows[0].rows.num_rows() > 0);
            }
            best = f64::min(best, seconds * 1e6 / (SPANS * REQUESTS) as f64);
        }
        println!("{name}: {:.0} ms for a million spans", best * 1e3);
    };
    let traces = |when, action| [rule(Signal::Traces, when, action)];
    let mail = ["attributes['user.email']"];
    measure("decoding, for comparison", &[]);
    measure(
        "drop by a column",
        &traces(Some("http_route = '/healthz'"), Action::Drop),
    );
    measure(
        "drop by an attribute",
        &traces(
            Some("attributes['user.email'] = 'user10@shop.example'"),
            Action::Drop,
        ),
    );
    measure(
        "route a tenth",
        &traces(Some("http_route = '/healthz'"), route("archive")),
    );
    measure(
        "redact by a text",
        &traces(None, redact(&mail, Redaction::Text("***".into()))),
    );
    measure(
        "redact by SHA-256",
        &traces(None, redact(&mail, Redaction::Sha256)),
    );
    measure(
        "rename",
        &traces(
            None,
            rename(&[("attributes['server.address']", "peer.address")]),
        ),
    );
    measure(
        "set a resource's attribute",
        &traces(
            None,
            set(&[(
                "resource_attributes['tier']",
                "CASE service_name WHEN 'checkout' THEN 'gold' END",
            )]),
        ),
    );
}
