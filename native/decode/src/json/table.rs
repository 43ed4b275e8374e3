//! The OTLP messages as one static table: what each field is called in JSON and in the protocol
//! definitions, its number, and how its value is written in either form.
//!
//! Fields stand in the order of the definitions in `proto/otlp`, which is also the order in
//! which they are written as JSON.

use otlake_base::Signal;

/// The most fields that one message has.
pub(crate) const MAX_FIELDS: usize = 16;

/// A message of the protocol.
pub(crate) struct Message {
    pub(crate) fields: &'static [Field],
}

/// A field of a message.
pub(crate) struct Field {
    /// The name in JSON, lowerCamelCase.
    pub(crate) json: &'static str,
    /// The name in the protocol definition, which JSON may use as well.
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) label: Label,
}

/// The type of a field's value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    /// An integer in OTLP/JSON, never a name.
    Enum,
    /// Bytes that JSON carries as base64.
    Base64,
    /// A trace or span id, which JSON carries as hexadecimal.
    HexId,
    Message(&'static Message),
}

/// How often a field occurs, and whether its default value differs from its absence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// Absent and default are the same (a message is present or absent all the same).
    Implicit,
    /// `optional`: presence is kept.
    Optional,
    /// A member of the message's only oneof: presence is kept, the last one set counts.
    Oneof,
    Repeated,
    /// Repeated numbers behind one length.
    Packed,
}

impl Message {
    /// The index of the field that JSON calls `key`; `expected` is looked at first, since
    /// exporters write fields in the same order each time.
    pub(crate) fn find(&self, key: &str, expected: usize) -> Option<usize> {
        if self
            .fields
            .get(expected)
            .is_some_and(|field| field.json == key)
        {
            return Some(expected);
        }
        self.fields
            .iter()
            .position(|field| field.json == key)
            .or_else(|| self.fields.iter().position(|field| field.name == key))
    }

    /// The index of the field with this number; `expected` is looked at first.
    pub(crate) fn by_number(&self, number: u32, expected: usize) -> Option<usize> {
        if self
            .fields
            .get(expected)
            .is_some_and(|field| field.number == number)
        {
            return Some(expected);
        }
        self.fields.iter().position(|field| field.number == number)
    }
}

/// The message that a request of the signal is.
pub(crate) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// Whether the message is a record, or what records have in common, in which the decoder knows
/// `notes::REPLACED_FIELD`.
pub(crate) fn is_noted(message: &'static Message) -> bool {
    let noted: [&'static Message; 13] = [
        &RESOURCE_SPANS,
        &RESOURCE_METRICS,
        &RESOURCE_LOGS,
        &SCOPE_SPANS,
        &SCOPE_METRICS,
        &SCOPE_LOGS,
        &SPAN,
        &LOG_RECORD,
        &METRIC,
        &NUMBER_POINT,
        &HISTOGRAM_POINT,
        &EXPONENTIAL_HISTOGRAM_POINT,
        &SUMMARY_POINT,
    ];
    noted.iter().any(|noted| std::ptr::eq(*noted, message))
}

use Kind::*;
use Label::{Implicit, Oneof, Optional, Packed, Repeated};

const fn field(
    json: &'static str,
    name: &'static str,
    number: u32,
    kind: Kind,
    label: Label,
) -> Field {
    Field {
        json,
        name,
        number,
        kind,
        label,
    }
}

const fn message(fields: &'static [Field]) -> Message {
    assert!(fields.len() <= MAX_FIELDS);
    Message { fields }
}

/// `number jsonName original_name: Label Kind;` for each field of each message.
macro_rules! messages {
    ($($message:ident { $($number:literal $json:ident $name:ident: $label:ident $kind:expr;)* })*) => {
        $(static $message: Message = message(&[
            $(field(stringify!($json), stringify!($name), $number, $kind, $label)),*
        ]);)*
    };
}

/// `Resource.entity_refs`, whose JSON is a column of its own.
pub(crate) static ENTITY_REFS: Field = field(
    "entityRefs",
    "entity_refs",
    3,
    Message(&ENTITY_REF),
    Repeated,
);

