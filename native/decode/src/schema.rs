//! The columns of the seven tables.
//!
//! One schema serves live batches, Parquet files, the Delta log and SQL, so that every reader
//! sees the same rows (I8). Delta knows no nanosecond timestamp and no unsigned or fixed-size
//! type, hence: `start_time` and its like are microseconds for people, beside exact
//! `…_unix_nano` columns; unsigned 32-bit fields are `Int64`; ids are fixed binary in Arrow and
//! Parquet, `binary` in Delta. Attributes are one JSON text column that keeps each value's OTLP
//! type (`any_value.rs` has the mapping). `docs/adr/` has the reasons.
//!
//! Text is `Utf8View`: a resource's text is one buffer that each of its rows points to, and
//! sorting or joining batches moves 16-byte views, not text.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use otlake_base::Table;

/// Partition columns, last in every schema and absent from the files: the tenant, and the UTC
/// day of the table's time column.
pub const PARTITION_COLUMNS: [&str; 2] = ["tenant", "day"];

/// Semantic-convention attributes of a span that are also columns of their own: the column, and
/// the attribute keys it is read from, the current name first. Values of another type than the
/// column's stay in `attributes` alone.
pub const SPAN_TEXT_COLUMNS: [(&str, &[&str]); 5] = [
    (
        "http_request_method",
        &["http.request.method", "http.method"],
    ),
    ("http_route", &["http.route"]),
    ("db_system_name", &["db.system.name", "db.system"]),
    ("rpc_method", &["rpc.method"]),
    (
        "messaging_destination_name",
        &["messaging.destination.name", "messaging.destination"],
    ),
];

/// The integer one: `Int64`.
pub const SPAN_STATUS_COLUMN: (&str, &[&str]) = (
    "http_response_status_code",
    &["http.response.status_code", "http.status_code"],
);

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, false)
}

/// Text whose unset or empty value is null.
fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn id(name: &str, bytes: i32, nullable: bool) -> Field {
    Field::new(name, DataType::FixedSizeBinary(bytes), nullable)
}

/// Microseconds UTC.
fn time(name: &str) -> Field {
    Field::new(
        name,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        false,
    )
}

/// What a list column has many of, made once: a batch is known to have the schema's at a glance.
pub type Element = LazyLock<FieldRef>;

/// An element of `events`.
pub static EVENT: Element = LazyLock::new(|| element(structure(event())));
/// An element of `links`.
pub static LINK: Element = LazyLock::new(|| element(structure(link())));
/// An element of `exemplars`.
pub static EXEMPLAR: Element = LazyLock::new(|| element(structure(exemplar())));
/// An element of `quantile_values`.
pub static QUANTILE: Element = LazyLock::new(|| element(structure(quantile())));
/// A count of a bucket.
pub static COUNT: Element = LazyLock::new(|| element(DataType::Int64));
/// A bound of a bucket.
pub static BOUND: Element = LazyLock::new(|| element(DataType::Float64));

fn element(item: DataType) -> FieldRef {
    Arc::new(Field::new("element", item, false))
}

