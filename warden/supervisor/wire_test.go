package supervisor

import (
	"bytes"
	"reflect"
	"testing"
)

func TestFrames(t *testing.T) {
	frame := AppendFrame(AppendFrame(nil, KindStop, Number(-5).Encode()), KindWatch, nil)
	for n := range 4 + 1 + 8 {
		if _, _, _, err := Parse(frame[:n]); err != ErrShort {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	kind, body, used, err := Parse(frame)
	n, e := DecodeNumber(body)
	if kind != KindStop || n != -5 || err != nil || e != nil {
		t.Errorf("first frame: %v %v %v %v", kind, n, err, e)
	}
	kind, body, used, err = Parse(frame[used:])
	if kind != KindWatch || len(body) != 0 || used != 5 || err != nil {
		t.Errorf("second frame: %v %v %v %v", kind, body, used, err)
	}
	for _, bad := range [][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff, 1}} {
		if _, _, _, err := Parse(bad); err != ErrMalformed {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestSetupRoundTrip(t *testing.T) {
	in := Setup{
		Steps:    []Step{{Op: OpMount, Source: "a", Target: "b", Kind: "c", Data: "d", Flags: 1 << 40}, {Op: OpPivot}},
		Folder:   "/f",
		Home:     "/h",
		Isolated: true,
		Owner:    -1,
		LogMax:   1 << 33,
		Relay:    61001,
		Limits:   Limits{Files: 1, Processes: 2},
		Groups:   3,
		Clone:    true,
		Rootless: true,
		Landlock: true,
		Links:    []Link{{3128, "/s"}, {1, ""}},
		Handle:   "app-1",
		Filter:   "12345678",
	}
	out, err := DecodeSetup(in.Encode())
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v, %v", out, err)
	}
}

// FuzzWire: no input makes decoding fail in another way than by its error, and
// what is accepted once is accepted again after a round trip.
func FuzzWire(f *testing.F) {
	f.Add(AppendFrame(nil, KindSetup, Setup{Steps: []Step{{Op: OpBind, Source: "/usr", Target: "/x"}}, Owner: 52000}.Encode()))
	f.Add(AppendFrame(nil, KindRun, Command{Args: []string{"sh", "-c", "true"}, Env: []string{"A=b"}, Dir: "/"}.Encode()))
	f.Add(AppendFrame(nil, KindTerminal, Terminal{Rows: 24, Columns: 80, Command: Command{Args: []string{"sh"}, Dir: "/"}}.Encode()))
	f.Add(AppendFrame(nil, KindStop, Number(1).Encode()))
	f.Add(AppendFrame(nil, KindLimits, Limits{Files: 3}.Encode()))
	f.Add(AppendFrame(nil, KindError, Fault{CauseStarted, "no"}.encode()))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, used, err := Parse(b)
		if err != nil {
			return
		}
		if again := AppendFrame(nil, kind, body); !bytes.Equal(again, b[:used]) {
			t.Errorf("frame %x became %x", b[:used], again)
		}
		roundTrip(t, body, DecodeSetup, Setup.Encode)
		roundTrip(t, body, DecodeCommand, Command.Encode)
		roundTrip(t, body, DecodeTerminal, Terminal.Encode)
		roundTrip(t, body, DecodeLimits, Limits.Encode)
		roundTrip(t, body, DecodeNumber, Number.Encode)
		roundTrip(t, body, DecodeFault, Fault.encode)
	})
}

func roundTrip[T any](t *testing.T, body []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	v, err := decode(body)
	if err != nil {
		return
	}
	again, err := decode(encode(v))
	if err != nil || !reflect.DeepEqual(v, again) {
		t.Errorf("%+v became %+v, %v", v, again, err)
	}
}
