package main

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

func sendMetrics(ctx context.Context, shop *resource.Resource) {
	var exporter sdk.Exporter
	var err error
	if overGrpc() {
		exporter, err = otlpmetricgrpc.New(ctx)
	} else {
		exporter, err = otlpmetrichttp.New(ctx)
	}
	must(err)
	provider := sdk.NewMeterProvider(
		sdk.WithResource(shop),
		sdk.WithReader(sdk.NewPeriodicReader(exporter)),
		sdk.WithView(sdk.NewView(sdk.Instrument{Name: "spread"}, sdk.Stream{
			Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20},
		})),
	)
	meter := provider.Meter(scope,
		metric.WithInstrumentationVersion(version), metric.WithSchemaURL(schemaURL))
	country := metric.WithAttributes(attribute.String("country", "NL"))

	orders, err := meter.Int64Counter("orders",
		metric.WithUnit("{order}"), metric.WithDescription("Orders placed"))
	must(err)
	orders.Add(ctx, 3, country)
	orders.Add(ctx, 4, country)
	revenue, err := meter.Float64Counter("revenue", metric.WithUnit("EUR"))
	must(err)
	revenue.Add(ctx, 1.5)
	revenue.Add(ctx, 2.25)
	queue, err := meter.Int64UpDownCounter("queue")
	must(err)
	queue.Add(ctx, -2)
	load, err := meter.Float64Gauge("load")
	must(err)
	load.Record(ctx, 0.75)
	threads, err := meter.Int64Gauge("threads")
	must(err)
	threads.Record(ctx, 12)
	wait, err := meter.Float64Histogram("wait",
		metric.WithUnit("ms"), metric.WithExplicitBucketBoundaries(1, 10, 100))
	must(err)
	for _, value := range []float64{0.5, 5, 50, 500} {
		wait.Record(ctx, value)
	}
	spread, err := meter.Float64Histogram("spread")
	must(err)
	for _, value := range []float64{1, 2, 4, 8} {
		spread.Record(ctx, value)
	}
	must(provider.Shutdown(ctx))
}
