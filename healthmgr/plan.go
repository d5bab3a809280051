package healthmgr

import (
	"slices"
	"strings"
	"time"

	"cloudlet/bus"
)

// App is what ought to be: an app as the controller has it. The zero App is one that the
// controller does not have.
type App struct {
	Started   bool
	Staged    bool
	Version   string // the one whose instances are wanted
	Instances int
	Updated   time.Time // last change, in whole seconds

	// What follows is for the numbers; it decides nothing.

	Name, Framework, Runtime string
	Memory                   int // MB
}

// Heard is what is: all that was heard of one app.
type Heard struct {
	Since     time.Time // when the health manager began to listen
	Ever      bool      // whether an instance was heard of since then
	Instances map[string]*Instance
	Indices   map[Slot]*Index
	Crashes   map[string]Crash // by instance: those whose files a DEA may still have
}

// Slot is a place for one instance.
type Slot struct {
	Version string
	Index   int
}

// Instance is one that lives, as far as is known.
type Instance struct {
	Slot
	State   bus.State // STARTING or RUNNING
	Since   time.Time // when it came into that state, by its DEA's clock
	Seen    time.Time // its last heartbeat
	Running time.Time // when it was first heard of as RUNNING; zero before
	Asked   time.Time // when its end was last asked for
}

// Index is the history of a slot.
type Index struct {
	Crashes  int       // that count as flapping
	Crashed  time.Time // the last of these
	Flapping time.Time // when there were too many
	Exited   time.Time // when an instance last ended that ought to run
	Acted    time.Time // when a start was last asked for
	Urgent   bool      // the last exit announced an evacuation
}

// Crash is an instance that crashed.
type Crash struct {
	At   time.Time
	Seen time.Time // when it was last heard of
}

// Rules pace the decisions. The names are v1's; those marked ours are not.
type Rules struct {
	// DropletLost is the age of the last heartbeat at which an instance counts as
	// lost; 30 s.
	DropletLost time.Duration
	// StableState is how long an app must be unchanged before differences count, since
	// the controller itself is at work after a change; 60 s.
	StableState time.Duration
	// RestartTimeout is the least time between two requests for one thing; 20 s.
	RestartTimeout time.Duration
	// UnknownApp is the age at which an instance of an app that the controller does
	// not have is stopped; 120 s. Ours: v1 takes twice the database scan.
	UnknownApp time.Duration

	// FlappingDeath is how many crashes are restarted at once; 1.
	FlappingDeath int
	// FlappingTimeout is how long crashes are remembered after the last one; 500 s.
	FlappingTimeout time.Duration
	// MinRestartDelay is the wait after the first crash too many; it doubles with
	// each further one; 60 s.
	MinRestartDelay time.Duration
	// MaxRestartDelay bounds the doubling; 480 s.
	MaxRestartDelay time.Duration
	// GiveupCrashNumber is the number of crashes after which no restart follows until
	// they are forgotten; 4, negative never gives up.
	GiveupCrashNumber int
	// Proven is how long an instance must have run for its end not to count as
	// flapping; 10 s. Ours.
	Proven time.Duration
}

// Actions are what brings an app nearer to what it ought to be.
type Actions struct {
	Start   []int    // indices to start
	Restart []int    // indices to start after the delay for flapping
	Stop    []string // instances to stop
	Urgent  bool     // a start is due to an evacuation
	// Next is when the next delayed restart is due; zero where none is.
	Next time.Time
}

// Empty tells that nothing is to be done now.
func (a Actions) Empty() bool { return len(a.Start)+len(a.Restart)+len(a.Stop) == 0 }

// Plan compares what ought to be with what is. It changes nothing: whoever acts upon it
// tells Heard through Asked.
func Plan(app App, heard *Heard, now time.Time, r Rules) Actions {
	var do Actions
	if app == (App{}) {
		do.Stop = r.unknown(heard, now)
		return do
	}
	places, extra := r.sort(app, heard, now)
	if now.Sub(app.Updated) > r.StableState {
		do.Stop = extra
	}
	for _, place := range places {
		do.Stop = append(do.Stop, r.duplicates(heard, place, now)...)
	}
	slices.Sort(do.Stop)
	if app.wanted() {
		r.fill(&do, app, heard, places, now)
	}
	return do
}

// wanted tells whether instances can and should run. A version without a hash is an app
// that was never staged.
func (a App) wanted() bool {
	return a.Started && a.Staged && !strings.HasPrefix(a.Version, "-")
}

func (r Rules) lives(i *Instance, now time.Time) bool { return now.Sub(i.Seen) <= r.DropletLost }

// stoppable tells whether a stop may be asked for, or asked for again.
func (r Rules) stoppable(i *Instance, now time.Time) bool {
	return i.Asked.IsZero() || now.Sub(i.Asked) > r.RestartTimeout
}

