package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"sync"
)

// Upload is an app's bits: a zip, and what the server has already.
type Upload struct {
	Known    []Resource // paths relative to the app's root
	Zip      io.ReaderAt
	Size     int64
	Progress func(sent int64) // told about bytes of the zip, never after the end; may be nil
}

// PutBits uploads an app's bits. The zip is read from where it lies, never held.
func (c *Client) PutBits(ctx context.Context, name string, up Upload) error {
	head, tail, ctype, err := up.form()
	if err != nil {
		return err
	}
	p := progress{tell: up.Progress}
	defer p.end() // the transport may go on sending after a server's early refusal
	return c.exchange(ctx, slow, request{
		method: http.MethodPost,
		path:   route("apps", name, "application"),
		ctype:  ctype,
		length: int64(len(head)) + up.Size + int64(len(tail)),
		body: func() io.Reader {
			zip := &counter{r: io.NewSectionReader(up.Zip, 0, up.Size), p: &p}
			return io.MultiReader(bytes.NewReader(head), zip, bytes.NewReader(tail))
		},
	}, nil)
}

// form is what goes before and after the zip, so that the length is known beforehand
// and servers need not take chunks.
func (up Upload) form() (head, tail []byte, ctype string, err error) {
	known := up.Known
	if known == nil {
		known = []Resource{}
	}
	resources, err := json.Marshal(known)
	if err != nil {
		return nil, nil, "", err
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, field := range [][2]string{{"_method", "put"}, {"resources", string(resources)}} {
		if err := w.WriteField(field[0], field[1]); err != nil {
			return nil, nil, "", err
		}
	}
	if _, err := w.CreateFormFile("application", "application.zip"); err != nil {
		return nil, nil, "", err
	}
	n := b.Len()
	if err := w.Close(); err != nil {
		return nil, nil, "", err
	}
	return b.Bytes()[:n], b.Bytes()[n:], w.FormDataContentType(), nil
}

// counter reports how much was read.
type counter struct {
	r io.Reader
	n int64
	p *progress
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.p.report(c.n)
	return n, err
}

// progress passes reports on until it is ended.
type progress struct {
	mu   sync.Mutex
	tell func(int64) // nil: nobody wants to know, or not any more
}

func (p *progress) report(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tell != nil {
		p.tell(n)
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = nil
}
