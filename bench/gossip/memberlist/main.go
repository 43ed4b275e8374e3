// Clusters of hashicorp/memberlist on real sockets of this machine, at its settings for a LAN, which
// drop the datagrams they send. Reads conditions as JSON from stdin and writes what it measured.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	mathrand "math/rand"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	settle    = 5 * time.Second
	maxDetect = 30 * time.Second
	keyBytes  = 32
)

type condition struct {
	Nodes    int     `json:"nodes"`
	Clusters int     `json:"clusters"`
	Seconds  float64 `json:"seconds"`
	Loss     float64 `json:"loss"`
}

// What one cluster gave. Times are in milliseconds; null where it was never known.
type result struct {
	Suspicions int64    `json:"suspicions"`
	Deaths     int64    `json:"deaths"`
	Bytes      int64    `json:"bytes"`
	DetectMs   *float64 `json:"detectMs"`
	AllKnowMs  *float64 `json:"allKnowMs"`
}

// What all nodes of one cluster count together.
type counts struct {
	bytes       atomic.Int64
	suspicions  atomic.Int64
	deaths      atomic.Int64
	mutex       sync.Mutex
	knownDeaths map[string]time.Time
}

// Write takes the log of a node, where alone memberlist tells that a suspect has refuted.
func (c *counts) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "Refuting a suspect message") {
		c.suspicions.Add(1)
	}
	return len(line), nil
}

// Drops datagrams, and counts the bytes of datagrams and streams.
type lossyTransport struct {
	*memberlist.NetTransport
	loss    float64
	counts  *counts
	streams chan net.Conn
}

func (t *lossyTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (t *lossyTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	t.counts.bytes.Add(int64(len(b)))
	if mathrand.Float64() < t.loss {
		return time.Now(), nil
	}
	return t.NetTransport.WriteToAddress(b, a)
}

func (t *lossyTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (t *lossyTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := t.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, t.counts}, nil
}

func (t *lossyTransport) StreamCh() <-chan net.Conn { return t.streams }

func (t *lossyTransport) wrapStreams() {
	for conn := range t.NetTransport.StreamCh() {
		t.streams <- &countedConn{conn, t.counts}
	}
}

type countedConn struct {
	net.Conn
	counts *counts
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.counts.bytes.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// One node's events.
type delegate struct {
	name   string
	counts *counts
}

func (d *delegate) NotifyJoin(*memberlist.Node)   {}
func (d *delegate) NotifyUpdate(*memberlist.Node) {}
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	d.counts.deaths.Add(1)
	d.counts.mutex.Lock()
	defer d.counts.mutex.Unlock()
	if n.Name == "n0" {
		d.counts.knownDeaths[d.name] = time.Now()
	}
}

func main() {
	var conditions []condition
	if err := json.NewDecoder(os.Stdin).Decode(&conditions); err != nil {
		log.Fatal(err)
	}
	results := make([][]result, len(conditions))
	var wait sync.WaitGroup
	for i, c := range conditions {
		results[i] = make([]result, c.Clusters)
		for j := range results[i] {
			wait.Add(1)
			go func() {
				defer wait.Done()
				results[i][j] = run(c)
			}()
		}
	}
	wait.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}

func start(name string, key []byte, loss float64, counts *counts) *memberlist.Memberlist {
	logger := log.New(counts, "", 0)
	transport, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{"127.0.0.1"},
		BindPort:  0,
		Logger:    logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	lossy := &lossyTransport{transport, loss, counts, make(chan net.Conn)}
	go lossy.wrapStreams()
	config := memberlist.DefaultLANConfig()
	config.Name = name
	config.BindAddr = "127.0.0.1"
	config.BindPort = transport.GetAutoBindPort()
	config.AdvertiseAddr = "127.0.0.1"
	config.AdvertisePort = config.BindPort
	config.Transport = lossy
	config.SecretKey = key
	config.Logger = logger
	config.Events = &delegate{name, counts}
	list, err := memberlist.Create(config)
	if err != nil {
		log.Fatal(err)
	}
	return list
}

func run(c condition) result {
	counts := &counts{knownDeaths: map[string]time.Time{}}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		log.Fatal(err)
	}
	nodes := make([]*memberlist.Memberlist, c.Nodes)
	for i := range nodes {
		nodes[i] = start(fmt.Sprintf("n%d", i), key, c.Loss, counts)
		if i > 0 {
			if _, err := nodes[i].Join([]string{nodes[0].LocalNode().Address()}); err != nil {
				log.Fatal(err)
			}
		}
	}
	time.Sleep(settle)

	bytes, suspicions, deaths := counts.bytes.Load(), counts.suspicions.Load(), counts.deaths.Load()
	time.Sleep(time.Duration(c.Seconds * float64(time.Second)))
	measured := result{
		Bytes:      counts.bytes.Load() - bytes,
		Suspicions: counts.suspicions.Load() - suspicions,
		Deaths:     counts.deaths.Load() - deaths,
	}

	time.Sleep(time.Duration(mathrand.Float64() * float64(time.Second)))
	counts.mutex.Lock()
	clear(counts.knownDeaths)
	counts.mutex.Unlock()
	killed := time.Now()
	if err := nodes[0].Shutdown(); err != nil {
		log.Fatal(err)
	}
	known := func() int {
		counts.mutex.Lock()
		defer counts.mutex.Unlock()
		return len(counts.knownDeaths)
	}
	for known() < c.Nodes-1 && time.Since(killed) < maxDetect {
		time.Sleep(20 * time.Millisecond)
	}
	counts.mutex.Lock()
	for _, when := range counts.knownDeaths {
		ms := float64(when.Sub(killed).Microseconds()) / 1000
		if measured.DetectMs == nil || ms < *measured.DetectMs {
			measured.DetectMs = &ms
		}
		if len(counts.knownDeaths) == c.Nodes-1 && (measured.AllKnowMs == nil || ms > *measured.AllKnowMs) {
			measured.AllKnowMs = &ms
		}
	}
	counts.mutex.Unlock()
	for _, node := range nodes[1:] {
		_ = node.Shutdown()
	}
	return measured
}
