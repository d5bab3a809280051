package router

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"cloudlet/bus"
)

// quiet is a logger for benchmarks and fuzzing.
var quiet = slog.New(slog.DiscardHandler)

func BenchmarkLookup(b *testing.B) {
	var t table
	t.init()
	now := time.Now()
	for i := range 10_000 {
		for j := range 3 {
			t.register(fmt.Sprintf("app-%d.example", i), bus.Route{Host: "10.0.0.1", Port: 1 + j}, now)
		}
	}
	t.publish()
	b.ReportAllocs()
	for b.Loop() {
		host, _ := normalHost("App-4711.example:8080")
		if t.lookup(host).pick("", nil, now) == nil {
			b.Fatal("no backend")
		}
	}
}

// BenchmarkRegister has 10,000 hosts register in bursts, as after router.start.
func BenchmarkRegister(b *testing.B) {
	for b.Loop() {
		var t table
		t.init()
		for i := range 10_000 {
			t.register(fmt.Sprintf("app-%d.example", i), bus.Route{Host: "10.0.0.1", Port: 1 + i}, time.Now())
			if i%256 == 0 {
				t.publish()
			}
		}
	}
}

func BenchmarkProxy(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			c := startLogging(b, Config{}, quiet)
			c.serve("a.example", says("hello, world"))
			measure(b, c.client, clients, "http://a.example/")
		})
	}
}

// BenchmarkDirect is the same without a router: what client and app cost by themselves.
func BenchmarkDirect(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			c := startLogging(b, Config{}, quiet)
			measure(b, c.clientVia(new(net.Dialer).DialContext), clients, c.backend(says("hello, world")).URL)
		})
	}
}

// measure shares b.N requests among clients.
func measure(b *testing.B, client *http.Client, clients int, url string) {
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		n := b.N / clients
		if i < b.N%clients {
			n++
		}
		wg.Go(func() {
			for range n {
				res, err := client.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	wg.Wait()
}
