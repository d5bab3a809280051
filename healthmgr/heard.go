package healthmgr

import (
	"time"

	"cloudlet/bus"
)

const (
	maxIndex     = 1 << 16 // indices are below
	maxID        = 128     // length of a version or an instance id
	maxInstances = 1 << 16 // of one app: living, crashed, and places with a history, each
)

func newHeard(since time.Time) *Heard {
	return &Heard{
		Since:     since,
		Instances: map[string]*Instance{},
		Indices:   map[Slot]*Index{},
		Crashes:   map[string]Crash{},
	}
}

// plausible bounds what a message may make the health manager remember.
func plausible(version, instance string, index int) bool {
	return index >= 0 && index < maxIndex && instance != "" && len(instance) <= maxID && len(version) <= maxID
}

// Beat takes in one line of a heartbeat. It reports whether that is news: an instance
// or a state not known before.
func (h *Heard) Beat(b bus.Beat, now time.Time, r Rules) bool {
	switch b.State {
	case bus.Starting, bus.Running:
		return h.lives(b, now, r)
	case bus.Crashed:
		_, told := h.Crashes[b.Instance]
		delete(h.Instances, b.Instance)
		h.crashed(b.Instance, b.StateTimestamp, now)
		return !told && h.missed(Slot{b.Version, b.Index}, now, r)
	}
	return false
}

// missed takes in an end of which only the heartbeat tells: its message came before the
// health manager listened, or was dropped. It reports whether the place may want another.
func (h *Heard) missed(slot Slot, now time.Time, r Rules) bool {
	if h.occupied(slot, now, r) {
		return false
	}
	x := h.index(slot)
	if x == nil {
		return false
	}
	x.Exited = now
	return true
}

func (h *Heard) lives(b bus.Beat, now time.Time, r Rules) bool {
	i := h.Instances[b.Instance]
	news := i == nil || !r.lives(i, now) // one that was given up for lost comes back as a newcomer
	if news {
		if len(h.Instances) >= maxInstances {
			return false
		}
		i = &Instance{}
		h.Instances[b.Instance] = i
	}
	news = news || i.State != b.State
	h.Ever = true
	i.Slot = Slot{b.Version, b.Index}
	i.State, i.Since, i.Seen = b.State, b.StateTimestamp.Time(), now
	if i.State == bus.Running && i.Running.IsZero() {
		i.Running = now
	}
	return news
}

// crashed remembers a crash for as long as it is heard of.
func (h *Heard) crashed(instance string, at bus.Unix, now time.Time) {
	if at == 0 {
		at = bus.At(now)
	}
	if _, known := h.Crashes[instance]; known || len(h.Crashes) < maxInstances {
		h.Crashes[instance] = Crash{At: at.Time(), Seen: now}
	}
}

// Exit takes in the end of an instance. It reports whether the place may want another.
func (h *Heard) Exit(e bus.Exited, now time.Time, r Rules) bool {
	i := h.Instances[e.Instance]
	delete(h.Instances, e.Instance)
	h.Ever = true
	if e.Reason == bus.ReasonCrashed {
		h.crashed(e.Instance, e.CrashTimestamp, now)
	}
	switch e.Reason {
	case bus.ReasonCrashed, bus.ReasonDEAShutdown, bus.ReasonDEAEvacuation:
	default:
		return false // it was told to end
	}
	slot := Slot{e.Version, e.Index}
	if h.occupied(slot, now, r) {
		return false // a duplicate has ended
	}
	x := h.index(slot)
	if x == nil {
		return false
	}
	if e.Reason == bus.ReasonCrashed {
		x.count(ran(e, i, now), now, r)
	}
	x.Exited, x.Urgent = now, e.Reason == bus.ReasonDEAEvacuation
	return true
}

// ran is how long the instance had been running; i is what was known of it, if anything.
func ran(e bus.Exited, i *Instance, now time.Time) time.Duration {
	switch {
	case e.RanFor != nil:
		return time.Duration(min(float64(*e.RanFor), 1e9) * float64(time.Second))
	case i != nil && i.State == bus.Running:
		return now.Sub(i.Since)
	}
	return 0
}

