package main

import (
	"fmt"
	"net/http"
	"time"
)

// healthCommand is for images without a shell, where nothing else could ask.
type healthCommand struct {
	URL string `name:"url" help:"What to ask." default:"http://127.0.0.1:8420/livez"`
}

func (c healthCommand) Run() error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(c.URL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", c.URL, resp.Status)
	}
	return nil
}
