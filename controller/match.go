package controller

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"cloudlet/controller/api"
	"cloudlet/store"
)

// matchResources answers with those descriptors, as they came, whose files the caller
// has uploaded before.
func (c *Controller) matchResources(e echo.Context) error {
	u, err := user(e)
	if err != nil {
		return err
	}
	body, err := readBody(e.Request())
	if err != nil {
		return err
	}
	if !json.Valid(body) {
		return api.BadRequest.Because("the body is not JSON")
	}
	known := []byte{'['}
	err = c.st.View(func(tx *store.Tx) error {
		for raw := range elements(body) {
			r, err := resource(raw)
			if err != nil {
				continue // what is no descriptor matches nothing
			}
			if f, ok := tx.PoolFile(u.Email, r.SHA1); ok && f.Size == int64(r.Size) {
				known = append(append(known, raw...), ',')
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return write(e, http.StatusOK, jsonType, append(bytes.TrimSuffix(known, []byte{','}), ']'))
}

// walk goes over JSON that is known to be valid. That makes it simple, and several times
// as fast as decoding: a large app asks for 20,000 files at once.
type walk struct {
	json []byte
	at   int
}

// elements are those of an array; another value has none.
func elements(valid []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w := walk{json: valid}
		if w.next() != '[' {
			return
		}
		for w.at++; w.next() != ']'; {
			if w.json[w.at] == ',' {
				w.at++
			} else if !yield(w.value()) {
				return
			}
		}
	}
}

// next is the first byte that is not blank.
func (w *walk) next() byte {
	for strings.IndexByte(" \t\r\n", w.json[w.at]) >= 0 {
		w.at++
	}
	return w.json[w.at]
}

// value steps over one value.
func (w *walk) value() []byte {
	from := w.at
	switch w.json[w.at] {
	case '"':
		w.text()
	case '[', '{':
		w.nested()
	default:
		for w.at < len(w.json) && strings.IndexByte(",]} \t\r\n", w.json[w.at]) < 0 {
			w.at++
		}
	}
	return w.json[from:w.at]
}

func (w *walk) text() {
	for w.at++; w.json[w.at] != '"'; w.at++ {
		if w.json[w.at] == '\\' {
			w.at++
		}
	}
	w.at++
}

func (w *walk) nested() {
	for depth := 0; ; {
		switch w.json[w.at] {
		case '"':
			w.text()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		if w.at++; depth == 0 {
			return
		}
	}
}

// resource reads a descriptor, which is valid JSON, as encoding/json does. What clients
// send is read here; anything unusual is left to that.
func resource(raw []byte) (r api.Resource, err error) {
	if plainResource(raw, &r) {
		return r, nil
	}
	r = api.Resource{}
	return r, json.Unmarshal(raw, &r)
}

func plainResource(raw []byte, r *api.Resource) bool {
	w := walk{json: raw}
	if raw[0] != '{' {
		return false
	}
	for w.at++; w.next() != '}'; {
		if w.json[w.at] == ',' {
			w.at++
			w.next()
		}
		key := w.value()
		w.next() // the colon
		w.at++
		w.next()
		if !member(r, key, w.value()) {
			return false
		}
	}
	return true
}

// member sets one member, unless it is written in an unusual way.
func member(r *api.Resource, key, value []byte) (plain bool) {
	switch string(key) {
	case `"fn"`:
		r.FN, plain = plainText(value)
	case `"sha1"`:
		r.SHA1, plain = plainText(value)
	case `"mode"`:
		r.Mode, plain = plainText(value)
	case `"size"`:
		r.Size, plain = plainSize(bytes.Trim(value, `"`))
	}
	return plain
}

// plainSize is a number of bytes as people write it.
func plainSize(digits []byte) (api.Int64, bool) {
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	n := api.Int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + api.Int64(c-'0')
	}
	return n, true
}

// plainText is a string without escapes, all ASCII.
func plainText(value []byte) (string, bool) {
	if value[0] != '"' {
		return "", false
	}
	for _, c := range value {
		if c == '\\' || c >= utf8.RuneSelf {
			return "", false
		}
	}
	return string(value[1 : len(value)-1]), true
}
