package controller

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cloudlet/store"
)

// Bounds on what an archive may hold.
const (
	maxEntries   = 100_000
	maxDirectory = 16 << 20 // bytes of a zip's table of contents
	maxPath      = 1024
	maxDepth     = 64
)

// Errors of archives; each names its cause for people.
var (
	errNotZip   = errors.New("the upload is no complete zip archive")
	errBadEntry = errors.New("an entry cannot be unpacked safely")
	errTooLarge = errors.New("the application is too large")
	errNoSource = errors.New("a file named in resources cannot be added")
)

// tree is an app's files by path. Parents are there as directories, never as links, so
// that no path can lead elsewhere than it says.
type tree map[string]node

// node is a file, a link or a directory.
type node struct {
	Path string
	Mode fs.FileMode // type and permission bits
	Blob string      `json:",omitempty"` // content of a file
	Size int64       `json:",omitempty"`
	Link string      `json:",omitempty"` // target of a link
}

// cleanPath accepts relative paths that stay inside.
func cleanPath(name string) (string, error) {
	p := path.Clean(strings.TrimSuffix(name, "/"))
	switch {
	case name == "" || len(name) > maxPath || strings.Count(p, "/") >= maxDepth:
		return "", fmt.Errorf("%w: %.80q is empty, too long or too deep", errBadEntry, name)
	case strings.HasPrefix(name, "/") || p == ".." || strings.HasPrefix(p, "../") || strings.Contains("/"+name+"/", "/../"):
		return "", fmt.Errorf("%w: %.80q leads out of the application", errBadEntry, name)
	case !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\\"):
		return "", fmt.Errorf("%w: %.80q has characters that no file name should have", errBadEntry, name)
	}
	return p, nil
}

// cleanLink accepts a link's target that stays inside: ".." only at its beginning, where
// the link's own folder says what it means.
func cleanLink(name, target string) (string, error) {
	rest, up := target, 0
	for strings.HasPrefix(rest, "../") || rest == ".." {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, ".."), "/")
		up++
	}
	if target == "" || len(target) > maxPath || strings.HasPrefix(rest, "/") || strings.ContainsRune(target, 0) || !utf8.ValidString(target) ||
		up > strings.Count(name, "/") || slices.Contains(strings.Split(rest, "/"), "..") {
		return "", fmt.Errorf("%w: the link %.80q leads out of the application", errBadEntry, name)
	}
	return target, nil
}

// add puts a node into the tree, and directories above it.
func (t tree) add(n node) error {
	for dir := path.Dir(n.Path); dir != "."; dir = path.Dir(dir) {
		above, ok := t[dir]
		if ok && !above.Mode.IsDir() {
			return fmt.Errorf("%w: %.80q lies below something that is no folder", errBadEntry, n.Path)
		}
		if ok {
			break
		}
		t[dir] = node{Path: dir, Mode: fs.ModeDir | 0o755}
	}
	if old, ok := t[n.Path]; ok && old.Mode.IsDir() != n.Mode.IsDir() {
		return fmt.Errorf("%w: %.80q is both a file and a folder", errBadEntry, n.Path)
	}
	if len(t) >= maxEntries {
		return fmt.Errorf("%w: more than %d files", errTooLarge, maxEntries)
	}
	t[n.Path] = n
	return nil
}

// list is the tree in the order of its paths.
func (t tree) list() []node {
	nodes := make([]node, 0, len(t))
	for _, n := range t {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.Path, b.Path) })
	return nodes
}

// save writes the list as a blob of the batch. The hash is over names, modes and
// contents only: the same files make the same package.
func (t tree) save(batch *store.Batch) (store.Package, error) {
	nodes := t.list()
	r, w := io.Pipe() // so that the JSON is never there as a whole
	go func() { w.CloseWithError(encodeNodes(w, nodes)) }()
	blob, err := batch.Add(r)
	r.Close()
	if err != nil {
		return store.Package{}, err
	}
	p := store.Package{Hash: blob.SHA1, Tree: blob.SHA256}
	for _, n := range nodes {
		p.Size += n.Size
	}
	return p, nil
}

// encodeNodes writes nodes as one JSON array.
func encodeNodes(w io.Writer, nodes []node) error {
	b := bufio.NewWriter(w)
	next := byte('[')
	for _, n := range nodes {
		data, err := json.Marshal(n)
		if err != nil {
			return err
		}
		b.WriteByte(next)
		b.Write(data)
		next = ','
	}
	if next == '[' {
		b.WriteByte(next)
	}
	b.WriteByte(']')
	return b.Flush() // with the first error
}

// eachNode calls do with the nodes of a package, one by one.
func eachNode(blobs *store.Blobs, p store.Package, do func(node) error) error {
	f, err := blobs.Open(p.Tree)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	if _, err := d.Token(); err != nil { // the bracket
		return err
	}
	for d.More() {
		var n node
		if err := d.Decode(&n); err != nil {
			return err
		}
		if err := do(n); err != nil {
			return err
		}
	}
	_, err = d.Token() // the other one, or the list is cut
	return err
}

