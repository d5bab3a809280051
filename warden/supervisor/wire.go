//go:build unix

package supervisor

// The control format: a frame is four bytes of length (little-endian, of what
// follows), one byte of kind, and a body. A body is a fixed row of fields: a
// number takes eight bytes, a string its length as a number and its bytes, a
// list its length as a number and its elements.
//
// Supervisors outlive an upgrade of Cloudlet: frames other than KindSetup may be
// added, but those that are here keep their kind and their body.

// MaxFrame bounds a frame; arguments and environment of a process fit well.
const MaxFrame = 4 << 20

// Kind says what a frame is about.
type Kind byte

// Requests, each followed by one answer, or by KindOK and later KindExited for a run.
const (
	KindSetup     Kind = 1 + iota // Setup
	KindWatch                     // empty; answered by the main process's pid, 0 before it was started
	KindStart                     // Command: the main process
	KindRun                       // Command, with three descriptors: a further process
	KindSignal                    // Number: a signal for the main process
	KindStop                      // Number: nanoseconds between TERM and KILL
	KindLimits                    // Limits for processes started from now on
	KindTerminal                  // Terminal: a further process; a descriptor of its terminal comes with the answer
	KindSignalRun                 // Number: a signal for the further process of this connection, and its group
	KindPrepare                   // Setup, of which only Steps counts: done before the KindSetup
)

// Answers.
const (
	KindOK     Kind = 64 + iota // Number: a pid where there is one
	KindExited                  // Number: the wait status
	KindError                   // Fault
)

type wireError string

func (e wireError) Error() string { return string(e) }

// What decoding can find wrong.
const (
	ErrShort     = wireError("frame is not complete yet")
	ErrMalformed = wireError("malformed frame")
)

// AppendFrame adds a frame to b.
func AppendFrame(b []byte, kind Kind, body []byte) []byte {
	n := len(body) + 1
	b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(kind))
	return append(b, body...)
}

// Parse takes the first frame from b and says how many bytes it used. It
// returns ErrShort while the frame is not complete.
func Parse(b []byte) (kind Kind, body []byte, used int, err error) {
	if len(b) < 4 {
		return 0, nil, 0, ErrShort
	}
	n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
	if n < 1 || n > MaxFrame {
		return 0, nil, 0, ErrMalformed
	}
	if len(b) < 4+n {
		return 0, nil, 0, ErrShort
	}
	return Kind(b[4]), b[5 : 4+n], 4 + n, nil
}

// Op is one kind of step.
type Op uint64

// The steps that make a container's surroundings, in the order they are given.
const (
	OpMount       Op = 1 + iota // mount Source on Target, Kind and Data as mount(2) has them, Flags
	OpBind                      // show Source with all below it at Target (made as needed), restricted by Flags
	OpRemount                   // change the flags of the mount at Target
	OpFolder                    // make the folder Target with mode Flags
	OpFile                      // make the file Target holding Data with mode Flags
	OpLink                      // make the symbolic link Target that says Source
	OpPivot                     // make Target the root and let go of the old one
	OpHostname                  // set the host name to Data
	OpLoopbackUp                // bring the loopback interface up
	OpUnmount                   // let go of the mount at Target, if there is one
	OpUnreachable               // no way leads to Target: Data is its address and its mask, four bytes each
	OpSet                       // write Data to the file Target, which is there
)

// Step is one action on the way to a container.
type Step struct {
	Op                         Op
	Source, Target, Kind, Data string
	Flags                      uint64
}

// Limits are what is set on every process before it begins; 0 leaves a limit as it is.
type Limits struct {
	Files     uint64
	Processes uint64
}

// Link is a TCP port inside, on 127.0.0.1, that leads to a unix socket of the host.
type Link struct {
	Port   int
	Socket string // an absolute path
}

// Setup is all a supervisor is told at its start.
type Setup struct {
	Steps    []Step
	Folder   string // on the host: takes the exit status
	Home     string // on the host: logs/ below it takes the main process's output
	Isolated bool   // the supervisor is process 1 of a pid namespace of its own
	Owner    int    // user and group of the container's processes; -1 is the supervisor's own
	LogMax   int64  // bytes of a log file before it is rotated
	Relay    int    // port on which the main process will listen, 0 for no relay
	Limits   Limits
	Groups   int  // descriptors of control groups that come along
	Clone    bool // there is one, a folder to clone into; else files to write 0 to
	Rootless bool // in a user namespace with no other user than Owner
	Links    []Link
	Landlock bool   // rules of Landlock were inherited, behind Groups
	Filter   string // of system calls, as rows of struct sock_filter; empty for none
	Handle   string // of the container

	relay  int   // the descriptor that came along, where Relay
	groups []int // those of the control groups
	rules  int   // where Landlock
}

// Command is a process to start.
type Command struct {
	Args []string
	Env  []string
	Dir  string
}

// Terminal is a process to start on a terminal of its own.
type Terminal struct {
	Rows, Columns uint16
	Command       Command
}

// Number is the body of the frames that carry one number.
type Number int64

// Cause tells apart the faults that callers tell apart.
type Cause int

// Causes of a Fault.
const (
	CauseOther   Cause = iota
	CauseStarted       // there is a main process already
	CauseNoMain        // there is no main process
)

// Fault is an error on the wire.
type Fault struct {
	Cause Cause
	Text  string
}

func (f Fault) Error() string { return f.Text }

type writer []byte

func (w *writer) num(n uint64) {
	*w = append(*w, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56))
}

func (w *writer) flag(on bool) {
	n := uint64(0)
	if on {
		n = 1
	}
	w.num(n)
}

func (w *writer) str(s string) {
	w.num(uint64(len(s)))
	*w = append(*w, s...)
}

