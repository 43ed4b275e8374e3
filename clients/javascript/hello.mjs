// The shortest JavaScript service whose spans arrive in otlake.
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { detectResources, envDetector } from '@opentelemetry/resources'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'

const provider = new BasicTracerProvider({
  resource: detectResources({ detectors: [envDetector] }), // reads OTEL_SERVICE_NAME
  // Reads OTEL_EXPORTER_OTLP_ENDPOINT.
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
})
provider.getTracer('hello').startSpan('hello from JavaScript').end()
await provider.shutdown() // sends what is left
