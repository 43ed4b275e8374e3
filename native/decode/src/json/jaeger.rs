//! OTLP spans in protobuf to the JSON that Jaeger's query API gives of a trace.
//!
//! Jaeger's UI and its clients read spans with their tags in one list, and the resources as
//! `processes` that spans refer to. What OTLP has beside attributes (kind, status, scope, trace
//! state) becomes the tags that Jaeger itself makes of it.
//!
//! A trace may come in parts: `Jaeger` keeps the processes that it has met, no span.

use std::collections::HashMap;

use otlake_base::{Code, Error, Result};

use super::jaeger_tags::{Tags, any_value, fields, key_value, messages, text};
use super::writer::Raw;
use crate::json_text::write_text;

/// Different resources of a trace that Jaeger's JSON is made of: each is kept until the trace ends.
const MAX_PROCESSES: usize = 100_000;
const NANOS_PER_MICRO: u64 = 1000;
/// What Jaeger calls the service of a resource without `service.name`.
const NO_SERVICE: &str = "OTLPResourceNoServiceName";
const SERVICE_NAME: &str = "service.name";
const KINDS: [&str; 6] = [
    "unspecified",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
];
const STATUS_OK: u64 = 1;
const STATUS_ERROR: u64 = 2;

/// The writer of one trace.
#[derive(Default)]
pub struct Jaeger {
    /// Resources as they came, and their numbers.
    known: HashMap<Vec<u8>, usize>,
    /// Each of them as JSON.
    processes: Vec<Vec<u8>>,
    begun: bool,
}

impl Jaeger {
    /// What stands before the spans.
    pub fn head(trace_id: &[u8; 16]) -> Vec<u8> {
        let mut out = b"{\"traceID\":".to_vec();
        write_trace_id(trace_id, &mut out);
        out.extend_from_slice(b",\"spans\":[");
        out
    }

    /// The spans of a `TracesData`, to follow those of the parts before.
    ///
    /// # Errors
    /// `INTERNAL` for bytes that are no such message, `QUERY_TOO_MANY_ROWS` for a trace of more than
    /// `MAX_PROCESSES` resources.
    pub fn spans(&mut self, traces: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(traces.len().saturating_mul(2));
        for resource_spans in messages(traces, 1) {
            self.resource_spans(resource_spans?, &mut out)?;
        }
        Ok(out)
    }

    /// What stands behind the spans.
    pub fn tail(&self) -> Vec<u8> {
        let mut out = b"],\"processes\":{".to_vec();
        for (number, process) in self.processes.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_text(&process_id(number), &mut out);
            out.push(b':');
            out.extend_from_slice(process);
        }
        out.extend_from_slice(b"},\"warnings\":null}");
        out
    }

    fn resource_spans(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut resource: &[u8] = &[];
        for field in fields(bytes) {
            if let (1, Raw::Bytes(found)) = field? {
                resource = found;
            }
        }
        let process = process_id(self.process(resource)?);
        for scope_spans in messages(bytes, 2) {
            let scope_spans = scope_spans?;
            let mut scope = Scope::default();
            for found in messages(scope_spans, 1) {
                scope = Scope::read(found?)?;
            }
            for span in messages(scope_spans, 2) {
                if self.begun {
                    out.push(b',');
                }
                self.begun = true;
                Span::read(span?)?.write(&scope, &process, out)?;
            }
        }
        Ok(())
    }

    /// The number of a resource's process.
    fn process(&mut self, resource: &[u8]) -> Result<usize> {
        if let Some(number) = self.known.get(resource) {
            return Ok(*number);
        }
        let number = self.processes.len();
        if number == MAX_PROCESSES {
            return Err(Error::new(
                Code::QueryTooManyRows,
                format!("the trace has more than {MAX_PROCESSES} resources"),
            ));
        }
        let mut service = None;
        let mut tags = Tags::begin(Vec::new());
        for attribute in messages(resource, 1) {
            let (key, value) = key_value(attribute?)?;
            match (key, any_value(value)?) {
                (SERVICE_NAME, Some((1, Raw::Bytes(name)))) => service = Some(text(name)?),
                _ => tags.attribute(key, value)?,
            }
        }
        let mut process = b"{\"serviceName\":".to_vec();
        let service = service.filter(|name| !name.is_empty());
        write_text(service.unwrap_or(NO_SERVICE), &mut process);
        process.extend_from_slice(b",\"tags\":");
        process.append(&mut tags.end());
        process.push(b'}');
        self.known.insert(resource.to_vec(), number);
        self.processes.push(process);
        Ok(number)
    }
}

fn process_id(number: usize) -> String {
    format!("p{}", number + 1)
}

/// The instrumentation scope of spans.
#[derive(Default)]
struct Scope<'a> {
    name: &'a str,
    version: &'a str,
}

impl<'a> Scope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut scope = Scope::default();
        for field in fields(bytes) {
            match field? {
                (1, Raw::Bytes(name)) => scope.name = text(name)?,
                (2, Raw::Bytes(version)) => scope.version = text(version)?,
                _ => {}
            }
        }
        Ok(scope)
    }
}

/// The fields of a span; those that are repeated are read when they are written.
#[derive(Default)]
struct Span<'a> {
    bytes: &'a [u8],
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a str,
    parent: &'a [u8],
    name: &'a str,
    kind: u64,
    start: u64,
    end: u64,
    flags: u64,
    status: u64,
    message: &'a str,
}

