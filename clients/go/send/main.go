// Program send sends the shop's telemetry once, over what the standard variables name
// (OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _COMPRESSION, OTEL_SERVICE_NAME), and prints the ids
// that the SDK chose as JSON. It ends with 1 when an export fails.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

const (
	scope     = "shop"
	version   = "1.2.3"
	schemaURL = "https://opentelemetry.io/schemas/1.30.0"
	day       = 1_700_000_000 // seconds: every time of the program follows from it
)

func at(nanoseconds int64) time.Time { return time.Unix(day, nanoseconds) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	shop, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.version", "1.4.0"),
		attribute.Int("host.cpus", 8),
		attribute.IntSlice("deployment.ports", []int{4317, 4318}),
	))
	must(err)
	ids, cart := sendTraces(ctx, shop)
	sendMetrics(ctx, shop)
	sendLogs(cart, shop)
	must(json.NewEncoder(os.Stdout).Encode(ids))
}

// body is a structured log body with every kind of value.
func body() attribute.Value {
	return attribute.MapValue(
		attribute.Map("order", attribute.Int("id", 7), attribute.Bool("paid", true)),
		attribute.Slice("tags", attribute.StringValue("a"), attribute.StringValue("b")),
		attribute.ByteSlice("raw", []byte{0, 255}),
		attribute.Float64("ratio", 2),
	)
}
