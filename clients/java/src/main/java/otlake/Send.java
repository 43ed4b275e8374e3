package otlake;

import static io.opentelemetry.api.common.AttributeKey.booleanArrayKey;
import static io.opentelemetry.api.common.AttributeKey.doubleArrayKey;
import static io.opentelemetry.api.common.AttributeKey.longArrayKey;
import static io.opentelemetry.api.common.AttributeKey.stringArrayKey;
import static io.opentelemetry.api.common.AttributeKey.stringKey;
import static io.opentelemetry.api.common.AttributeKey.valueKey;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.metrics.Aggregation;
import io.opentelemetry.sdk.metrics.InstrumentSelector;
import io.opentelemetry.sdk.metrics.View;
import io.opentelemetry.sdk.resources.Resource;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Sends the shop's telemetry once, over what the standard variables name
 * (OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _COMPRESSION, OTEL_SERVICE_NAME), and prints the ids
 * that the SDK chose as JSON. Ends with 1 when an export fails.
 */
public final class Send {
  private static final String SCOPE = "shop";
  private static final String VERSION = "1.2.3";
  private static final String SCHEMA_URL = "https://opentelemetry.io/schemas/1.30.0";
  /** Seconds since 1970: every time of the program follows from it. */
  private static final long DAY = 1_700_000_000;
  private static final long EXPORT_SECONDS = 30;

  private static Instant at(long nanoseconds) {
    return Instant.ofEpochSecond(DAY, nanoseconds);
  }

  private static void finish(CompletableResultCode result) {
    if (!result.join(EXPORT_SECONDS, TimeUnit.SECONDS).isSuccess()) {
      System.err.println("an export failed");
      System.exit(1);
    }
  }

  public static void main(String[] arguments) {
    var resource =
        Resource.create(
            Attributes.builder()
                .put("service.version", "1.4.0")
                .put("host.cpus", 8)
                .put(longArrayKey("deployment.ports"), 4317L, 4318L)
                .build());
    var configured =
        AutoConfiguredOpenTelemetrySdk.builder()
            .addResourceCustomizer((given, properties) -> given.merge(resource))
            .addMeterProviderCustomizer(
                (meters, properties) ->
                    meters.registerView(
                        InstrumentSelector.builder().setName("spread").build(),
                        View.builder()
                            .setAggregation(Aggregation.base2ExponentialBucketHistogram())
                            .build()))
            .build();
    try (var sdk = configured.getOpenTelemetrySdk()) {
      Span cart = sendTraces(sdk);
      sendMetrics(sdk);
      sendLogs(sdk, cart);
      finish(sdk.getSdkTracerProvider().forceFlush());
      // One export; a flush before the end would send every point twice.
      finish(sdk.getSdkMeterProvider().shutdown());
      finish(sdk.getSdkLoggerProvider().forceFlush());
    }
  }