// unknown finds what runs of an app that the controller does not have. Both the
// instance and the health manager must be old enough for the app not to be just new.
func (r Rules) unknown(heard *Heard, now time.Time) (stop []string) {
	if now.Sub(heard.Since) <= r.UnknownApp {
		return nil
	}
	for id, i := range heard.Instances {
		if r.lives(i, now) && now.Sub(i.Since) > r.UnknownApp && r.stoppable(i, now) {
			stop = append(stop, id)
		}
	}
	slices.Sort(stop)
	return stop
}

// sort puts living instances into their places, by index; extra are those for which
// there is none.
func (r Rules) sort(app App, heard *Heard, now time.Time) (places map[int][]string, extra []string) {
	places = make(map[int][]string, app.Instances)
	for id, i := range heard.Instances {
		switch {
		case !r.lives(i, now):
		case app.Started && i.Version == app.Version && i.Index < app.Instances:
			places[i.Index] = append(places[i.Index], id)
		case r.stoppable(i, now):
			extra = append(extra, id)
		}
	}
	return places, extra
}

// duplicates finds whom to stop of several in one place. The first that was heard to run
// stays; while none runs, all may go on.
func (r Rules) duplicates(heard *Heard, place []string, now time.Time) (stop []string) {
	if len(place) < 2 {
		return nil
	}
	first := slices.MinFunc(place, func(a, b string) int {
		return compareArrival(heard.Instances[a], heard.Instances[b], a, b)
	})
	if heard.Instances[first].State != bus.Running {
		return nil
	}
	for _, id := range place {
		if id != first && r.stoppable(heard.Instances[id], now) {
			stop = append(stop, id)
		}
	}
	return stop
}

// compareArrival orders instances by the time since when they are heard to run; those
// that do not run come last.
func compareArrival(a, b *Instance, idA, idB string) int {
	if (a.State == bus.Running) != (b.State == bus.Running) {
		if a.State == bus.Running {
			return -1
		}
		return 1
	}
	if c := a.Running.Compare(b.Running); c != 0 {
		return c
	}
	return strings.Compare(idA, idB)
}

// fill finds the places in which nothing lives and whose time to be filled has come.
func (r Rules) fill(do *Actions, app App, heard *Heard, places map[int][]string, now time.Time) {
	for n := range app.Instances {
		if len(places[n]) > 0 {
			continue
		}
		i := heard.Indices[Slot{app.Version, n}]
		if i == nil {
			i = &Index{}
		}
		due, delayed := r.due(app, heard, i, now)
		switch {
		case due.IsZero(): // given up
		case due.After(now):
			if delayed && (do.Next.IsZero() || due.Before(do.Next)) {
				do.Next = due
			}
		case delayed:
			do.Restart = append(do.Restart, n)
		default:
			do.Start = append(do.Start, n)
			do.Urgent = do.Urgent || i.Urgent
		}
	}
}

// due is when an empty place is to be filled, and whether after a delay for flapping;
// zero when that was given up.
func (r Rules) due(app App, heard *Heard, i *Index, now time.Time) (at time.Time, delayed bool) {
	switch {
	case r.flapping(i, now) && r.GiveupCrashNumber > 0 && i.Crashes > r.GiveupCrashNumber:
		return time.Time{}, false
	case r.flapping(i, now):
		return later(i.Crashed, i.Acted).Add(r.delay(i.Crashes)), true
	case i.Exited.After(i.Acted):
		return i.Exited, false
	case r.isCold(app, heard, i):
		return heard.Since, false
	}
	// Nothing was ever heard of it, or it went silent, or did not come when asked for.
	stable := app.Updated.Add(r.StableState)
	if i.Acted.IsZero() {
		return stable, false
	}
	return later(stable, i.Acted.Add(r.RestartTimeout)), false
}

// isCold tells whether the app has waited for the health manager to come up: it was to
// run before that, and nothing of it did since. A restarted cloud must not rest for the
// time that v1 gives to its controller after a change.
func (r Rules) isCold(app App, heard *Heard, i *Index) bool {
	return !heard.Ever && i.Acted.IsZero() && app.Updated.Before(heard.Since.Truncate(time.Second))
}

// flapping tells whether the place saw too many crashes lately.
func (r Rules) flapping(i *Index, now time.Time) bool {
	return i.Crashes > r.FlappingDeath && now.Sub(i.Crashed) <= r.FlappingTimeout
}

func (r Rules) delay(crashes int) time.Duration {
	d := r.MinRestartDelay
	for range crashes - r.FlappingDeath - 1 {
		if d >= r.MaxRestartDelay {
			break
		}
		d *= 2
	}
	return min(d, r.MaxRestartDelay)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
