"""The shortest Python service whose spans arrive in otlake."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()  # reads OTEL_SERVICE_NAME
# Reads OTEL_EXPORTER_OTLP_ENDPOINT.
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
with provider.get_tracer("hello").start_as_current_span("hello from Python"):
    pass
provider.shutdown()  # sends what is left
