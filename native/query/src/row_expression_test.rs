use std::sync::Arc;

use arrow::array::{AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use otlake_base::Code;

use crate::{RowExpression, RowExpressions};

fn batch() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(2), false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("attributes", DataType::Utf8View, false),
        Field::new("count", DataType::Int64, false),
    ]);
    let ids = [[1, 2], [3, 4], [5, 6]];
    let ids = FixedSizeBinaryArray::try_from_iter(ids.into_iter()).unwrap();
    let names = StringViewArray::from(vec![Some("a"), None, Some("7")]);
    let attributes = StringViewArray::from(vec![r#"{"k":"v"}"#, "{}", r#"{"k":5}"#]);
    let counts = Int64Array::from(vec![1, 2, 3]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(ids),
            Arc::new(names),
            Arc::new(attributes),
            Arc::new(counts),
        ],
    )
    .unwrap()
}

fn plan(sql: &str) -> otlake_base::Result<RowExpression> {
    RowExpressions::new().unwrap().plan(sql, &batch().schema())
}

fn booleans(sql: &str) -> Vec<Option<bool>> {
    let expression = plan(sql).unwrap();
    assert_eq!(expression.data_type(), &DataType::Boolean, "{sql}");
    let values = expression.evaluate(&batch()).unwrap();
    values.as_boolean().iter().collect()
}

#[test]
fn expressions_have_the_syntax_and_functions_of_queries() {
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(booleans("trace_id = '0102'"), [yes, no, no]);
    assert_eq!(booleans("trace_id IN ('0304', '0506')"), [no, yes, yes]);
    assert_eq!(booleans("attributes['k'] = 'v'"), [yes, None, no]);
    assert_eq!(booleans("attr_int(attributes, 'k') > 4"), [None, None, yes]);
    assert_eq!(booleans("(attributes->>'k') IS NULL"), [no, yes, no]);
    assert_eq!(booleans("name ~ '^[a-z]+$'"), [yes, None, no]);
    assert_eq!(
        booleans("count BETWEEN 2 AND 3 AND name LIKE '7%'"),
        [no, None, yes]
    );
    let tier = plan("CASE attributes['k'] WHEN 'v' THEN count * 10 END").unwrap();
    assert_eq!(tier.data_type(), &DataType::Int64);
    let values = tier.evaluate(&batch()).unwrap();
    let values: Vec<_> = values.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(values, [Some(10), None, None]);
}

#[test]
fn what_one_row_does_not_tell_alone_and_always_the_same_is_refused_with_the_reason() {
    for (sql, reason) in [
        ("count(*) > 1", "`count` is an aggregate"),
        ("sum(count) > 1", "`sum` is an aggregate"),
        (
            "row_number() OVER () = 1",
            "a window function needs other rows",
        ),
        ("count IN (SELECT 1)", "a subquery needs other rows"),
        ("(SELECT 1) = 1", "a subquery needs other rows"),
        ("EXISTS (SELECT 1)", "a subquery needs other rows"),
        ("count = $1", "`$1` is a parameter"),
        (
            "now() > TIMESTAMP '2026-01-01T00:00:00Z'",
            "`now` gives another value each time",
        ),
        ("random() < 0.5", "`random` gives another value each time"),
        (
            "repeat(name, 1000000) = 'x'",
            "`repeat` can make values of any length",
        ),
        (
            "nmae = 'x'",
            "there is no column `nmae`; near names are name",
        ),
        ("name = ", ""),
        ("name = 'a' garbage", ""),
        ("name = 'a' OR OR count = 1", ""),
        ("frobnicate(name) = 'a'", ""),
        ("trace_id = 'xyz'", "is not an id"),
    ] {
        let error = plan(sql).unwrap_err();
        assert_eq!(error.code, Code::QueryInvalid, "{sql}: {error}");
        assert!(error.message.contains(reason), "{sql}: {error}");
    }
}

#[test]
fn a_value_that_cannot_be_had_is_an_error_and_not_another_value() {
    let expression = plan("CAST(name AS BIGINT) > 5").unwrap();
    assert!(expression.evaluate(&batch()).is_err());
    let last = batch().slice(2, 1);
    let values = expression.evaluate(&last).unwrap();
    assert!(values.as_boolean().value(0));
    assert_eq!(
        booleans("TRY_CAST(name AS BIGINT) > 5"),
        [None, None, Some(true)]
    );
}
