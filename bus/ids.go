package bus

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"
)

// RandomID gives an id as v1 makes them, of instances, DEAs and uploads: 32 random
// hexadecimal digits, which nobody guesses.
func RandomID() string {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // never fails
	return hex.EncodeToString(b)
}

// DefaultPartition is the cc_partition of everything that names none.
const DefaultPartition = "default"

// AppID is an application's id. Senders of different years wrote it as a number or as
// a string; both are read, and DEA and health manager write a string.
type AppID string

// UnmarshalJSON reads "42" and 42.
func (id *AppID) UnmarshalJSON(data []byte) error {
	s := string(bytes.Trim(data, `"`))
	if s == "null" {
		return nil // as absent: registrants of routes that are no apps write that
	}
	if s == "" || len(s) > 64 {
		return fmt.Errorf("%.80s is no application id", data)
	}
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' || r == '-') {
			return fmt.Errorf("%.80s is no application id", data)
		}
	}
	*id = AppID(s)
	return nil
}

// AppNumber is an application's id as the cloud controller writes it: a number.
type AppNumber int64

// UnmarshalJSON reads 42 and "42".
func (n *AppNumber) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseInt(string(bytes.Trim(data, `"`)), 10, 64)
	*n = AppNumber(v)
	return err
}

// ID is the same id in the form that DEA and health manager use.
func (n AppNumber) ID() AppID { return AppID(strconv.FormatInt(int64(n), 10)) }

// Number is the id as the controller counts it; ok is false for an id of another cloud.
func (id AppID) Number() (n AppNumber, ok bool) {
	v, err := strconv.ParseInt(string(id), 10, 64)
	return AppNumber(v), err == nil
}

// Unix is a time in seconds since 1970: written as an integer, read with a fraction too.
type Unix int64

// UnmarshalJSON reads 1351934045 and 1351934045.25.
func (u *Unix) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil {
		return fmt.Errorf("%.80s is no time", data)
	}
	if math.IsNaN(f) || math.Abs(f) > 1e12 {
		return fmt.Errorf("%.80s is no time", data)
	}
	*u = Unix(f)
	return nil
}

// Time is u as a time.Time.
func (u Unix) Time() time.Time { return time.Unix(int64(u), 0) }

// TimeFormat is how times are written for people: as Ruby does.
const TimeFormat = "2006-01-02 15:04:05 -0700"

// At is t in whole seconds.
func At(t time.Time) Unix { return Unix(t.Unix()) }

// State is what an instance is in.
type State string

// States of instances. Down and Flapping exist in health manager and controller only.
const (
	Starting State = "STARTING"
	Running  State = "RUNNING"
	Stopped  State = "STOPPED"
	Crashed  State = "CRASHED"
	Down     State = "DOWN"
	Flapping State = "FLAPPING"
)

// partition is p, or the default where a message of an older generation has none.
func partition(p string) string {
	if p == "" {
		return DefaultPartition
	}
	return p
}