messages! {
    TRACES {
        1 resourceSpans resource_spans: Repeated Message(&RESOURCE_SPANS);
    }

    METRICS {
        1 resourceMetrics resource_metrics: Repeated Message(&RESOURCE_METRICS);
    }

    LOGS {
        1 resourceLogs resource_logs: Repeated Message(&RESOURCE_LOGS);
    }

    RESOURCE_SPANS {
        1 resource resource: Implicit Message(&RESOURCE);
        2 scopeSpans scope_spans: Repeated Message(&SCOPE_SPANS);
        3 schemaUrl schema_url: Implicit Text;
    }

    RESOURCE_METRICS {
        1 resource resource: Implicit Message(&RESOURCE);
        2 scopeMetrics scope_metrics: Repeated Message(&SCOPE_METRICS);
        3 schemaUrl schema_url: Implicit Text;
    }

    RESOURCE_LOGS {
        1 resource resource: Implicit Message(&RESOURCE);
        2 scopeLogs scope_logs: Repeated Message(&SCOPE_LOGS);
        3 schemaUrl schema_url: Implicit Text;
    }

    SCOPE_SPANS {
        1 scope scope: Implicit Message(&SCOPE);
        2 spans spans: Repeated Message(&SPAN);
        3 schemaUrl schema_url: Implicit Text;
    }

    SCOPE_METRICS {
        1 scope scope: Implicit Message(&SCOPE);
        2 metrics metrics: Repeated Message(&METRIC);
        3 schemaUrl schema_url: Implicit Text;
    }

    SCOPE_LOGS {
        1 scope scope: Implicit Message(&SCOPE);
        2 logRecords log_records: Repeated Message(&LOG_RECORD);
        3 schemaUrl schema_url: Implicit Text;
    }

    RESOURCE {
        1 attributes attributes: Repeated Message(&KEY_VALUE);
        2 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
        3 entityRefs entity_refs: Repeated Message(&ENTITY_REF);
    }

    ENTITY_REF {
        1 schemaUrl schema_url: Implicit Text;
        2 type type: Implicit Text;
        3 idKeys id_keys: Repeated Text;
        4 descriptionKeys description_keys: Repeated Text;
    }

    SCOPE {
        1 name name: Implicit Text;
        2 version version: Implicit Text;
        3 attributes attributes: Repeated Message(&KEY_VALUE);
        4 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
    }

    KEY_VALUE {
        1 key key: Implicit Text;
        2 value value: Implicit Message(&ANY_VALUE);
        3 keyStrindex key_strindex: Implicit Int32;
    }

    ANY_VALUE {
        1 stringValue string_value: Oneof Text;
        2 boolValue bool_value: Oneof Bool;
        3 intValue int_value: Oneof Int64;
        4 doubleValue double_value: Oneof Double;
        5 arrayValue array_value: Oneof Message(&ARRAY_VALUE);
        6 kvlistValue kvlist_value: Oneof Message(&KEY_VALUE_LIST);
        7 bytesValue bytes_value: Oneof Base64;
        8 stringValueStrindex string_value_strindex: Oneof Int32;
    }

    ARRAY_VALUE {
        1 values values: Repeated Message(&ANY_VALUE);
    }

    KEY_VALUE_LIST {
        1 values values: Repeated Message(&KEY_VALUE);
    }

    SPAN {
        1 traceId trace_id: Implicit HexId;
        2 spanId span_id: Implicit HexId;
        3 traceState trace_state: Implicit Text;
        4 parentSpanId parent_span_id: Implicit HexId;
        16 flags flags: Implicit Fixed32;
        5 name name: Implicit Text;
        6 kind kind: Implicit Enum;
        7 startTimeUnixNano start_time_unix_nano: Implicit Fixed64;
        8 endTimeUnixNano end_time_unix_nano: Implicit Fixed64;
        9 attributes attributes: Repeated Message(&KEY_VALUE);
        10 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
        11 events events: Repeated Message(&EVENT);
        12 droppedEventsCount dropped_events_count: Implicit Uint32;
        13 links links: Repeated Message(&LINK);
        14 droppedLinksCount dropped_links_count: Implicit Uint32;
        15 status status: Implicit Message(&STATUS);
    }

    EVENT {
        1 timeUnixNano time_unix_nano: Implicit Fixed64;
        2 name name: Implicit Text;
        3 attributes attributes: Repeated Message(&KEY_VALUE);
        4 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
    }

    LINK {
        1 traceId trace_id: Implicit HexId;
        2 spanId span_id: Implicit HexId;
        3 traceState trace_state: Implicit Text;
        4 attributes attributes: Repeated Message(&KEY_VALUE);
        5 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
        6 flags flags: Implicit Fixed32;
    }

    STATUS {
        2 message message: Implicit Text;
        3 code code: Implicit Enum;
    }

    LOG_RECORD {
        1 timeUnixNano time_unix_nano: Implicit Fixed64;
        11 observedTimeUnixNano observed_time_unix_nano: Implicit Fixed64;
        2 severityNumber severity_number: Implicit Enum;
        3 severityText severity_text: Implicit Text;
        5 body body: Implicit Message(&ANY_VALUE);
        6 attributes attributes: Repeated Message(&KEY_VALUE);
        7 droppedAttributesCount dropped_attributes_count: Implicit Uint32;
        8 flags flags: Implicit Fixed32;
        9 traceId trace_id: Implicit HexId;
        10 spanId span_id: Implicit HexId;
        12 eventName event_name: Implicit Text;
    }

    METRIC {
        1 name name: Implicit Text;
        2 description description: Implicit Text;
        3 unit unit: Implicit Text;
        5 gauge gauge: Oneof Message(&GAUGE);
        7 sum sum: Oneof Message(&SUM);
        9 histogram histogram: Oneof Message(&HISTOGRAM);
        10 exponentialHistogram exponential_histogram: Oneof Message(&EXPONENTIAL_HISTOGRAM);
        11 summary summary: Oneof Message(&SUMMARY);
        12 metadata metadata: Repeated Message(&KEY_VALUE);
    }

    GAUGE {
        1 dataPoints data_points: Repeated Message(&NUMBER_POINT);
    }

    SUM {
        1 dataPoints data_points: Repeated Message(&NUMBER_POINT);
        2 aggregationTemporality aggregation_temporality: Implicit Enum;
        3 isMonotonic is_monotonic: Implicit Bool;
    }

    HISTOGRAM {
        1 dataPoints data_points: Repeated Message(&HISTOGRAM_POINT);
        2 aggregationTemporality aggregation_temporality: Implicit Enum;
    }

    EXPONENTIAL_HISTOGRAM {
        1 dataPoints data_points: Repeated Message(&EXPONENTIAL_HISTOGRAM_POINT);
        2 aggregationTemporality aggregation_temporality: Implicit Enum;
    }

    SUMMARY {
        1 dataPoints data_points: Repeated Message(&SUMMARY_POINT);
    }

    NUMBER_POINT {
        7 attributes attributes: Repeated Message(&KEY_VALUE);
        2 startTimeUnixNano start_time_unix_nano: Implicit Fixed64;
        3 timeUnixNano time_unix_nano: Implicit Fixed64;
        4 asDouble as_double: Oneof Double;
        6 asInt as_int: Oneof Sfixed64;
        5 exemplars exemplars: Repeated Message(&EXEMPLAR);
        8 flags flags: Implicit Uint32;
    }

    HISTOGRAM_POINT {
        9 attributes attributes: Repeated Message(&KEY_VALUE);
        2 startTimeUnixNano start_time_unix_nano: Implicit Fixed64;
        3 timeUnixNano time_unix_nano: Implicit Fixed64;
        4 count count: Implicit Fixed64;
        5 sum sum: Optional Double;
        6 bucketCounts bucket_counts: Packed Fixed64;
        7 explicitBounds explicit_bounds: Packed Double;
        8 exemplars exemplars: Repeated Message(&EXEMPLAR);
        10 flags flags: Implicit Uint32;
        11 min min: Optional Double;
        12 max max: Optional Double;
    }

    EXPONENTIAL_HISTOGRAM_POINT {
        1 attributes attributes: Repeated Message(&KEY_VALUE);
        2 startTimeUnixNano start_time_unix_nano: Implicit Fixed64;
        3 timeUnixNano time_unix_nano: Implicit Fixed64;
        4 count count: Implicit Fixed64;
        5 sum sum: Optional Double;
        6 scale scale: Implicit Sint32;
        7 zeroCount zero_count: Implicit Fixed64;
        8 positive positive: Implicit Message(&BUCKETS);
        9 negative negative: Implicit Message(&BUCKETS);
        10 flags flags: Implicit Uint32;
        11 exemplars exemplars: Repeated Message(&EXEMPLAR);
        12 min min: Optional Double;
        13 max max: Optional Double;
        14 zeroThreshold zero_threshold: Implicit Double;
    }

    BUCKETS {
        1 offset offset: Implicit Sint32;
        2 bucketCounts bucket_counts: Packed Uint64;
    }

    SUMMARY_POINT {
        7 attributes attributes: Repeated Message(&KEY_VALUE);
        2 startTimeUnixNano start_time_unix_nano: Implicit Fixed64;
        3 timeUnixNano time_unix_nano: Implicit Fixed64;
        4 count count: Implicit Fixed64;
        5 sum sum: Implicit Double;
        6 quantileValues quantile_values: Repeated Message(&QUANTILE);
        8 flags flags: Implicit Uint32;
    }

    QUANTILE {
        1 quantile quantile: Implicit Double;
        2 value value: Implicit Double;
    }

    EXEMPLAR {
        7 filteredAttributes filtered_attributes: Repeated Message(&KEY_VALUE);
        2 timeUnixNano time_unix_nano: Implicit Fixed64;
        3 asDouble as_double: Oneof Double;
        6 asInt as_int: Oneof Sfixed64;
        4 spanId span_id: Implicit HexId;
        5 traceId trace_id: Implicit HexId;
    }
}
