//! For tests: a table of spans in live batches and real files, and TraceQL text as the tree that
//! TypeScript would send.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use bytes::Bytes;
use otlake_base::checksum::BlockSums;
use otlake_base::limits::RecordLimits;
use otlake_base::{
    Capture, Clock, Consistency, DataFile, Gathering, LiveRows, Metrics, Moment, Result, Signal,
    SystemClock, Table, TableSource, Wanted,
};
use otlake_query::{QueryConfig, QueryEngine};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// 2026-01-01, in ns; spans start behind it.
pub(crate) const EPOCH: i64 = 1_767_225_600_000_000_000;
pub(crate) const MS: i64 = 1_000_000;

/// A span to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    trace: u8,
    id: u8,
    parent: u8,
    name: String,
    start_ms: i64,
    duration_ms: i64,
    kind: i32,
    status: i32,
    service: String,
    resource: Json,
    attributes: Json,
    events: Vec<(i64, &'static str, Json)>,
    links: Vec<(u8, u8, Json)>,
}

/// A span of a trace; a parent of 0 is none. It starts `id` ms into its trace's second.
pub(crate) fn span(trace: u8, id: u8, parent: u8, name: &str) -> Span {
    Span {
        trace,
        id,
        parent,
        name: name.to_owned(),
        start_ms: i64::from(trace) * 1_000 + i64::from(id),
        duration_ms: 10,
        kind: 2,
        status: 0,
        service: "shop".to_owned(),
        resource: json!({}),
        attributes: json!({}),
        events: Vec::new(),
        links: Vec::new(),
    }
}

impl Span {
    pub(crate) fn start(mut self, ms: i64) -> Span {
        self.start_ms = ms;
        self
    }

    pub(crate) fn lasts(mut self, ms: i64) -> Span {
        self.duration_ms = ms;
        self
    }

    pub(crate) fn kind(mut self, kind: i32) -> Span {
        self.kind = kind;
        self
    }

    pub(crate) fn fails(mut self) -> Span {
        self.status = 2;
        self
    }

    pub(crate) fn service(mut self, service: &str) -> Span {
        self.service = service.to_owned();
        self
    }

    pub(crate) fn resource(mut self, attributes: Json) -> Span {
        self.resource = attributes;
        self
    }

    pub(crate) fn has(mut self, attributes: Json) -> Span {
        self.attributes = attributes;
        self
    }

    pub(crate) fn event(mut self, after_ms: i64, name: &'static str, attributes: Json) -> Span {
        self.events.push((after_ms, name, attributes));
        self
    }

    pub(crate) fn link(mut self, trace: u8, span: u8, attributes: Json) -> Span {
        self.links.push((trace, span, attributes));
        self
    }

    fn otlp(&self) -> Json {
        let start = EPOCH + self.start_ms * MS;
        let mut resource = self.resource.clone();
        resource["service.name"] = json!(self.service);
        let events = self.events.iter().map(|(after, name, attributes)| {
            let time = start + after * MS;
            json!({"timeUnixNano": time.to_string(), "name": name, "attributes": otlp(attributes)})
        });
        let events: Vec<Json> = events.collect();
        let links = self.links.iter().map(|(trace, span, attributes)| {
            json!({"traceId": trace_id(*trace), "spanId": span_id(*span), "attributes": otlp(attributes)})
        });
        let links: Vec<Json> = links.collect();
        let parent = if self.parent == 0 {
            String::new()
        } else {
            span_id(self.parent)
        };
        json!({
            "resource": {"attributes": otlp(&resource)},
            "scopeSpans": [{
                "scope": {"name": "lib", "version": "1.2", "attributes": otlp(&json!({"lang": "rust"}))},
                "spans": [{
                    "traceId": trace_id(self.trace), "spanId": span_id(self.id), "parentSpanId": parent,
                    "name": self.name, "kind": self.kind,
                    "startTimeUnixNano": start.to_string(),
                    "endTimeUnixNano": (start + self.duration_ms * MS).to_string(),
                    "status": {"code": self.status}, "attributes": otlp(&self.attributes),
                    "events": events, "links": links,
                }],
            }],
        })
    }
}

