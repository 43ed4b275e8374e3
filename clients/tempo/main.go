// Program tempo asks a server what Grafana's Tempo data source asks, with the messages and the gRPC client
// of Tempo's own module: a trace by its id over HTTP in protobuf, and the calls of
// tempopb.StreamingQuerier. It prints the answers as JSON.
//
//	tempo ADDRESS QUERY METRICS-QUERY TAG TRACE-ID START END
//
// START and END are seconds since 1970. ADDRESS has both HTTP, below /tempo, and gRPC.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/grafana/tempo/pkg/tempopb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type answers struct {
	// Spans of the trace, by its id over HTTP.
	Trace  []string `json:"trace"`
	Status int      `json:"absentStatus"`
	// Traces and how many of their spans match.
	Traces map[string]uint32 `json:"traces"`
	// Names by scope.
	Tags   map[string][]string `json:"tags"`
	Values []string            `json:"values"`
	// The sum of each series' samples.
	Series map[string]float64 `json:"series"`
}

func main() {
	address, query, metrics, tag, id := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	start, end := seconds(os.Args[6]), seconds(os.Args[7])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	client := tempopb.NewStreamingQuerierClient(connection)
	told := answers{Traces: map[string]uint32{}, Tags: map[string][]string{}, Series: map[string]float64{}}

	url := fmt.Sprintf("http://%s/tempo/api/v2/traces/%s?start=%d&end=%d", address, id, start, end)
	var trace tempopb.TraceByIDResponse
	told.Status = get(ctx, url, &trace)
	if told.Status != http.StatusOK {
		log.Fatalf("%s: %d", url, told.Status)
	}
	for _, resource := range trace.Trace.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				told.Trace = append(told.Trace, hex.EncodeToString(span.SpanId))
			}
		}
	}
	sort.Strings(told.Trace)
	absent := fmt.Sprintf("http://%s/tempo/api/v2/traces/fefefefefefefefefefefefefefefefe", address)
	told.Status = get(ctx, absent, &trace)

	found, err := client.Search(ctx, &tempopb.SearchRequest{
		Query: query, Limit: 1000, SpansPerSpanSet: 3, Start: start, End: end,
	})
	check(err)
	each(found.Recv, func(message *tempopb.SearchResponse) {
		for _, trace := range message.Traces {
			told.Traces[trace.TraceID] = trace.SpanSets[0].Matched
		}
	})
	tags, err := client.SearchTagsV2(ctx, &tempopb.SearchTagsRequest{Start: start, End: end})
	check(err)
	each(tags.Recv, func(message *tempopb.SearchTagsV2Response) {
		for _, scope := range message.Scopes {
			told.Tags[scope.Name] = scope.Tags
		}
	})
	values, err := client.SearchTagValuesV2(ctx, &tempopb.SearchTagValuesRequest{TagName: tag, Start: start, End: end})
	check(err)
	each(values.Recv, func(message *tempopb.SearchTagValuesV2Response) {
		told.Values = nil
		for _, value := range message.TagValues {
			told.Values = append(told.Values, value.Value)
		}
	})
	series, err := client.MetricsQueryRange(ctx, &tempopb.QueryRangeRequest{
		Query: metrics,
		Start: uint64(start) * uint64(time.Second),
		End:   uint64(end) * uint64(time.Second),
		Step:  uint64(10 * time.Second),
	})
	check(err)
	each(series.Recv, func(message *tempopb.QueryRangeResponse) {
		for _, one := range message.Series {
			name, sum := "", 0.0
			for _, label := range one.Labels {
				name += label.Key + "=" + label.Value.GetStringValue()
			}
			for _, sample := range one.Samples {
				sum += sample.Value
			}
			told.Series[name] = sum
		}
	})
	check(json.NewEncoder(os.Stdout).Encode(told))
}

// get asks for a message in protobuf, as the data source does, and gives the status.
func get(ctx context.Context, url string, into proto.Message) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	check(err)
	request.Header.Set("Accept", "application/protobuf")
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	if response.StatusCode == http.StatusOK {
		check(proto.Unmarshal(body, into))
	}
	return response.StatusCode
}

// each reads a stream to its end.
func each[Message any](receive func() (*Message, error), take func(*Message)) {
	for {
		message, err := receive()
		if errors.Is(err, io.EOF) {
			return
		}
		check(err)
		take(message)
	}
}

func seconds(text string) uint32 {
	read, err := strconv.ParseUint(text, 10, 32)
	check(err)
	return uint32(read)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
