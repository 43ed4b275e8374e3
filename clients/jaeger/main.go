// Program ask asks a server over gRPC what Jaeger's own client of jaeger.api_v3.QueryService can
// ask, the same client that Jaeger's tests and tools use, and prints the answers as JSON.
//
//	ask ADDRESS TENANT SERVICE TRACE-ID START END
//
// Times are RFC 3339. TENANT may be empty.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"sort"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/jaegertracing/jaeger/internal/jptrace"
	"github.com/jaegertracing/jaeger/internal/proto/api_v3"
)

// span is what is told of a span: enough to see that it came whole.
type span struct {
	TraceID    string         `json:"traceId"`
	SpanID     string         `json:"spanId"`
	Service    string         `json:"service"`
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Status     string         `json:"status"`
	Start      int64          `json:"start,string"`
	End        int64          `json:"end,string"`
	Attributes map[string]any `json:"attributes"`
	Events     int            `json:"events"`
}

type answers struct {
	Services   []string `json:"services"`
	Operations []string `json:"operations"`
	Trace      []span   `json:"trace"`
	Found      []span   `json:"found"`
	Slow       []span   `json:"slow"`
	// Absent is the status of a trace that nobody sent.
	Absent string `json:"absent"`
}

func main() {
	address, tenant, service, id := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	start, end := readTime(os.Args[5]), readTime(os.Args[6])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if tenant != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-scope-orgid", tenant)
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	client := api_v3.NewQueryServiceClient(connection)

	var told answers
	services, err := client.GetServices(ctx, &api_v3.GetServicesRequest{})
	check(err)
	told.Services = services.Services
	operations, err := client.GetOperations(ctx, &api_v3.GetOperationsRequest{Service: service})
	check(err)
	for _, operation := range operations.Operations {
		told.Operations = append(told.Operations, operation.Name+" "+operation.SpanKind)
	}
	trace, err := client.GetTrace(ctx, &api_v3.GetTraceRequest{TraceId: id, StartTime: start, EndTime: end})
	check(err)
	told.Trace, err = spans(trace)
	check(err)
	query := api_v3.TraceQueryParameters{
		ServiceName:  service,
		Attributes:   map[string]string{"number": "3"},
		StartTimeMin: start,
		StartTimeMax: end,
		SearchDepth:  10,
		RawTraces:    true,
	}
	found, err := client.FindTraces(ctx, &api_v3.FindTracesRequest{Query: &query})
	check(err)
	told.Found, err = spans(found)
	check(err)
	query.Attributes, query.DurationMin = nil, 350*time.Millisecond
	slow, err := client.FindTraces(ctx, &api_v3.FindTracesRequest{Query: &query})
	check(err)
	told.Slow, err = spans(slow)
	check(err)
	absent, err := client.GetTrace(ctx, &api_v3.GetTraceRequest{TraceId: "fefefefefefefefefefefefefefefefe"})
	check(err)
	_, err = spans(absent)
	told.Absent = codes.Code(status.Code(err)).String()
	check(json.NewEncoder(os.Stdout).Encode(told))
}

// spans reads a stream to its end.
func spans(stream interface {
	Recv() (*jptrace.TracesData, error)
}) ([]span, error) {
	all := []span{}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			sort.Slice(all, func(a, b int) bool { return all[a].SpanID < all[b].SpanID })
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		traces := part.ToTraces()
		for position, each := range jptrace.SpanIter(traces) {
			name, _ := position.Resource.Resource().Attributes().Get("service.name")
			all = append(all, span{
				TraceID:    each.TraceID().String(),
				SpanID:     each.SpanID().String(),
				Service:    name.Str(),
				Name:       each.Name(),
				Kind:       each.Kind().String(),
				Status:     each.Status().Code().String(),
				Start:      int64(each.StartTimestamp()),
				End:        int64(each.EndTimestamp()),
				Attributes: each.Attributes().AsRaw(),
				Events:     each.Events().Len(),
			})
		}
	}
}

func readTime(text string) time.Time {
	read, err := time.Parse(time.RFC3339Nano, text)
	check(err)
	return read
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