impl<'a> Span<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut span = Span {
            bytes,
            ..Span::default()
        };
        for field in fields(bytes) {
            match field? {
                (1, Raw::Bytes(id)) => span.trace_id = id,
                (2, Raw::Bytes(id)) => span.span_id = id,
                (3, Raw::Bytes(state)) => span.trace_state = text(state)?,
                (4, Raw::Bytes(id)) => span.parent = id,
                (5, Raw::Bytes(name)) => span.name = text(name)?,
                (6, Raw::Number(kind)) => span.kind = kind,
                (7, Raw::Number(start)) => span.start = start,
                (8, Raw::Number(end)) => span.end = end,
                (15, Raw::Bytes(status)) => {
                    for field in fields(status) {
                        match field? {
                            (2, Raw::Bytes(message)) => span.message = text(message)?,
                            (3, Raw::Number(code)) => span.status = code,
                            _ => {}
                        }
                    }
                }
                (16, Raw::Number(flags)) => span.flags = flags,
                _ => {}
            }
        }
        Ok(span)
    }

    fn write(&self, scope: &Scope<'_>, process: &str, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(b"{\"traceID\":");
        write_trace_id(self.trace_id, out);
        out.extend_from_slice(b",\"spanID\":");
        write_hex(self.span_id, out);
        out.extend_from_slice(b",\"flags\":");
        // The upper bits are OTLP's own.
        number(self.flags & 0xff, out);
        out.extend_from_slice(b",\"operationName\":");
        write_text(self.name, out);
        out.extend_from_slice(b",\"references\":");
        self.references(out)?;
        out.extend_from_slice(b",\"startTime\":");
        number(self.start / NANOS_PER_MICRO, out);
        out.extend_from_slice(b",\"duration\":");
        number(self.end.saturating_sub(self.start) / NANOS_PER_MICRO, out);
        out.extend_from_slice(b",\"tags\":");
        self.tags(scope, out)?;
        out.extend_from_slice(b",\"logs\":");
        self.logs(out)?;
        out.extend_from_slice(b",\"processID\":");
        write_text(process, out);
        out.extend_from_slice(b",\"warnings\":null}");
        Ok(())
    }

    /// The parent, and what the span is linked with.
    fn references(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'[');
        let mut is_first = true;
        if !self.parent.is_empty() {
            reference("CHILD_OF", self.trace_id, self.parent, out);
            is_first = false;
        }
        for link in messages(self.bytes, 13) {
            let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
            for field in fields(link?) {
                match field? {
                    (1, Raw::Bytes(id)) => trace_id = id,
                    (2, Raw::Bytes(id)) => span_id = id,
                    _ => {}
                }
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            reference("FOLLOWS_FROM", trace_id, span_id, out);
        }
        out.push(b']');
        Ok(())
    }

    fn tags(&self, scope: &Scope<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut tags = Tags::begin(std::mem::take(out));
        // What the sender calls so himself stands for itself.
        let (mut has_kind, mut has_error) = (false, false);
        for attribute in messages(self.bytes, 9) {
            let (key, value) = key_value(attribute?)?;
            has_kind |= key == "span.kind";
            has_error |= key == "error";
            tags.attribute(key, value)?;
        }
        let kind = usize::try_from(self.kind).ok();
        if let Some(kind) = kind.filter(|kind| *kind > 0 && !has_kind)
            && let Some(kind) = KINDS.get(kind)
        {
            tags.text("span.kind", kind);
        }
        match self.status {
            STATUS_OK => tags.text("otel.status_code", "OK"),
            STATUS_ERROR => {
                tags.text("otel.status_code", "ERROR");
                if !has_error {
                    tags.truth("error");
                }
            }
            _ => {}
        }
        for (key, value) in [
            ("otel.status_description", self.message),
            ("otel.scope.name", scope.name),
            ("otel.scope.version", scope.version),
            ("w3c.tracestate", self.trace_state),
        ] {
            if !value.is_empty() {
                tags.text(key, value);
            }
        }
        *out = tags.end();
        Ok(())
    }

    /// The events.
    fn logs(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'[');
        for (at, event) in messages(self.bytes, 11).enumerate() {
            let event = event?;
            let (mut time, mut name) = (0, "");
            for field in fields(event) {
                match field? {
                    (1, Raw::Number(found)) => time = found,
                    (2, Raw::Bytes(found)) => name = text(found)?,
                    _ => {}
                }
            }
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"timestamp\":");
            number(time / NANOS_PER_MICRO, out);
            out.extend_from_slice(b",\"fields\":");
            let mut tags = Tags::begin(std::mem::take(out));
            if !name.is_empty() {
                tags.text("event", name);
            }
            for attribute in messages(event, 3) {
                let (key, value) = key_value(attribute?)?;
                tags.attribute(key, value)?;
            }
            *out = tags.end();
            out.push(b'}');
        }
        out.push(b']');
        Ok(())
    }
}

fn reference(kind: &str, trace_id: &[u8], span_id: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"refType\":");
    write_text(kind, out);
    out.extend_from_slice(b",\"traceID\":");
    write_trace_id(trace_id, out);
    out.extend_from_slice(b",\"spanID\":");
    write_hex(span_id, out);
    out.push(b'}');
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Ids of 64 bits have 16 digits in Jaeger.
fn write_trace_id(id: &[u8], out: &mut Vec<u8>) {
    match id.split_first_chunk::<8>() {
        Some((&[0, 0, 0, 0, 0, 0, 0, 0], low)) if low.len() == 8 => write_hex(low, out),
        _ => write_hex(id, out),
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'"');
}
