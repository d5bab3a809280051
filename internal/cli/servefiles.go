package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// serveFilesCommand is the static runtime. It runs inside an app's container, as the
// app's own user, and is not for people.
func serveFilesCommand() *cli.Command {
	return &cli.Command{
		Name:   "serve-files",
		Hidden: true,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "p"}},
		Action: func(c *cli.Context) error {
			// The startup script passes -p behind the folder, where it is an argument.
			dir, port := c.Args().First(), c.Args().Get(2)
			if c.Args().Len() != 3 || c.Args().Get(1) != "-p" {
				return usageError(errors.New("serve-files DIR -p PORT"))
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				return err
			}
			srv := &http.Server{
				Addr:              net.JoinHostPort(os.Getenv("VCAP_APP_HOST"), port),
				Handler:           fileHandler(root.FS()),
				ReadHeaderTimeout: 10 * time.Second,
				IdleTimeout:       2 * time.Minute,
			}
			fmt.Printf("serving %s on port %s\n", dir, port)
			return srv.ListenAndServe()
		},
	}
}

// fileHandler serves a folder: index.html for folders, 404.html for what is missing, and
// nothing whose name begins with a dot. It lists no folder: what is not linked was not
// meant to be found.
func fileHandler(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if name == "" {
			name = "."
		}
		info, err := fs.Stat(files, name)
		if err == nil && info.IsDir() {
			_, err = fs.Stat(files, path.Join(name, "index.html"))
		}
		if err != nil || hidden(name) {
			missing(w, files)
			return
		}
		server.ServeHTTP(w, r)
	})
}

func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != "." && part != ".well-known" {
			return true
		}
	}
	return false
}

func missing(w http.ResponseWriter, files fs.FS) {
	page, err := fs.ReadFile(files, "404.html")
	if err != nil {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	w.Write(page) //nolint:errcheck // the browser went away
}
