// Command load is the client of the power-cut test: it sends messages and writes down every one that
// was acknowledged, or with -verify looks whether they are all there.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var (
	url    = flag.String("url", "", "the server")
	key    = flag.String("key", "", "an API key")
	acks   = flag.String("acks", "", "file of ids, one a line")
	verify = flag.Bool("verify", false, "print how many of the ids are not there")
)

// workers are how many requests are under way at a time; limit bounds how long.
const (
	workers = 8
	limit   = time.Minute
)

var client = http.Client{Timeout: 2 * time.Minute}

func main() {
	flag.Parse()
	run := load
	if *verify {
		run = look
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// load sends until it is killed, or something is wrong.
func load() error {
	file, err := os.OpenFile(*acks, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	failed := make(chan error, workers)
	deadline := time.Now().Add(limit)
	for worker := range workers {
		go func() {
			for n := 0; time.Now().Before(deadline); n++ {
				id, err := send(worker, n)
				if err == nil {
					_, err = fmt.Fprintln(file, id)
				}
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range workers {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

func send(worker, n int) (id string, err error) {
	var answer struct {
		Message struct {
			ID string `json:"_id"`
		}
	}
	body := fmt.Sprintf(`{"message":"Message %d of %d","recipientPhone":"+1202555%04d"}`, n, worker, 1000+worker*500+n%500)
	status, err := call(http.MethodPost, "/api/messages", body, &answer)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("status %d", status)
	}
	return answer.Message.ID, err
}

// look counts the ids that are not there, and compares the day's usage with the messages.
func look() error {
	ids, err := os.ReadFile(*acks)
	if err != nil {
		return err
	}
	lost := 0
	for _, id := range strings.Fields(string(ids)) {
		status, err := call(http.MethodGet, "/api/messages/"+id, "", nil)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			lost++
		}
	}
	fmt.Println(lost)
	rows, err := countRows()
	if err != nil {
		return err
	}
	used, err := usage()
	if err == nil && used != rows {
		fmt.Fprintf(os.Stderr, "the day's usage is not the number of messages: %d, %d\n", used, rows)
	}
	return err
}

func countRows() (n int64, err error) {
	for cursor := ""; ; {
		var page struct {
			Messages   []struct{}
			NextCursor string
		}
		if _, err := call(http.MethodGet, "/api/messages?limit=100"+cursor, "", &page); err != nil {
			return n, err
		}
		n += int64(len(page.Messages))
		if page.NextCursor == "" {
			return n, nil
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

// usage is how many messages the plan's day counts.
func usage() (int64, error) {
	var answer struct {
		Limits []struct {
			Name string
			Used int64
		}
	}
	_, err := call(http.MethodGet, "/api/usage", "", &answer)
	for _, l := range answer.Limits {
		if l.Name == "messages_per_day" {
			return l.Used, err
		}
	}
	return -1, err
}

func call(method, path, body string, out any) (status int, err error) {
	req, err := http.NewRequest(method, *url+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+*key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && out != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(data, out)
	}
	return resp.StatusCode, err
}