fn structure(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

fn list(name: &str, element: &Element, nullable: bool) -> Field {
    Field::new(name, DataType::List(Arc::clone(element)), nullable)
}

/// Who sent it: the same columns in every table.
fn origin() -> Vec<Field> {
    vec![
        optional_text("service_name"),
        text("resource_attributes"),
        long("resource_dropped_attributes_count"),
        // OTLP's `Resource.entity_refs` as JSON text; null where there are none.
        optional_text("resource_entity_refs"),
        optional_text("resource_schema_url"),
        optional_text("scope_name"),
        optional_text("scope_version"),
        text("scope_attributes"),
        long("scope_dropped_attributes_count"),
        optional_text("scope_schema_url"),
    ]
}

fn partitions() -> Vec<Field> {
    vec![
        text(PARTITION_COLUMNS[0]),
        Field::new(PARTITION_COLUMNS[1], DataType::Date32, false),
    ]
}

fn spans() -> Vec<Field> {
    let mut fields = vec![
        id("trace_id", 16, false),
        id("span_id", 8, false),
        id("parent_span_id", 8, true),
        optional_text("trace_state"),
        long("flags"),
        text("name"),
        int("kind"),
        time("start_time"),
        time("end_time"),
        long("start_time_unix_nano"),
        // end - start, negative where a clock went backwards; start + duration is exactly end.
        long("duration_ns"),
        int("status_code"),
        optional_text("status_message"),
    ];
    fields.extend(
        SPAN_TEXT_COLUMNS
            .iter()
            .map(|(name, _)| optional_text(name)),
    );
    fields.push(optional(SPAN_STATUS_COLUMN.0, DataType::Int64));
    fields.extend([
        text("attributes"),
        long("dropped_attributes_count"),
        list("events", &EVENT, false),
        long("dropped_events_count"),
        list("links", &LINK, false),
        long("dropped_links_count"),
    ]);
    fields.extend(origin());
    fields
}

fn event() -> Vec<Field> {
    vec![
        long("time_unix_nano"),
        text("name"),
        text("attributes"),
        long("dropped_attributes_count"),
    ]
}

fn link() -> Vec<Field> {
    vec![
        id("trace_id", 16, false),
        id("span_id", 8, false),
        optional_text("trace_state"),
        text("attributes"),
        long("dropped_attributes_count"),
        long("flags"),
    ]
}

fn exemplar() -> Vec<Field> {
    vec![
        long("time_unix_nano"),
        // As in `metrics_gauge`: the number as a double, and exactly where it is an integer.
        optional("value", DataType::Float64),
        optional("value_int", DataType::Int64),
        id("span_id", 8, true),
        id("trace_id", 16, true),
        text("filtered_attributes"),
    ]
}

fn quantile() -> Vec<Field> {
    vec![
        Field::new("quantile", DataType::Float64, false),
        Field::new("value", DataType::Float64, false),
    ]
}

fn logs() -> Vec<Field> {
    let mut fields = vec![
        time("time"),
        time("observed_time"),
        long("time_unix_nano"),
        long("observed_time_unix_nano"),
        id("trace_id", 16, true),
        id("span_id", 8, true),
        long("flags"),
        int("severity_number"),
        optional_text("severity_text"),
        optional_text("event_name"),
        // A string body is itself, any other is its JSON text; null where the body is unset.
        optional_text("body"),
        // The typed JSON of a body that is not a string; null otherwise.
        optional_text("body_value"),
        text("attributes"),
        long("dropped_attributes_count"),
    ];
    fields.extend(origin());
    fields
}

fn metric(specific: Vec<Field>) -> Vec<Field> {
    let mut fields = vec![
        text("name"),
        optional_text("description"),
        optional_text("unit"),
        // `Metric.metadata` as attributes are.
        text("metadata"),
        // xxh3-64 of name, resource, scope and attributes, whatever their order.
        long("series_id"),
        time("start_time"),
        time("time"),
        long("start_time_unix_nano"),
        long("time_unix_nano"),
        long("flags"),
        text("attributes"),
    ];
    fields.extend(specific);
    fields.extend(origin());
    fields
}

fn number() -> Vec<Field> {
    vec![
        // Every number as a double; null where the point has no value.
        optional("value", DataType::Float64),
        // The exact number of an integer point; null for a double.
        optional("value_int", DataType::Int64),
        list("exemplars", &EXEMPLAR, false),
    ]
}

fn gauge() -> Vec<Field> {
    metric(number())
}

fn sum() -> Vec<Field> {
    let mut fields = number();
    fields.push(int("aggregation_temporality"));
    fields.push(Field::new("is_monotonic", DataType::Boolean, false));
    metric(fields)
}

fn histogram() -> Vec<Field> {
    metric(vec![
        long("count"),
        optional("sum", DataType::Float64),
        optional("min", DataType::Float64),
        optional("max", DataType::Float64),
        list("bucket_counts", &COUNT, false),
        list("explicit_bounds", &BOUND, false),
        list("exemplars", &EXEMPLAR, false),
        int("aggregation_temporality"),
    ])
}

fn exponential_histogram() -> Vec<Field> {
    metric(vec![
        long("count"),
        optional("sum", DataType::Float64),
        optional("min", DataType::Float64),
        optional("max", DataType::Float64),
        int("scale"),
        long("zero_count"),
        Field::new("zero_threshold", DataType::Float64, false),
        // Null where the `Buckets` message is unset.
        optional("positive_offset", DataType::Int32),
        list("positive_bucket_counts", &COUNT, true),
        optional("negative_offset", DataType::Int32),
        list("negative_bucket_counts", &COUNT, true),
        list("exemplars", &EXEMPLAR, false),
        int("aggregation_temporality"),
    ])
}

fn summary() -> Vec<Field> {
    metric(vec![
        long("count"),
        Field::new("sum", DataType::Float64, false),
        list("quantile_values", &QUANTILE, false),
    ])
}

/// The schema of a table, partition columns last.
pub fn schema(table: Table) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 7]> = LazyLock::new(|| {
        Table::ALL.map(|table| {
            let mut fields = match table {
                Table::Spans => spans(),
                Table::Logs => logs(),
                Table::MetricsGauge => gauge(),
                Table::MetricsSum => sum(),
                Table::MetricsHistogram => histogram(),
                Table::MetricsExponentialHistogram => exponential_histogram(),
                Table::MetricsSummary => summary(),
            };
            fields.extend(partitions());
            Arc::new(Schema::new(fields))
        })
    });
    Arc::clone(&SCHEMAS[table as usize])
}

/// The schema of a table's files: without the partition columns.
pub fn file_schema(table: Table) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 7]> = LazyLock::new(|| {
        Table::ALL.map(|table| {
            let fields = schema(table).fields().clone();
            let kept = fields.len() - PARTITION_COLUMNS.len();
            Arc::new(Schema::new(
                fields.iter().take(kept).cloned().collect::<Fields>(),
            ))
        })
    });
    Arc::clone(&SCHEMAS[table as usize])
}
