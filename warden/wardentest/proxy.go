package wardentest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// connect asks the proxy for a tunnel.
func connect(addr string, header http.Header) (*http.Response, error) {
	proxy, err := url.Parse(os.Getenv("http_proxy"))
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", "127.0.0.1:3128")
	if err != nil {
		return nil, err
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if password, ok := proxy.User.Password(); ok {
		basic := &http.Request{Header: http.Header{}}
		basic.SetBasicAuth(proxy.User.Username(), password)
		header.Set("Proxy-Authorization", basic.Header.Get("Authorization"))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err == nil && resp.StatusCode == http.StatusOK {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{in, conn}
	}
	return resp, err
}

// helpConnect prints the status of a tunnel and what comes through it.
func helpConnect(args []string) {
	for _, addr := range args {
		resp, err := connect(addr, http.Header{})
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Print(resp.StatusCode)
		if resp.StatusCode == http.StatusOK {
			b, _ := io.ReadAll(resp.Body)
			fmt.Print(" ", string(b))
		}
		fmt.Println()
	}
}

// helpConnectMany has many tunnels at once, each of which brings something.
func helpConnectMany(args []string) {
	most, _ := strconv.Atoi(args[1])
	results := make(chan bool)
	for range most {
		go func() {
			resp, err := connect(args[0], http.Header{})
			if err != nil {
				results <- false
				return
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			results <- len(b) > 0
		}()
	}
	n := 0
	for range most {
		if <-results {
			n++
		}
	}
	fmt.Println(n, "of", most)
}

func helpLargeHead(args []string) {
	resp, err := connect(args[0], http.Header{"X": {strings.Repeat("x", 1<<20)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.StatusCode)
}

// helpFetch prints status and body of plain requests by the proxy, also to addresses that
// programs would spare it.
func helpFetch(args []string) {
	proxy, _ := url.Parse(os.Getenv("http_proxy"))
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for _, u := range args {
		resp, err := client.Get(u)
		if err != nil {
			fmt.Println("error")
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Print(resp.StatusCode)
		if resp.StatusCode == http.StatusOK {
			fmt.Print(" ", string(b))
		}
		fmt.Println()
	}
}
