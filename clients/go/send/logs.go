package main

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otlplog "go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
)

// sendLogs writes one record within the span that `ctx` holds and one outside any.
func sendLogs(ctx context.Context, shop *resource.Resource) {
	var exporter sdk.Exporter
	var err error
	if overGrpc() {
		exporter, err = otlploggrpc.New(ctx)
	} else {
		exporter, err = otlploghttp.New(ctx)
	}
	must(err)
	provider := sdk.NewLoggerProvider(
		sdk.WithResource(shop), sdk.WithProcessor(sdk.NewBatchProcessor(exporter)))
	logger := provider.Logger(scope,
		otlplog.WithInstrumentationVersion(version), otlplog.WithSchemaURL(schemaURL))

	var low otlplog.Record
	low.SetTimestamp(at(300_000_001))
	low.SetObservedTimestamp(at(300_000_002))
	low.SetSeverity(otlplog.SeverityWarn)
	low.SetSeverityText("WARN")
	low.SetBody(attribute.StringValue("stock is low"))
	low.AddAttributes(attribute.String("sku", "tea-1"), attribute.Int("left", 2))
	logger.Emit(ctx, low)

	var order otlplog.Record
	order.SetTimestamp(at(400_000_001))
	order.SetObservedTimestamp(at(400_000_002))
	order.SetSeverity(otlplog.SeverityInfo)
	order.SetEventName("order.placed")
	order.SetBody(body())
	logger.Emit(context.Background(), order)
	must(provider.Shutdown(context.Background()))
}
