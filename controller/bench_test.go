package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudlet/bus"
)

// BenchmarkApp reads and changes apps over HTTP: each change is on disk when it is answered.
func BenchmarkApp(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, method := range []string{"GET", "PUT"} {
			b.Run(fmt.Sprintf("%s/clients=%d", method, clients), func(b *testing.B) {
				c := start(b, nil)
				c.health(1, func(bus.StatusOf) *bus.StatusReply { return nil })
				for i := range 16 {
					c.ok(alice, "POST", "/apps", fmt.Sprintf(`{"name":"a%d","staging":{"framework":"node"},"instances":1,"resources":{"memory":16},"state":"STARTED"}`, i))
				}
				b.ResetTimer()
				c.hammer(b, clients, method)
			})
		}
	}
}

// hammer has clients send b.N requests together; each PUT changes something, and so is an
// event as well.
func (c *cloud) hammer(b *testing.B, clients int, method string) {
	work, took := make(chan int), make([]time.Duration, b.N)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range work {
				body := ""
				if method == "PUT" {
					body = fmt.Sprintf(`{"env":["A=%d"]}`, i)
				}
				began := time.Now()
				if r, err := c.send(alice, method, fmt.Sprintf("/apps/a%d", i%16), strings.NewReader(body)); err != nil || r.status != 200 {
					b.Errorf("%v %v", r, err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	percentiles(b, took)
}

// percentiles reports how long requests took.
func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
}

// BenchmarkResources matches a large app's 20,000 files with a pool that has none of them,
// and one that has all.
func BenchmarkResources(b *testing.B) {
	const n = 20_000
	list := make([]string, n)
	names := make([]string, 0, 2*n)
	for i := range n {
		content := fmt.Sprint("content of ", i)
		list[i] = descriptor(fmt.Sprintf("node_modules/some/package/lib/file%d.js", i), content)
		names = append(names, fmt.Sprintf("f%d", i), content)
	}
	body := "[" + strings.Join(list, ",") + "]"
	c := withApp(b, nil)
	measure := func(b *testing.B, known int) {
		b.SetBytes(int64(len(body)))
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			if got := strings.Count(c.ok(alice, "POST", "/resources", body), `"fn"`); got != known {
				b.Fatalf("%d are known, want %d", got, known)
			}
			took = append(took, time.Since(began))
		}
		percentiles(b, took)
	}
	b.Run("unknown", func(b *testing.B) { measure(b, 0) })
	if r := c.upload(alice, "hello", pack(b, names...), "[]"); r.status != 200 {
		b.Fatal(r)
	}
	b.Run("known", func(b *testing.B) { measure(b, n) })
}