pub(crate) fn trace_id(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

pub(crate) fn span_id(number: u8) -> String {
    format!("{number:016x}")
}

fn otlp(attributes: &Json) -> Vec<Json> {
    let entries = attributes.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| json!({"key": key, "value": any(value)}))
        .collect()
}

fn any(value: &Json) -> Json {
    match value {
        Json::String(text) => json!({"stringValue": text}),
        Json::Bool(value) => json!({"boolValue": value}),
        Json::Array(values) => {
            json!({"arrayValue": {"values": values.iter().map(any).collect::<Vec<_>>()}})
        }
        Json::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        number => json!({"intValue": number.to_string()}),
    }
}

/// The spans as rows.
pub(crate) fn rows(spans: &[Span]) -> RecordBatch {
    let request = json!({"resourceSpans": spans.iter().map(Span::otlp).collect::<Vec<_>>()});
    let request = request.to_string();
    let body = otlake_decode::json::to_protobuf(Signal::Traces, request.as_bytes()).unwrap();
    let body = Bytes::from(body);
    let decoded = otlake_decode::decode(Signal::Traces, &body, "a", &RecordLimits::default());
    let mut tables = decoded.unwrap().tables.into_iter();
    let (_, batch) = tables.find(|(table, _)| *table == Table::Spans).unwrap();
    assert_eq!(batch.num_rows(), spans.len());
    batch
}

/// A table of spans.
pub(crate) struct Lake {
    live: Vec<LiveRows>,
    files: Vec<DataFile>,
    root: PathBuf,
    folder: TempDir,
    gathers: bool,
}

impl Lake {
    pub(crate) fn new() -> Lake {
        let folder = TempDir::new().unwrap();
        Lake {
            live: Vec::new(),
            files: Vec::new(),
            root: folder.path().join("spans"),
            folder,
            gathers: false,
        }
    }

    /// With these in a live batch.
    pub(crate) fn live(mut self, spans: &[Span]) -> Lake {
        let batch = rows(spans);
        self.live.push(LiveRows {
            tenant: "a".into(),
            batch,
        });
        self
    }

    /// With these in a file.
    pub(crate) fn file(mut self, spans: &[Span]) -> Lake {
        let batch = rows(spans);
        let day = (EPOCH / 86_400_000_000_000) as i32;
        let path = format!("tenant=a/day={day}/{}.parquet", self.files.len());
        let whole = self.root.join(&path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        let kept: Vec<usize> = (0..batch.num_columns() - 2).collect();
        let batch = batch.project(&kept).unwrap();
        let file = File::create(&whole).unwrap();
        let properties = WriterProperties::builder()
            .set_bloom_filter_enabled(true)
            .build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let starts = spans.iter().map(|span| EPOCH + span.start_ms * MS);
        self.files.push(DataFile {
            path,
            size: fs::metadata(&whole).unwrap().len(),
            rows: batch.num_rows() as u64,
            tenant: "a".to_owned(),
            day,
            min_time: starts.clone().min().unwrap(),
            max_time: starts.max().unwrap(),
            sums: Some(Arc::new(BlockSums::of(&fs::read(&whole).unwrap()))),
        });
        self
    }

    /// With live batches on another node, which sends what is wanted alone.
    pub(crate) fn elsewhere(mut self) -> Lake {
        self.gathers = true;
        self
    }

    pub(crate) fn open(self) -> (Arc<QueryEngine>, TempDir) {
        self.open_with(64 << 20)
    }

    /// With so much memory for queries.
    pub(crate) fn open_with(self, memory_bytes: usize) -> (Arc<QueryEngine>, TempDir) {
        self.open_at(memory_bytes, Arc::new(SystemClock))
    }

    /// With a clock, too.
    pub(crate) fn open_at(
        self,
        memory_bytes: usize,
        clock: Arc<dyn Clock>,
    ) -> (Arc<QueryEngine>, TempDir) {
        let config = QueryConfig {
            memory_bytes,
            max_rows: 1_000,
            timeout_ms: 20_000,
            concurrency: 4,
            queue: 4,
            queue_ms: 1_000,
            temp_dir: self.folder.path().to_owned(),
            partitions: 2,
            distribute_bytes: u64::MAX,
            trace_filters_bytes: 1 << 26,
        };
        let source = Source {
            live: self.live,
            files: Arc::new(self.files),
            root: self.root,
            gathers: self.gathers,
        };
        let metrics = Arc::new(Metrics::new());
        let engine = QueryEngine::new(config, vec![Arc::new(source)], clock, metrics);
        (engine.unwrap(), self.folder)
    }
}

struct Source {
    live: Vec<LiveRows>,
    files: Arc<Vec<DataFile>>,
    root: PathBuf,
    gathers: bool,
}

impl TableSource for Source {
    fn table(&self) -> Table {
        Table::Spans
    }