func (w *writer) list(l []string) {
	w.num(uint64(len(l)))
	for _, s := range l {
		w.str(s)
	}
}

// reader takes fields from the front; after the first that does not fit it
// gives zero values and remembers that.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) num() uint64 {
	if len(r.b) < 8 {
		r.b, r.bad = nil, true
		return 0
	}
	var n uint64
	for i := range 8 {
		n |= uint64(r.b[i]) << (8 * i)
	}
	r.b = r.b[8:]
	return n
}

func (r *reader) str() string {
	n := r.num()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// count reads the length of a list whose elements take at least size bytes, so
// that a false length cannot ask for more memory than the frame justifies.
func (r *reader) count(size int) int {
	n := r.num()
	if n > uint64(len(r.b)/size) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) list() []string {
	n := r.count(8)
	if n == 0 {
		return nil
	}
	l := make([]string, n)
	for i := range l {
		l[i] = r.str()
	}
	return l
}

// end is the verdict: everything fitted and nothing is left over.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return ErrMalformed
	}
	return nil
}

// Encode gives the body of a KindSetup frame.
func (s Setup) Encode() []byte {
	var w writer
	w.num(uint64(len(s.Steps)))
	for _, t := range s.Steps {
		w.num(uint64(t.Op))
		w.str(t.Source)
		w.str(t.Target)
		w.str(t.Kind)
		w.str(t.Data)
		w.num(t.Flags)
	}
	w.str(s.Folder)
	w.str(s.Home)
	w.flag(s.Isolated)
	w.num(uint64(int64(s.Owner)))
	w.num(uint64(s.LogMax))
	w.num(uint64(s.Relay))
	w.num(s.Limits.Files)
	w.num(s.Limits.Processes)
	w.num(uint64(s.Groups))
	w.flag(s.Clone)
	w.flag(s.Rootless)
	w.flag(s.Landlock)
	w.str(s.Filter)
	w.str(s.Handle)
	w.num(uint64(len(s.Links)))
	for _, k := range s.Links {
		w.num(uint64(k.Port))
		w.str(k.Socket)
	}
	return w
}

// DecodeSetup reads what Encode wrote.
func DecodeSetup(b []byte) (Setup, error) {
	r := reader{b: b}
	var s Setup
	for range r.count(6 * 8) {
		s.Steps = append(s.Steps, Step{Op: Op(r.num()), Source: r.str(), Target: r.str(), Kind: r.str(), Data: r.str(), Flags: r.num()})
	}
	s.Folder = r.str()
	s.Home = r.str()
	s.Isolated = r.num() != 0
	s.Owner = int(int64(r.num()))
	s.LogMax = int64(r.num())
	s.Relay = int(r.num() & 0xffff)
	s.Limits = Limits{Files: r.num(), Processes: r.num()}
	s.Groups = int(r.num() & 0xff)
	s.Clone = r.num() != 0
	s.Rootless = r.num() != 0
	s.Landlock = r.num() != 0
	s.Filter = r.str()
	s.Handle = r.str()
	for range r.count(2 * 8) {
		s.Links = append(s.Links, Link{Port: int(r.num() & 0xffff), Socket: r.str()})
	}
	return s, r.end()
}

// Encode gives the body of a KindLimits frame.
func (l Limits) Encode() []byte {
	var w writer
	w.num(l.Files)
	w.num(l.Processes)
	return w
}

// DecodeLimits reads what Encode wrote.
func DecodeLimits(b []byte) (Limits, error) {
	r := reader{b: b}
	l := Limits{Files: r.num(), Processes: r.num()}
	return l, r.end()
}

// Encode gives the body of a KindStart or KindRun frame.
func (c Command) Encode() []byte { return c.append(nil) }

func (c Command) append(w writer) writer {
	w.list(c.Args)
	w.list(c.Env)
	w.str(c.Dir)
	return w
}

// Encode gives the body of a KindTerminal frame.
func (t Terminal) Encode() []byte {
	var w writer
	w.num(uint64(t.Rows))
	w.num(uint64(t.Columns))
	return t.Command.append(w)
}

// DecodeTerminal reads what Encode wrote.
func DecodeTerminal(b []byte) (Terminal, error) {
	r := reader{b: b}
	rows, columns := r.num(), r.num()
	if rows > 0xffff || columns > 0xffff {
		r.bad = true
	}
	cmd := r.command()
	return Terminal{Rows: uint16(rows), Columns: uint16(columns), Command: cmd}, r.end()
}

// DecodeCommand reads what Encode wrote. A command has at least one argument,
// and no string of it holds a zero byte.
func DecodeCommand(b []byte) (Command, error) {
	r := reader{b: b}
	c := r.command()
	return c, r.end()
}

func (r *reader) command() Command {
	c := Command{Args: r.list(), Env: r.list(), Dir: r.str()}
	if len(c.Args) == 0 || c.Args[0] == "" {
		r.bad = true
	}
	for _, l := range [][]string{c.Args, c.Env, {c.Dir}} {
		for _, s := range l {
			r.bad = r.bad || hasZero(s)
		}
	}
	return c
}

func hasZero(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

// Encode gives the body of a frame that carries a number.
func (n Number) Encode() []byte {
	var w writer
	w.num(uint64(n))
	return w
}

// DecodeNumber reads what Encode wrote.
func DecodeNumber(b []byte) (Number, error) {
	r := reader{b: b}
	n := Number(r.num())
	return n, r.end()
}

func (f Fault) encode() []byte {
	var w writer
	w.num(uint64(f.Cause))
	w.str(f.Text)
	return w
}

// DecodeFault reads the body of a KindError frame.
func DecodeFault(b []byte) (Fault, error) {
	r := reader{b: b}
	f := Fault{Cause: Cause(r.num()), Text: r.str()}
	return f, r.end()
}
