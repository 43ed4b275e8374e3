// Program hello is the shortest Go service whose spans arrive in otlake.
package main

import (
	"context"
	"log"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	ctx := context.Background()
	exporter, err := otlptracegrpc.New(ctx) // reads OTEL_EXPORTER_OTLP_ENDPOINT
	if err != nil {
		log.Fatal(err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter)) // reads OTEL_SERVICE_NAME
	_, span := provider.Tracer("hello").Start(ctx, "hello from Go")
	span.End()
	if err := provider.Shutdown(ctx); err != nil { // sends what is left
		log.Fatal(err)
	}
}