    fn schema(&self) -> SchemaRef {
        otlake_decode::schema::schema(Table::Spans)
    }

    fn capture(&self, consistency: &Consistency) -> Result<Capture> {
        let live = match consistency {
            Consistency::Eventual => Vec::new(),
            _ => self.live.clone(),
        };
        Ok(Capture::new(
            live,
            Arc::clone(&self.files),
            self.root.clone(),
        ))
    }

    fn moment(&self, _: &Consistency) -> Result<Option<Moment>> {
        Ok(None)
    }

    fn gathers(&self, _: &Consistency) -> bool {
        self.gathers
    }

    fn gather<'a>(&'a self, consistency: &'a Consistency, wanted: &'a Wanted) -> Gathering<'a> {
        let captured = self.capture(consistency).map(|mut capture| {
            for rows in &mut capture.live {
                let batch = &rows.batch;
                if let Some((first, last)) = wanted.times {
                    let starts = batch.column_by_name("start_time_unix_nano").unwrap();
                    let starts = starts.as_primitive::<Int64Type>().values().iter();
                    let kept = starts.map(|start| Some((first..=last).contains(start)));
                    let kept = BooleanArray::from_iter(kept);
                    rows.batch = filter_record_batch(batch, &kept).unwrap();
                }
                let names = wanted.columns.as_ref().unwrap();
                let schema = rows.batch.schema();
                let columns = schema.fields().iter().enumerate();
                let columns = columns.filter(|(_, field)| names.contains(field.name()));
                let columns: Vec<usize> = columns.map(|(at, _)| at).collect();
                rows.batch = rows.batch.project(&columns).unwrap();
            }
            capture
        });
        Box::pin(std::future::ready(captured))
    }
}

/// A request over a range of ms behind the epoch, with these members beside.
pub(crate) fn request(members: Json, range: Option<(i64, i64)>) -> String {
    let ns = |ms: i64| json!((EPOCH + ms * MS).to_string());
    let mut request = json!({
        "tenant": "a", "consistency": null, "session": null, "partial": null, "timeoutMs": null,
        "startNs": range.map_or(Json::Null, |(start, _)| ns(start)),
        "endNs": range.map_or(Json::Null, |(_, end)| ns(end)),
    });
    for (name, value) in members.as_object().unwrap() {
        request[name] = value.clone();
    }
    request.to_string()
}

/// A query of its text: what the tests need of TraceQL.
pub(crate) fn query(text: &str) -> Json {
    let mut reader = Reader::new(text);
    let (stages, metrics) = reader.pipeline();
    assert!(
        reader.peek().is_empty(),
        "what is `{}` in {text}",
        reader.peek()
    );
    json!({"pipeline": stages, "metrics": metrics, "hints": []})
}

/// An expression of its text.
pub(crate) fn expression(text: &str) -> Json {
    Reader::new(text).expression(0)
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
}

const SPANSET_OPERATORS: [&[&str]; 3] = [
    &["||"],
    &["&&"],
    &[
        ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<", "&<<", "&~",
    ],
];
const OPERATORS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["=", "!=", "<", "<=", ">", ">=", "=~", "!~"],
    &["+", "-"],
    &["*", "/", "%"],
    &["^"],
];
const SIGNS: [&str; 33] = [
    "!>>", "!<<", "&>>", "&<<", "!>", "!<", "!~", "&>", "&<", "&~", ">>", "<<", "&&", "||", "!=",
    "<=", ">=", "=~", "{", "}", "(", ")", "|", ",", "=", "<", ">", "~", "+", "*", "/", "%", "^",
];

