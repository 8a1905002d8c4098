// Command load reads one URL with one bearer token over many connections, at a steady rate or as often as it can, and prints how many
// requests a second were answered with 200. It takes little of the processor itself.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	address     = flag.String("url", "", "what to read")
	token       = flag.String("token", "", "the bearer token")
	connections = flag.Int("connections", 64, "over how many connections")
	rate        = flag.Int("rate", 0, "requests a second; 0: as many as are answered")
	duration    = flag.Duration("duration", 10*time.Second, "for how long")
)

// Those of some milliseconds begin together: to be woken for each would cost more than the request.
const together = 5 * time.Millisecond

func main() {
	flag.Parse()
	n, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	fmt.Printf("%.0f\n", float64(n)/duration.Seconds())
}

func run() (answered int64, err error) {
	u, err := url.Parse(*address)
	if err != nil {
		return 0, err
	}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", u.RequestURI(), u.Host, *token)
	var (
		all    sync.WaitGroup
		n      atomic.Int64
		failed = make(chan error, *connections)
		due    = make(chan struct{}, *connections)
	)
	for range *connections {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		all.Go(func() {
			answers := bufio.NewReader(conn)
			for range due {
				if err := get(conn, answers, request); err != nil {
					failed <- err
					return
				}
				n.Add(1)
			}
		})
	}
	tick := time.NewTicker(together)
	began, begun := time.Now(), 0
	for time.Since(began) < *duration {
		if *rate > 0 && begun >= int(time.Since(began).Seconds()*float64(*rate)) {
			<-tick.C
			continue
		}
		select {
		case due <- struct{}{}:
			begun++
		case err := <-failed:
			return 0, err
		}
	}
	close(due)
	all.Wait()
	return n.Load(), nil
}

func get(conn net.Conn, answers *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer is %s", resp.Status)
	}
	return err
}
