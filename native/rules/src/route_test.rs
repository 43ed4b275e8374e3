use arrow::array::AsArray;
use otlake_base::{Metrics, Signal, Table, TableRows};

use crate::config::{Action, RuleConfig};
use crate::testing::{
    Record, SENDER, apply, column, decode, plan, redact, request, route, rule, text,
};

fn records(count: u64) -> Vec<Record> {
    let record = |at: u64| Record {
        resource: vec![text("service.name", "checkout")],
        attributes: vec![text(
            "kind",
            if at.is_multiple_of(3) { "cold" } else { "hot" },
        )],
        name: format!("operation {at}"),
        at,
        ..Record::default()
    };
    (0..count).map(record).collect()
}

fn named(name: &str, when: &str, action: Action) -> RuleConfig {
    RuleConfig {
        name: name.into(),
        ..rule(Signal::Traces, Some(when), action)
    }
}

/// What the rules make of spans, and what they count: dropped, changed, routed and failed rows of each.
fn routed(count: u64, rules: &[RuleConfig]) -> (Vec<TableRows>, Vec<[u64; 4]>) {
    let metrics = Metrics::new();
    let planned = plan(rules, &metrics);
    let decoded = decode(
        Signal::Traces,
        &request(Signal::Traces, &records(count), false),
    );
    let rows = apply(&*planned, decoded);
    let counts = rules.iter().map(|rule| {
        let counters = metrics.rules.of(&rule.name);
        counters.map(|counter| counter.get())
    });
    (rows, counts.collect())
}

/// By tenant, the numbers of the spans.
fn numbers(rows: &[TableRows]) -> Vec<(&str, Vec<String>)> {
    let of = |part: &TableRows| column(&part.rows, "start_time_unix_nano");
    rows.iter().map(|part| (&*part.tenant, of(part))).collect()
}

#[test]
fn rows_that_go_to_another_tenant_are_a_batch_of_its_own_and_the_others_stay() {
    let cold = named("cold", "attributes['kind'] = 'cold'", route("archive"));
    let (rows, counts) = routed(7, &[cold]);
    assert_eq!(
        numbers(&rows),
        [
            ("archive", vec!["0".into(), "3".into(), "6".into()]),
            (SENDER, ["1", "2", "4", "5"].map(String::from).to_vec()),
        ]
    );
    for part in &rows {
        assert_eq!(part.table, Table::Spans);
        let tenants = part.rows.column_by_name("tenant").expect("it");
        let mut tenants = tenants.as_string_view().iter();
        assert!(tenants.all(|tenant| tenant == Some(&*part.tenant)));
    }
    assert_eq!(counts, [[0, 0, 3, 0]]);
}

#[test]
fn all_rows_of_a_record_can_go_and_rows_of_the_tenant_itself_do_not() {
    let (rows, counts) = routed(4, &[named("all", "true", route("archive"))]);
    assert_eq!(rows.len(), 1);
    assert_eq!((&*rows[0].tenant, rows[0].rows.num_rows()), ("archive", 4));
    assert_eq!(counts, [[0, 0, 4, 0]]);
    let (rows, counts) = routed(4, &[named("own", "true", route(SENDER))]);
    assert_eq!((&*rows[0].tenant, rows[0].rows.num_rows()), (SENDER, 4));
    assert_eq!(counts, [[0, 0, 0, 0]]);
}

#[test]
fn a_later_rule_sees_a_row_as_its_new_tenants() {
    let rules = [
        named("cold", "attributes['kind'] = 'cold'", route("archive")),
        named(
            "masked",
            "tenant = 'archive'",
            redact(&["name"], crate::Redaction::Text("***".into())),
        ),
        named("hot", "tenant = 'a' AND name = 'operation 1'", route("hot")),
        named("back", "tenant = 'hot'", route("archive")),
        named(
            "gone",
            "tenant = 'archive' AND start_time_unix_nano = 3",
            Action::Drop,
        ),
    ];
    let (rows, counts) = routed(5, &rules);
    assert_eq!(
        numbers(&rows),
        [
            ("archive", vec!["0".into(), "1".into()]),
            (SENDER, vec!["2".into(), "4".into()]),
        ]
    );
    assert_eq!(column(&rows[0].rows, "name"), ["***", "operation 1"]);
    assert_eq!(
        counts,
        [
            [0, 0, 2, 0],
            [0, 2, 0, 0],
            [0, 0, 1, 0],
            [0, 0, 1, 0],
            [1, 0, 0, 0],
        ]
    );
}

#[test]
fn rows_that_the_condition_fails_on_stay_their_tenants() {
    let when = "CAST(substr(name, 11) AS BIGINT) / (start_time_unix_nano - 2) >= 0";
    let (rows, counts) = routed(5, &[named("fails", when, route("archive"))]);
    let of_sender = numbers(&rows)
        .into_iter()
        .find(|(tenant, _)| *tenant == SENDER);
    assert_eq!(of_sender.expect("it").1, ["1", "2"]);
    assert_eq!(counts, [[0, 0, 3, 1]]);
}

#[test]
fn the_batches_of_one_record_go_on_sharing_their_text() {
    let rules = [named(
        "cold",
        "attributes['kind'] = 'cold'",
        route("archive"),
    )];
    let (rows, _) = routed(100, &rules);
    let buffers = |part: &TableRows| {
        let names = part.rows.column_by_name("name").expect("it");
        let buffers = names.as_string_view().data_buffers().iter();
        buffers.map(|buffer| buffer.as_ptr()).collect::<Vec<_>>()
    };
    assert!(!buffers(&rows[0]).is_empty());
    assert_eq!(buffers(&rows[0]), buffers(&rows[1]));
}

#[test]
fn what_is_no_tenant_and_too_many_of_them_are_refused_at_the_start() {
    let refusal = |rules: &[RuleConfig]| {
        let error = crate::RuleSet::plan(rules, &Metrics::new()).expect_err("it is refused");
        assert_eq!(error.code, otlake_base::Code::ConfigInvalid);
        error.message
    };
    for name in ["", "../a", "a b", "-a", "a/b", &"a".repeat(65)] {
        let message = refusal(&[named("to", "true", route(name))]);
        assert!(message.contains("rule `to`"), "{message}");
        assert!(message.contains("is no tenant"), "{message}");
        assert!(message.contains("1 to 64 letters"), "{message}");
    }
    let many: Vec<RuleConfig> = (0..17)
        .map(|at| named(&format!("to {at}"), "true", route(&format!("t{at}"))))
        .collect();
    let message = refusal(&many);
    assert!(message.contains("route to 16 at most"), "{message}");
    let planned = crate::RuleSet::plan(&many[..16], &Metrics::new());
    assert!(planned.expect("they are taken").is_some());
}