impl Reader {
    fn new(text: &str) -> Reader {
        let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
        while !rest.is_empty() {
            let first = rest.as_bytes()[0];
            let length = if first == b'"' {
                rest[1..].find('"').unwrap() + 2
            } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                sign.len()
            } else if first == b'!' || first == b'-' {
                1
            } else {
                let is_word = |c: char| c.is_alphanumeric() || "._:".contains(c);
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            };
            assert!(length > 0, "what is `{rest}`");
            tokens.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
        Reader { tokens, at: 0 }
    }

    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens[self.at - 1].clone()
    }

    fn take(&mut self, token: &str) -> bool {
        let is_there = self.peek() == token;
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, token: &str) {
        assert!(
            self.take(token),
            "`{token}` is wanted, not `{}`",
            self.peek()
        );
    }

    fn pipeline(&mut self) -> (Vec<Json>, Json) {
        let (mut stages, mut metrics) = (Vec::new(), Json::Null);
        loop {
            let ahead = self.peek().to_owned();
            match ahead.as_str() {
                "by" => {
                    let by = self.arguments();
                    stages.push(json!({"kind": "by", "expression": by[0]}));
                }
                "coalesce" => {
                    self.arguments();
                    stages.push(json!({"kind": "coalesce"}));
                }
                "select" => stages.push(json!({"kind": "select", "fields": self.arguments()})),
                "topk" | "bottomk" => {
                    let limit = self.arguments()[0]["value"]["value"].clone();
                    let limit: u32 = limit.as_str().unwrap().parse().unwrap();
                    let stage = json!({"kind": ahead, "limit": limit});
                    metrics["then"].as_array_mut().unwrap().push(stage);
                }
                "rate"
                | "count_over_time"
                | "min_over_time"
                | "max_over_time"
                | "avg_over_time"
                | "sum_over_time"
                | "quantile_over_time"
                | "histogram_over_time"
                | "compare" => {
                    metrics = self.metrics();
                }
                ">" | "<" | ">=" | "<=" | "=" | "!=" if !metrics.is_null() => {
                    let operator = self.next();
                    let value = self.expression(3)["value"].clone();
                    let stage = json!({"kind": "filter", "operator": operator, "value": value});
                    metrics["then"].as_array_mut().unwrap().push(stage);
                }
                "count" | "avg" | "min" | "max" | "sum" => {
                    let left = self.scalar();
                    let operator = self.next();
                    let right = self.scalar();
                    stages.push(json!({"kind": "filter", "operator": operator, "left": left, "right": right}));
                }
                _ => stages.push(json!({"kind": "spansets", "spansets": self.spansets(0)})),
            }
            if !self.take("|") {
                return (stages, metrics);
            }
        }
    }

    fn metrics(&mut self) -> Json {
        let function = self.next();
        self.expect("(");
        let mut metrics = json!({
            "function": function, "argument": null, "by": [], "quantiles": [], "selection": null,
            "top": 0, "start": null, "end": null, "then": [],
        });
        if function == "compare" {
            self.expect("{");
            metrics["selection"] = self.expression(0);
            self.expect("}");
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            self.take(",");
            arguments.push(self.expression(0));
        }
        let quantiles = arguments
            .iter()
            .skip(1)
            .map(|of| match &of["value"]["value"] {
                Json::String(number) => json!(number.parse::<f64>().unwrap()),
                number => number.clone(),
            });
        match function.as_str() {
            "compare" => metrics["top"] = json!(10),
            "quantile_over_time" => metrics["quantiles"] = quantiles.collect(),
            _ => {}
        }
        if function != "compare" {
            metrics["argument"] = arguments.first().cloned().unwrap_or(Json::Null);
        }
        if self.peek() == "by" {
            metrics["by"] = json!(self.arguments());
        }
        metrics
    }

    /// A name, and what stands in parentheses behind it.
    fn arguments(&mut self) -> Vec<Json> {
        self.next();
        self.expect("(");
        let mut arguments = Vec::new();
        while !self.take(")") {
            self.take(",");
            arguments.push(self.expression(0));
        }
        arguments
    }

    fn scalar(&mut self) -> Json {
        let function = self.peek().to_owned();
        if !["count", "avg", "min", "max", "sum"].contains(&function.as_str()) {
            return json!({"kind": "value", "value": self.expression(3)["value"]});
        }
        let argument = self.arguments().into_iter().next();
        json!({"kind": "aggregate", "function": function, "argument": argument})
    }

    fn spansets(&mut self, level: usize) -> Json {
        if level == SPANSET_OPERATORS.len() {
            if self.take("(") {
                let (mut stages, _) = self.pipeline();
                self.expect(")");
                return match stages.len() {
                    1 => stages.remove(0)["spansets"].clone(),
                    _ => json!({"kind": "pipeline", "stages": stages}),
                };
            }
            self.expect("{");
            let condition = match self.peek() {
                "}" => Json::Null,
                _ => self.expression(0),
            };
            self.expect("}");
            return json!({"kind": "spans", "condition": condition});
        }
        let mut left = self.spansets(level + 1);
        while SPANSET_OPERATORS[level].contains(&self.peek()) {
            let operator = self.next();
            let right = self.spansets(level + 1);
            left = json!({"kind": "operation", "operator": operator, "left": left, "right": right});
        }
        left
    }

    fn expression(&mut self, level: usize) -> Json {
        if level == OPERATORS.len() {
            return self.operand();
        }
        let mut left = self.expression(level + 1);
        while OPERATORS[level].contains(&self.peek()) {
            let operator = self.next();
            let right = self.expression(level + 1);
            left = json!({"kind": "binary", "operator": operator, "left": left, "right": right});
        }
        left
    }

    fn operand(&mut self) -> Json {
        let token = self.next();
        match token.as_str() {
            "(" => {
                let inner = self.expression(0);
                self.expect(")");
                return inner;
            }
            "!" | "-" => {
                return json!({"kind": "unary", "operator": token, "operand": self.operand()});
            }
            _ => {}
        }
        if let Some(value) = constant(&token) {
            return json!({"kind": "value", "value": value});
        }
        let (parent, rest) = match token.strip_prefix("parent.") {
            Some(rest) => (true, rest),
            None => (false, token.as_str()),
        };
        for scope in ["resource", "span", "event", "link", "instrumentation"] {
            if let Some(name) = rest.strip_prefix(&format!("{scope}.")) {
                return json!({"kind": "attribute", "scope": scope, "parent": parent, "name": name});
            }
        }
        if parent || rest.starts_with('.') {
            let name = rest.trim_start_matches('.');
            return json!({"kind": "attribute", "scope": "any", "parent": parent, "name": name});
        }
        json!({"kind": "intrinsic", "name": token})
    }
}

