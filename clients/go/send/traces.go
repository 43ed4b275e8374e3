package main

import (
	"context"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func overGrpc() bool { return os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" }

// sendTraces returns the ids and a context that holds the root span.
func sendTraces(ctx context.Context, shop *resource.Resource) (map[string]any, context.Context) {
	var exporter *otlptrace.Exporter
	var err error
	if overGrpc() {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	must(err)
	provider := sdk.NewTracerProvider(sdk.WithResource(shop), sdk.WithBatcher(exporter))
	tracer := provider.Tracer(scope,
		trace.WithInstrumentationVersion(version), trace.WithSchemaURL(schemaURL))

	_, linked := tracer.Start(ctx, "linked",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(at(0)))
	linked.End(trace.WithTimestamp(at(1)))

	cartCtx, cart := tracer.Start(ctx, "GET /cart",
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(at(123_456_789)),
		trace.WithLinks(trace.Link{
			SpanContext: linked.SpanContext(),
			Attributes:  []attribute.KeyValue{attribute.String("link.reason", "retry")},
		}),
		trace.WithAttributes(
			attribute.String("http.request.method", "GET"),
			attribute.Int("http.response.status_code", 500),
			attribute.Float64("app.ratio", 0.25),
			attribute.Int("app.whole", 2),
			attribute.Float64("app.double", 2),
			attribute.Int64("app.big", 9_007_199_254_740_993),
			attribute.Bool("app.cached", false),
			attribute.String("app.empty", ""),
			attribute.StringSlice("app.items", []string{"tea", "cup \"large\"", "naïve\n"}),
			attribute.IntSlice("app.ports", []int{1, 2}),
			attribute.Float64Slice("app.ratios", []float64{0.5, 1}),
			attribute.BoolSlice("app.flags", []bool{true, false}),
			attribute.ByteSlice("app.raw", []byte{0, 255}),
			attribute.Map("app.map", attribute.Int("id", 7), attribute.Float64("ratio", 2)),
		))
	_, query := tracer.Start(cartCtx, "query",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(at(200_000_000)))
	query.AddEvent("rows", trace.WithTimestamp(at(200_000_007)),
		trace.WithAttributes(attribute.Int("count", 3)))
	query.SetStatus(codes.Ok, "")
	query.End(trace.WithTimestamp(at(200_000_100)))
	cart.SetStatus(codes.Error, "timed out")
	cart.End(trace.WithTimestamp(at(999_999_999)))
	must(provider.ForceFlush(ctx))
	must(provider.Shutdown(ctx))

	return map[string]any{
		"linkedTrace": linked.SpanContext().TraceID().String(),
		"linked":      linked.SpanContext().SpanID().String(),
		"trace":       cart.SpanContext().TraceID().String(),
		"cart":        cart.SpanContext().SpanID().String(),
		"query":       query.SpanContext().SpanID().String(),
		"flags":       byte(cart.SpanContext().TraceFlags()),
	}, cartCtx
}