// treeBlobs are the blobs that a package holds on to.
func treeBlobs(blobs *store.Blobs, p store.Package) (sums []string, err error) {
	err = eachNode(blobs, p, func(n node) error {
		if n.Blob != "" {
			sums = append(sums, n.Blob)
		}
		return nil
	})
	return sums, err
}

// writeZip writes a package as the zip that stagers and clients expect. Its readers are
// near, so nothing is compressed.
func writeZip(w io.Writer, blobs *store.Blobs, p store.Package) error {
	z := zip.NewWriter(w)
	if err := eachNode(blobs, p, func(n node) error { return writeEntry(z, blobs, n) }); err != nil {
		return err
	}
	return z.Close()
}

func writeEntry(z *zip.Writer, blobs *store.Blobs, n node) error {
	h := &zip.FileHeader{Name: n.Path, Method: zip.Store}
	h.SetMode(n.Mode)
	if n.Mode.IsDir() {
		h.Name += "/"
	}
	w, err := z.CreateHeader(h)
	if err != nil || n.Mode.IsDir() {
		return err
	}
	if n.Link != "" {
		_, err = io.WriteString(w, n.Link)
		return err
	}
	f, err := blobs.Open(n.Blob)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// unpacker takes an uploaded zip apart into blobs.
type unpacker struct {
	batch *store.Batch
	tree  tree
	left  int64 // bytes that the app may still grow by
	files []store.PoolFile
}

// unzip adds all entries. Nothing that the archive's own table says is believed before
// it was counted.
func (u *unpacker) unzip(r io.ReaderAt, size int64) error {
	directory := &budget{r: r, left: maxDirectory}
	z, err := zip.NewReader(directory, size)
	if errors.Is(err, errTooLarge) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w (%v)", errNotZip, err)
	}
	directory.done = true // contents are counted below
	if len(z.File) > maxEntries {
		return fmt.Errorf("%w: more than %d files", errTooLarge, maxEntries)
	}
	for i, f := range z.File {
		z.File[i] = nil // an entry takes more memory than what is kept of it
		if err := u.entry(f); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) entry(f *zip.File) error {
	name, err := cleanPath(f.Name)
	if err != nil {
		return err
	}
	mode := f.Mode()
	switch {
	case f.Flags&1 != 0:
		return fmt.Errorf("%w: %.80q is encrypted", errBadEntry, name)
	case name == ".":
		return nil
	case mode.IsDir():
		return u.tree.add(node{Path: name, Mode: fs.ModeDir | 0o755})
	case mode.Type() == fs.ModeSymlink:
		return u.link(name, f)
	case !mode.IsRegular():
		return fmt.Errorf("%w: %.80q is neither file, folder nor link", errBadEntry, name)
	}
	body, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w (%v)", errNotZip, err)
	}
	defer body.Close()
	blob, err := u.batch.Add(io.LimitReader(content{body, name}, u.left+1))
	if err != nil {
		return err
	}
	if u.left -= blob.Size; u.left < 0 {
		return errTooLarge
	}
	perm := mode.Perm()&0o755 | 0o600
	u.files = append(u.files, store.PoolFile{Blob: blob, Executable: perm&0o100 != 0})
	return u.tree.add(node{Path: name, Mode: perm, Blob: blob.SHA256, Size: blob.Size})
}

func (u *unpacker) link(name string, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w (%v)", errNotZip, err)
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
	if err != nil {
		return fmt.Errorf("%w (%v)", errNotZip, err)
	}
	to, err := cleanLink(name, string(target))
	if err != nil {
		return err
	}
	return u.tree.add(node{Path: name, Mode: fs.ModeSymlink | 0o777, Link: to})
}

// content is an entry's content; what is wrong with it is the archive's fault.
type content struct {
	io.Reader
	name string
}

func (c content) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %.80q is damaged (%v)", errNotZip, c.name, err)
	}
	return n, err
}

// budget stops reading an archive's table of contents that is too long to be honest,
// before the reader has made something much larger of it.
type budget struct {
	r       io.ReaderAt
	left    int
	entries int  // seen so far, give or take those that were read twice or in two pieces
	done    bool // the table is read
}

var entryMark = []byte("PK\x01\x02")

func (b *budget) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.r.ReadAt(p, off)
	if b.done {
		return n, err
	}
	b.left -= n
	b.entries += bytes.Count(p[:n], entryMark)
	switch {
	case b.left < 0:
		return 0, fmt.Errorf("%w: its table of contents is longer than %d MiB", errTooLarge, maxDirectory>>20)
	case b.entries > maxEntries+5000: // the exact check comes when all are read
		return 0, fmt.Errorf("%w: more than %d files", errTooLarge, maxEntries)
	}
	return n, err
}
