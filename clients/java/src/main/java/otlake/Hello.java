package otlake;

import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;

/** The shortest Java service whose spans arrive in otlake. */
public final class Hello {
  public static void main(String[] arguments) {
    // Reads OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT.
    try (var sdk = AutoConfiguredOpenTelemetrySdk.initialize().getOpenTelemetrySdk()) {
      sdk.getTracer("hello").spanBuilder("hello from Java").startSpan().end();
    } // close() sends what is left
  }
}