  private static Span sendTraces(OpenTelemetrySdk sdk) {
    var tracer =
        sdk.getTracerProvider()
            .tracerBuilder(SCOPE)
            .setInstrumentationVersion(VERSION)
            .setSchemaUrl(SCHEMA_URL)
            .build();
    Span linked =
        tracer
            .spanBuilder("linked")
            .setSpanKind(SpanKind.PRODUCER)
            .setStartTimestamp(at(0))
            .startSpan();
    linked.end(at(1));
    Span cart =
        tracer
            .spanBuilder("GET /cart")
            .setSpanKind(SpanKind.SERVER)
            .setStartTimestamp(at(123_456_789))
            .addLink(linked.getSpanContext(), Attributes.of(stringKey("link.reason"), "retry"))
            .setAttribute("http.request.method", "GET")
            .setAttribute("http.response.status_code", 500)
            .setAttribute("app.ratio", 0.25)
            .setAttribute("app.whole", 2)
            .setAttribute("app.double", 2.0)
            .setAttribute("app.big", 9_007_199_254_740_993L)
            .setAttribute("app.cached", false)
            .setAttribute("app.empty", "")
            .setAttribute(stringArrayKey("app.items"), List.of("tea", "cup \"large\"", "naïve\n"))
            .setAttribute(longArrayKey("app.ports"), List.of(1L, 2L))
            .setAttribute(doubleArrayKey("app.ratios"), List.of(0.5, 1.0))
            .setAttribute(booleanArrayKey("app.flags"), List.of(true, false))
            .setAttribute(valueKey("app.raw"), Value.of(new byte[] {0, (byte) 255}))
            .setAttribute(
                valueKey("app.map"),
                Value.of(
                    KeyValue.of("id", Value.of(7)), KeyValue.of("ratio", Value.of(2.0))))
            .startSpan();
    Span query =
        tracer
            .spanBuilder("query")
            .setParent(Context.root().with(cart))
            .setSpanKind(SpanKind.CLIENT)
            .setStartTimestamp(at(200_000_000))
            .startSpan();
    query.addEvent("rows", Attributes.builder().put("count", 3).build(), at(200_000_007));
    query.setStatus(StatusCode.OK);
    query.end(at(200_000_100));
    cart.setStatus(StatusCode.ERROR, "timed out");
    cart.end(at(999_999_999));
    System.out.printf(
        "{\"linkedTrace\":\"%s\",\"linked\":\"%s\",\"trace\":\"%s\",\"cart\":\"%s\",\"query\":\"%s\",\"flags\":%d}%n",
        linked.getSpanContext().getTraceId(),
        linked.getSpanContext().getSpanId(),
        cart.getSpanContext().getTraceId(),
        cart.getSpanContext().getSpanId(),
        query.getSpanContext().getSpanId(),
        cart.getSpanContext().getTraceFlags().asByte());
    return cart;
  }

  private static void sendMetrics(OpenTelemetrySdk sdk) {
    var meter =
        sdk.getMeterProvider()
            .meterBuilder(SCOPE)
            .setInstrumentationVersion(VERSION)
            .setSchemaUrl(SCHEMA_URL)
            .build();
    var country = Attributes.of(stringKey("country"), "NL");
    var orders =
        meter.counterBuilder("orders").setUnit("{order}").setDescription("Orders placed").build();
    orders.add(3, country);
    orders.add(4, country);
    var revenue = meter.counterBuilder("revenue").ofDoubles().setUnit("EUR").build();
    revenue.add(1.5);
    revenue.add(2.25);
    meter.upDownCounterBuilder("queue").build().add(-2);
    meter.gaugeBuilder("load").build().set(0.75);
    meter.gaugeBuilder("threads").ofLongs().build().set(12);
    var wait =
        meter
            .histogramBuilder("wait")
            .setUnit("ms")
            .setExplicitBucketBoundariesAdvice(List.of(1.0, 10.0, 100.0))
            .build();
    for (double value : new double[] {0.5, 5, 50, 500}) {
      wait.record(value);
    }
    var spread = meter.histogramBuilder("spread").build();
    for (double value : new double[] {1, 2, 4, 8}) {
      spread.record(value);
    }
  }

  /** Writes one record within the span and one outside any. */
  private static void sendLogs(OpenTelemetrySdk sdk, Span span) {
    var logger =
        sdk.getLogsBridge()
            .loggerBuilder(SCOPE)
            .setInstrumentationVersion(VERSION)
            .setSchemaUrl(SCHEMA_URL)
            .build();
    logger
        .logRecordBuilder()
        .setContext(Context.root().with(span))
        .setTimestamp(at(300_000_001))
        .setObservedTimestamp(at(300_000_002))
        .setSeverity(Severity.WARN)
        .setSeverityText("WARN")
        .setBody("stock is low")
        .setAttribute("sku", "tea-1")
        .setAttribute("left", 2)
        .emit();
    logger
        .logRecordBuilder()
        .setContext(Context.root())
        .setTimestamp(at(400_000_001))
        .setObservedTimestamp(at(400_000_002))
        .setSeverity(Severity.INFO)
        .setEventName("order.placed")
        .setBody(
            Value.of(
                KeyValue.of(
                    "order",
                    Value.of(
                        KeyValue.of("id", Value.of(7)), KeyValue.of("paid", Value.of(true)))),
                KeyValue.of("tags", Value.of(Value.of("a"), Value.of("b"))),
                KeyValue.of("raw", Value.of(new byte[] {0, (byte) 255})),
                KeyValue.of("ratio", Value.of(2.0))))
        .emit();
  }
}
