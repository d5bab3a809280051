package router

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloudlet/bus"
	"cloudlet/internal/component"
)

// levelAccess is the level of the access log.
const levelAccess = slog.LevelDebug

// Stats are the router's numbers since its start, under their names in v1's /varz.
type Stats struct {
	Requests     uint64 `json:"requests"`
	BadRequests  uint64 `json:"bad_requests"` // without a usable or known host
	BadGateways  uint64 `json:"bad_gateways"`
	Responses2xx uint64 `json:"responses_2xx"`
	Responses3xx uint64 `json:"responses_3xx"`
	Responses4xx uint64 `json:"responses_4xx"`
	Responses5xx uint64 `json:"responses_5xx"`
	ResponsesXxx uint64 `json:"responses_xxx"` // upgrades, and requests that got no answer
	URLs         int    `json:"urls"`
	Droplets     int    `json:"droplets"` // pairs of URL and backend
}

// varz are all numbers of the router.
type varz struct {
	Stats
	PerSecond int64                      `json:"requests_per_sec"`
	Latency   component.Sum              `json:"latency"` // ms
	Tags      map[string]map[string]load `json:"tags"`
}

// load is the part that one kind of app, or component, has in the requests.
type load struct {
	Requests     uint64        `json:"requests"`
	Latency      component.Sum `json:"latency"` // ms
	Responses2xx uint64        `json:"responses_2xx"`
	Responses3xx uint64        `json:"responses_3xx"`
	Responses4xx uint64        `json:"responses_4xx"`
	Responses5xx uint64        `json:"responses_5xx"`
	ResponsesXxx uint64        `json:"responses_xxx"`
}

type counters struct {
	meter
	badRequests, badGateways atomic.Uint64
}

// meter counts finished requests, and sums how long they took.
type meter struct {
	responses [6]atomic.Uint64 // by the first digit of the status, 0 for all others
	latency   component.Rolling
}

// count adds a finished request.
func (m *meter) count(status int, now time.Time, took time.Duration) {
	class := status / 100
	if class < 2 || class > 5 {
		m.responses[0].Add(1) // how long a tunnel was open is no latency
		return
	}
	m.responses[class].Add(1)
	m.latency.Add(now, took.Milliseconds())
}

func (m *meter) load(now time.Time) load {
	l := load{
		Latency:      m.latency.Minute(now),
		Responses2xx: m.responses[2].Load(),
		Responses3xx: m.responses[3].Load(),
		Responses4xx: m.responses[4].Load(),
		Responses5xx: m.responses[5].Load(),
		ResponsesXxx: m.responses[0].Load(),
	}
	l.Requests = l.Responses2xx + l.Responses3xx + l.Responses4xx + l.Responses5xx + l.ResponsesXxx
	return l
}

// Stats is a snapshot of the numbers.
func (r *Router) Stats() Stats {
	l := r.stats.load(time.Now())
	s := Stats{
		Requests:     l.Requests,
		BadRequests:  r.stats.badRequests.Load(),
		BadGateways:  r.stats.badGateways.Load(),
		Responses2xx: l.Responses2xx,
		Responses3xx: l.Responses3xx,
		Responses4xx: l.Responses4xx,
		Responses5xx: l.Responses5xx,
		ResponsesXxx: l.ResponsesXxx,
	}
	s.URLs, s.Droplets = r.table.size()
	return s
}

func (r *Router) varz() any {
	now := time.Now()
	return varz{
		Stats:     r.Stats(),
		PerSecond: r.stats.latency.PerSecond(now),
		Latency:   r.stats.latency.Minute(now),
		Tags:      r.table.tags.loads(now),
	}
}

// tagged are meters by tag and value, for the tags that v1's tools know.
type tagged struct {
	mu     sync.Mutex
	meters map[[2]string]*meter
}

// maxTagged bounds the meters.
const maxTagged = 1 << 10

// of are the meters for the tags of a route.
func (t *tagged) of(tags map[string]string) (meters []*meter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tag := range []string{"component", "framework", "runtime"} {
		key := [2]string{tag, tags[tag]}
		if key[1] == "" {
			continue
		}
		m := t.meters[key]
		if m == nil {
			if len(t.meters) >= maxTagged {
				continue
			}
			if t.meters == nil {
				t.meters = map[[2]string]*meter{}
			}
			m = new(meter)
			t.meters[key] = m
		}
		meters = append(meters, m)
	}
	return meters
}

func (t *tagged) loads(now time.Time) map[string]map[string]load {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string]map[string]load{"component": {}, "framework": {}, "runtime": {}}
	for key, m := range t.meters {
		all[key[0]][key[1]] = m.load(now)
	}
	return all
}

// active are the apps that were requested since they were last told.
type active struct {
	mu   sync.Mutex
	apps map[bus.AppID]bool
}

func (a *active) note(app bus.AppID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.apps == nil {
		a.apps = map[bus.AppID]bool{}
	}
	a.apps[app] = true
}

// take gives the apps, and begins anew.
func (a *active) take() (list bus.ActiveApps) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for app := range a.apps {
		list = append(list, app)
	}
	a.apps = nil
	slices.Sort(list)
	return list
}
