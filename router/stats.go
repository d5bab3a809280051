package router

import (
	"log/slog"
	"sync/atomic"
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

type counters struct {
	badRequests, badGateways atomic.Uint64
	responses                [6]atomic.Uint64 // by the first digit of the status, 0 for all others
}

// count adds a finished request.
func (c *counters) count(status int) {
	class := status / 100
	if class < 2 || class > 5 {
		class = 0
	}
	c.responses[class].Add(1)
}

// Stats is a snapshot of the numbers.
func (r *Router) Stats() Stats {
	c := &r.stats
	s := Stats{
		BadRequests:  c.badRequests.Load(),
		BadGateways:  c.badGateways.Load(),
		Responses2xx: c.responses[2].Load(),
		Responses3xx: c.responses[3].Load(),
		Responses4xx: c.responses[4].Load(),
		Responses5xx: c.responses[5].Load(),
		ResponsesXxx: c.responses[0].Load(),
	}
	s.Requests = s.Responses2xx + s.Responses3xx + s.Responses4xx + s.Responses5xx + s.ResponsesXxx
	s.URLs, s.Droplets = r.table.size()
	return s
}
