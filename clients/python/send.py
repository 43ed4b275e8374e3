"""Sends the shop's telemetry once, over what the standard variables name
(OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _COMPRESSION, OTEL_SERVICE_NAME), and prints the ids
that the SDK chose as JSON. Ends with 1 when an export fails."""

import json
import os
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

SCOPE, VERSION = "shop", "1.2.3"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.30.0"
# Nanoseconds since 1970: every time of the program follows from it.
DAY = 1_700_000_000_000_000_000


def send_traces(resource: Resource) -> tuple[dict[str, str | int], Context]:
    """Returns the ids and a context that holds the root span."""
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer(SCOPE, VERSION, schema_url=SCHEMA_URL)
    linked = tracer.start_span("linked", kind=trace.SpanKind.PRODUCER, start_time=DAY)
    linked.end(DAY + 1)
    cart = tracer.start_span(
        "GET /cart",
        kind=trace.SpanKind.SERVER,
        start_time=DAY + 123_456_789,
        links=[trace.Link(linked.get_span_context(), {"link.reason": "retry"})],
        attributes={
            "http.request.method": "GET",
            "http.response.status_code": 500,
            "app.ratio": 0.25,
            "app.whole": 2,
            "app.double": 2.0,
            "app.big": 9_007_199_254_740_993,
            "app.cached": False,
            "app.empty": "",
            "app.items": ["tea", 'cup "large"', "naïve\n"],
            "app.ports": [1, 2],
            "app.ratios": [0.5, 1.0],
            "app.flags": [True, False],
            "app.raw": b"\x00\xff",
            "app.map": {"id": 7, "ratio": 2.0},
        },
    )
    inside = trace.set_span_in_context(cart)
    query = tracer.start_span(
        "query", inside, kind=trace.SpanKind.CLIENT, start_time=DAY + 200_000_000
    )
    query.add_event("rows", {"count": 3}, DAY + 200_000_007)
    query.set_status(trace.StatusCode.OK)
    query.end(DAY + 200_000_100)
    cart.set_status(trace.StatusCode.ERROR, "timed out")
    cart.end(DAY + 999_999_999)
    finish(provider)

    def span_id(span: trace.Span) -> str:
        return trace.format_span_id(span.get_span_context().span_id)

    return {
        "linkedTrace": trace.format_trace_id(linked.get_span_context().trace_id),
        "linked": span_id(linked),
        "trace": trace.format_trace_id(cart.get_span_context().trace_id),
        "cart": span_id(cart),
        "query": span_id(query),
        "flags": int(cart.get_span_context().trace_flags),
    }, inside


def send_metrics(resource: Resource) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    spread = View(
        instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation()
    )
    provider = MeterProvider([reader], resource=resource, views=[spread])
    meter = provider.get_meter(SCOPE, VERSION, schema_url=SCHEMA_URL)
    orders = meter.create_counter("orders", "{order}", "Orders placed")
    orders.add(3, {"country": "NL"})
    orders.add(4, {"country": "NL"})
    revenue = meter.create_counter("revenue", "EUR")
    revenue.add(1.5)
    revenue.add(2.25)
    meter.create_up_down_counter("queue").add(-2)
    meter.create_gauge("load").set(0.75)
    meter.create_gauge("threads").set(12)
    wait = meter.create_histogram(
        "wait", "ms", explicit_bucket_boundaries_advisory=[1.0, 10.0, 100.0]
    )
    for value in (0.5, 5.0, 50.0, 500.0):
        wait.record(value)
    spread = meter.create_histogram("spread")
    for value in (1.0, 2.0, 4.0, 8.0):
        spread.record(value)
    provider.shutdown()  # one export; a flush before it would send every point twice


def send_logs(resource: Resource, inside: Context) -> None:
    """Writes one record within the span and one outside any."""
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logger = provider.get_logger(SCOPE, VERSION, schema_url=SCHEMA_URL)
    logger.emit(
        LogRecord(
            context=inside,
            timestamp=DAY + 300_000_001,
            observed_timestamp=DAY + 300_000_002,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body="stock is low",
            attributes={"sku": "tea-1", "left": 2},
        )
    )
    logger.emit(
        LogRecord(
            context=Context(),
            timestamp=DAY + 400_000_001,
            observed_timestamp=DAY + 400_000_002,
            severity_number=SeverityNumber.INFO,
            event_name="order.placed",
            body={
                "order": {"id": 7, "paid": True},
                "tags": ["a", "b"],
                "raw": b"\x00\xff",
                "ratio": 2.0,
            },
        )
    )
    finish(provider)


def finish(provider: TracerProvider | LoggerProvider) -> None:
    if not provider.force_flush():
        sys.exit("an export failed")
    provider.shutdown()


shop = Resource.create(
    {"service.version": "1.4.0", "host.cpus": 8, "deployment.ports": [4317, 4318]}
)
ids, cart_context = send_traces(shop)
send_metrics(shop)
send_logs(shop, cart_context)
print(json.dumps(ids))