fn constant(token: &str) -> Option<Json> {
    const NANOS: [(&str, i64); 5] = [
        ("ms", MS),
        ("us", 1_000),
        ("ns", 1),
        ("s", 1_000 * MS),
        ("m", 60_000 * MS),
    ];
    if let Some(text) = token.strip_prefix('"') {
        return Some(json!({"type": "string", "value": text.trim_end_matches('"')}));
    }
    Some(match token {
        "nil" => json!({"type": "nil"}),
        "true" | "false" => json!({"type": "bool", "value": token == "true"}),
        "ok" | "error" | "unset" => json!({"type": "status", "value": token}),
        "unspecified" | "internal" | "server" | "client" | "producer" | "consumer" => {
            json!({"type": "spanKind", "value": token})
        }
        _ if !token.starts_with(|c: char| c.is_ascii_digit()) => {
            let fraction = token.strip_prefix('.')?;
            fraction.parse::<u64>().ok()?;
            json!({"type": "float", "value": format!("0{token}").parse::<f64>().unwrap()})
        }
        _ => {
            for (unit, nanos) in NANOS {
                if let Some(Ok(number)) = token.strip_suffix(unit).map(str::parse::<i64>) {
                    return Some(
                        json!({"type": "duration", "value": (number * nanos).to_string()}),
                    );
                }
            }
            match token.parse::<i64>() {
                Ok(_) => json!({"type": "int", "value": token}),
                Err(_) => json!({"type": "float", "value": token.parse::<f64>().unwrap()}),
            }
        }
    })
}
