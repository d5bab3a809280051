package component

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloudlet/bus"
)

const (
	maxComponents = 1 << 10
	maxVarz       = 16 << 20 // bytes
)

// Reading is a component and its varz; nil where it could not be had.
type Reading struct {
	bus.Component
	Varz map[string]any
}

// Gather reads the varz of all components that make themselves known within wait.
func Gather(ctx context.Context, conn *bus.Conn, wait time.Duration) []Reading {
	found := bus.ComponentDiscover.Gather(ctx, conn, bus.Empty{}, maxComponents, wait)
	client := &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	readings := make([]Reading, len(found))
	var work sync.WaitGroup
	for i, c := range found {
		work.Go(func() { readings[i] = Reading{c, read(ctx, client, c)} })
	}
	work.Wait()
	slices.SortFunc(readings, func(a, b Reading) int { return cmp.Compare(a.UUID, b.UUID) })
	return readings
}

func read(ctx context.Context, client *http.Client, c bus.Component) (varz map[string]any) {
	u := url.URL{Scheme: "http", Host: c.Host, Path: "/varz"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil || len(c.Credentials) != 2 {
		return nil
	}
	req.SetBasicAuth(c.Credentials[0], c.Credentials[1])
	res, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	d := json.NewDecoder(io.LimitReader(res.Body, maxVarz))
	d.UseNumber()
	if res.StatusCode != http.StatusOK || d.Decode(&varz) != nil {
		return nil
	}
	return varz
}

// WriteMetrics writes all numbers in Prometheus' text format: as cloudlet_<key>, with
// the labels type and index, and names that are keys of a varz as further labels.
// cloudlet_up tells which components could be read.
func WriteMetrics(w io.Writer, readings []Reading) error {
	m := metrics{}
	for _, r := range readings {
		labels := label("type", r.Type)
		if r.Index != nil {
			labels += label("index", strconv.Itoa(*r.Index))
		}
		m.set("cloudlet_up", labels, strconv.Itoa(min(1, len(r.Varz))))
		delete(r.Varz, "index")
		m.add("cloudlet", labels, r.Varz)
	}
	out := bufio.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		kind := "gauge"
		if counts.MatchString(name) {
			kind = "counter"
		}
		fmt.Fprintf(out, "# TYPE %s %s\n", name, kind)
		for _, labels := range slices.Sorted(maps.Keys(m[name])) {
			fmt.Fprintf(out, "%s{%s} %s\n", name, labels[1:], m[name][labels])
		}
	}
	return out.Flush()
}

// counts are the names of what only grows.
var counts = regexp.MustCompile(`^cloudlet_(tags_)?(requests|bad_requests|bad_gateways|responses_.xx|\w+_msgs_received)$`)

// metrics are values by name and labels.
type metrics map[string]map[string]string

func (m metrics) set(name, labels, value string) {
	if m[name] == nil {
		m[name] = map[string]string{}
	}
	m[name][labels] = value
}

// named are the keys of varz whose own keys are names of something, not of numbers.
var named = map[string]string{"frameworks": "framework", "runtimes": "runtime"}

// add takes the numbers out of a value. What is neither a number nor an object is for
// other readers.
func (m metrics) add(name, labels string, value any) {
	switch v := value.(type) {
	case json.Number:
		if _, err := v.Float64(); err == nil {
			m.set(name, labels, v.String())
		}
	case map[string]any:
		for key, inner := range v {
			of, isMap := inner.(map[string]any)
			if !isMap || key != "tags" && named[key] == "" {
				m.add(name+"_"+word(key), labels, inner)
				continue
			}
			m.addNamed(name+"_"+key, labels, key, of)
		}
	}
}

// addNamed takes the numbers out of objects by name: frameworks.<name>.<number>, and
// tags.<key>.<name>.<number>.
func (m metrics) addNamed(name, labels, key string, objects map[string]any) {
	if key == "tags" {
		for tag, values := range objects {
			if of, ok := values.(map[string]any); ok {
				m.addNamed(name, labels, tag, of)
			}
		}
		return
	}
	kind := cmp.Or(named[key], key)
	if !labelName.MatchString(kind) || strings.Contains(labels, ","+kind+`="`) {
		return // it would spoil the page for all
	}
	for value, inner := range objects {
		m.add(name, labels+label(kind, value), inner)
	}
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label is one label, with the comma that parts it from those before.
func label(name, value string) string { return "," + name + `="` + escape.Replace(value) + `"` }

var (
	noWord    = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// word is a key as a part of a metric's name.
func word(key string) string { return noWord.ReplaceAllString(key, "_") }
