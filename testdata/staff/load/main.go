// Command load reads one URL with one bearer token over many connections, at a steady rate or as often as it can, and prints how many
// requests a second were answered with 200.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	url         = flag.String("url", "", "what to read")
	token       = flag.String("token", "", "the bearer token")
	connections = flag.Int("connections", 64, "over how many connections")
	rate        = flag.Int("rate", 0, "requests a second; 0: as many as are answered")
	duration    = flag.Duration("duration", 10*time.Second, "for how long")
)

func main() {
	flag.Parse()
	n, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	fmt.Printf("%.0f\n", float64(n)/duration.Seconds())
}

// run has each connection begin its requests in turn, so that together they are at the rate.
func run() (answered int, err error) {
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *connections, DisableCompression: true}}
	ctx, cancel := context.WithTimeout(context.Background(), *duration)
	defer cancel()
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	began := time.Now()
	for i := range *connections {
		all.Go(func() {
			for n := i; ctx.Err() == nil; n += *connections {
				if *rate > 0 {
					select {
					case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(*rate)))):
					case <-ctx.Done():
						return
					}
				}
				failed := get(ctx, &client)
				mu.Lock()
				switch {
				case failed == nil:
					answered++
				case ctx.Err() == nil:
					err = failed
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return answered, err
}

func get(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+*token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer is %s", resp.Status)
	}
	return err
}