// count adds a crash to those that make a place flap. An instance that had proven itself
// ends the series.
func (x *Index) count(ran time.Duration, now time.Time, r Rules) {
	if ran >= r.Proven {
		*x = Index{Acted: x.Acted}
		return
	}
	if now.Sub(x.Crashed) > r.FlappingTimeout {
		x.Crashes = 0
	}
	x.Crashes++
	x.Crashed = now
	if x.Crashes == r.FlappingDeath+1 {
		x.Flapping = now
	}
}

func (h *Heard) occupied(s Slot, now time.Time, r Rules) bool {
	for _, i := range h.Instances {
		if i.Slot == s && r.lives(i, now) {
			return true
		}
	}
	return false
}

// index is the history of a place, begun where there was none; nil beyond the bound.
func (h *Heard) index(s Slot) *Index {
	x := h.Indices[s]
	if x == nil && len(h.Indices) < maxInstances {
		x = &Index{}
		h.Indices[s] = x
	}
	return x
}

// Asked remembers that the actions were asked for.
func (h *Heard) Asked(app App, do Actions, now time.Time) {
	for _, starts := range [][]int{do.Start, do.Restart} {
		for _, n := range starts {
			if x := h.index(Slot{app.Version, n}); x != nil {
				x.Acted, x.Urgent = now, false
			}
		}
	}
	for _, id := range do.Stop {
		if i := h.Instances[id]; i != nil {
			i.Asked = now
		}
	}
}

// Forget drops what is out of date: lost instances, crashes that nobody reports any
// more, and the history of places that are not the app's. That of other versions stays
// a while, because news of a version may be faster than the controller's word of it.
func (h *Heard) Forget(app App, now time.Time, r Rules) {
	for id, i := range h.Instances {
		if !r.lives(i, now) {
			delete(h.Instances, id)
		}
	}
	for id, c := range h.Crashes {
		if now.Sub(c.Seen) > r.DropletLost {
			delete(h.Crashes, id)
		}
	}
	for s, x := range h.Indices {
		last := later(x.Exited, x.Acted)
		if (s.Version != app.Version || s.Index >= app.Instances) && now.Sub(last) > r.UnknownApp {
			delete(h.Indices, s)
		}
	}
}

// Refresh counts all as heard of now, after the health manager was deaf itself.
func (h *Heard) Refresh(now time.Time) {
	for _, i := range h.Instances {
		i.Seen = now
	}
	for id, c := range h.Crashes {
		c.Seen = now
		h.Crashes[id] = c
	}
}

// Healthy counts the places of a version in which an instance runs.
func (h *Heard) Healthy(version string, now time.Time, r Rules) int {
	running := map[int]bool{}
	for _, i := range h.Instances {
		if i.Version == version && i.State == bus.Running && r.lives(i, now) {
			running[i.Index] = true
		}
	}
	return len(running)
}

// FlappingIndices are the app's places that crashed too often and in which nothing lives.
func (h *Heard) FlappingIndices(app App, now time.Time, r Rules) []bus.FlappingIndex {
	list := []bus.FlappingIndex{}
	for n := range app.Instances {
		s := Slot{app.Version, n}
		if x := h.Indices[s]; x != nil && r.flapping(x, now) && !h.occupied(s, now, r) {
			list = append(list, bus.FlappingIndex{Index: n, Since: bus.At(x.Flapping)})
		}
	}
	return list
}

// CrashedInstances are those whose files a DEA may still have.
func (h *Heard) CrashedInstances(now time.Time, r Rules) []bus.CrashedInstance {
	list := []bus.CrashedInstance{}
	for id, c := range h.Crashes {
		if now.Sub(c.Seen) <= r.DropletLost {
			list = append(list, bus.CrashedInstance{Instance: id, Since: bus.At(c.At)})
		}
	}
	return list
}
