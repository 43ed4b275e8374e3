use otlake_base::{Code, Metrics, Signal, Table};

use crate::config::{Action, Redaction, RuleConfig};
use crate::rule_set::RuleSet;
use crate::testing::{redact, rename, rule, set};

fn refusal(config: RuleConfig) -> String {
    let error = RuleSet::plan(&[config], &Metrics::new()).expect_err("it is refused");
    assert_eq!(error.code, Code::ConfigInvalid);
    assert!(error.message.contains("rule `a rule`"), "{error}");
    error.message
}

#[test]
fn no_rules_are_nothing_at_all() {
    assert!(RuleSet::plan(&[], &Metrics::new()).expect("none").is_none());
}

#[test]
fn a_condition_that_is_wrong_is_refused_by_the_rule_and_the_reason() {
    for (when, reason) in [
        ("status_code = ", "`when`"),
        (
            "nmae = 'x'",
            "there is no column `nmae`; near names are name",
        ),
        ("name", "not boolean: compare it"),
        ("count(*) > 5", "`count` is an aggregate"),
        ("name IN (SELECT 'a')", "a subquery needs other rows"),
        ("start_time > now()", "`now` gives another value each time"),
        ("random() < 0.1", "`random` gives another value each time"),
        ("trace_id = 'abc'", "is not an id"),
        ("name > 5 + ARRAY[1]", "`when`"),
    ] {
        let message = refusal(rule(Signal::Traces, Some(when), Action::Drop));
        assert!(message.contains(reason), "{when}: {message}");
    }
    let long = format!("name = '{}'", "x".repeat(20_000));
    let message = refusal(rule(Signal::Traces, Some(&long), Action::Drop));
    assert!(message.contains("write 16384 at most"), "{message}");
}

#[test]
fn what_cannot_be_changed_is_refused_with_what_can() {
    let mask = || Redaction::Text("x".into());
    let traces = |action| refusal(rule(Signal::Traces, None, action));
    for (target, reason) in [
        ("trace_id", "`trace_id` cannot be changed: ids, times"),
        ("start_time", "`start_time` cannot be changed"),
        ("tenant", "`tenant` cannot be changed"),
        ("day", "`day` cannot be changed"),
        ("duration_ns", "`duration_ns` cannot be changed"),
        (
            "nmae",
            "there is no column `nmae`; columns that can be changed are name, kind",
        ),
        (
            "kind",
            "`kind` is a number, and cannot be redacted: use `set`",
        ),
        ("http_route", "follows it: change that"),
        ("http_route", "attributes['http.route']"),
        ("service_name", "resource_attributes['service.name']"),
        ("attributes", "name the attribute: attributes['key']"),
        ("attributes[key]", "with the key in single quotes"),
        ("attributes['key'", "with the key in single quotes"),
        ("attributes['']", "with the key in single quotes"),
        ("attributes['a' OR 'b']", "with the key in single quotes"),
        (
            "events['x']",
            "`events` has no attributes; those that have are attributes,",
        ),
        ("name['x']", "`name` has no attributes"),
    ] {
        let message = traces(redact(&[target], mask()));
        assert!(message.contains(reason), "{target}: {message}");
    }
    let message = refusal(rule(Signal::Logs, None, redact(&["body_value"], mask())));
    assert!(message.contains("says what body says"), "{message}");
    let message = refusal(rule(Signal::Metrics, None, redact(&["series_id"], mask())));
    assert!(
        message.contains("`series_id` cannot be changed"),
        "{message}"
    );
    let message = traces(redact(&["name"], Redaction::Remove));
    assert!(message.contains("redact it with a text"), "{message}");
    let message = traces(redact(&[], mask()));
    assert!(message.contains("name what it changes"), "{message}");
}

#[test]
fn a_rename_or_a_value_that_does_not_fit_is_refused() {
    let traces = |action| refusal(rule(Signal::Traces, None, action));
    for (from, to, reason) in [
        ("name", "title", "attributes alone can be renamed"),
        ("attributes['a*']", "b", "`*` cannot be renamed"),
        ("attributes['a']", "b*", "`b*` is not a key"),
        (
            "attributes['a']",
            "attributes['b']",
            "is not a key; give the new key alone",
        ),
        ("attributes['a']", "", "is not a key"),
        ("attributes['a']", "a", "has that key already"),
    ] {
        let message = traces(rename(&[(from, to)]));
        assert!(message.contains(reason), "{from} {to}: {message}");
    }
    for (target, value, reason) in [
        ("name", "kind", "CAST(… AS VARCHAR)"),
        ("kind", "name", "CAST(… AS BIGINT)"),
        ("kind", "1.5", "CAST(… AS BIGINT)"),
        ("attributes['a']", "start_time", "cast it to VARCHAR"),
        ("attributes['a']", "trace_id", "cast it to VARCHAR"),
        ("attributes['a']", "NULL", "cast it to VARCHAR"),
        (
            "attributes['a']",
            "attr_keys(attributes)",
            "cast it to VARCHAR",
        ),
        ("attributes['a*']", "'x'", "`*` cannot be set"),
        ("events.attributes['a']", "'x'", "redact or rename them"),
        ("attributes['a']", "max(name)", "`max` is an aggregate"),
        (
            "attributes['a']",
            "repeat(name, 100)",
            "can make values of any length",
        ),
        ("attributes['a']", "prod", "there is no column `prod`"),
    ] {
        let message = traces(set(&[(target, value)]));
        assert!(message.contains(reason), "{target} {value}: {message}");
    }
}

#[test]
fn a_rule_of_several_tables_is_refused_by_the_table_that_it_does_not_fit() {
    let config = RuleConfig {
        tables: vec![Table::MetricsGauge, Table::MetricsHistogram],
        ..rule(Signal::Metrics, Some("value > 5"), Action::Drop)
    };
    let message = refusal(config);
    assert!(message.contains("table `metrics_histogram`"), "{message}");
    assert!(
        message.contains("`tables` can name fewer tables"),
        "{message}"
    );
}

#[test]
fn rules_have_limits_and_names_of_their_own() {
    let plan = |rules: &[RuleConfig]| RuleSet::plan(rules, &Metrics::new()).expect_err("refused");
    let one = || rule(Signal::Traces, Some("true"), Action::Drop);
    let error = plan(&[one(), one()]);
    assert!(error.message.contains("two rules have the name"), "{error}");
    let numbered = |number| RuleConfig {
        name: format!("rule {number}"),
        ..one()
    };
    let many: Vec<RuleConfig> = (0..65).map(numbered).collect();
    assert!(plan(&many).message.contains("write 64 at most"));
    assert!(RuleSet::plan(&many[..64], &Metrics::new()).is_ok());
    let targets = vec!["attributes['a']"; 65];
    let wide = rule(Signal::Traces, None, redact(&targets, Redaction::Sha256));
    assert!(plan(&[wide]).message.contains("of 64 at most"));
}
