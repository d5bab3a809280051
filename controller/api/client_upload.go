package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
)

// Upload is an app's bits: a zip, and what the server has already.
type Upload struct {
	Known    []Resource // paths relative to the app's root
	Zip      io.ReaderAt
	Size     int64
	Progress func(sent int64) // told about bytes of the zip; may be nil
}

// PutBits uploads an app's bits. The zip is read from where it lies, never held.
func (c *Client) PutBits(ctx context.Context, name string, up Upload) error {
	head, tail, ctype, err := up.form()
	if err != nil {
		return err
	}
	return c.exchange(ctx, slow, request{
		method: http.MethodPost,
		path:   route("apps", name, "application"),
		ctype:  ctype,
		length: int64(len(head)) + up.Size + int64(len(tail)),
		body: func() io.Reader {
			zip := &counter{r: io.NewSectionReader(up.Zip, 0, up.Size), tell: up.Progress}
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

// counter tells how much was read.
type counter struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.tell != nil && n > 0 {
		c.tell(c.n)
	}
	return n, err
}
