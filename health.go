package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// healthCommand is for images without a shell, where nothing else could ask.
type healthCommand struct {
	URL string `name:"url" help:"What to ask, such as https://127.0.0.1:8420/livez. The certificate of a loopback address is not verified: it has another name." default:"http://127.0.0.1:8420/livez"`
}

func (c healthCommand) Run() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return &usageError{"--url: " + err.Error()}
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: addr.IsLoopback()}}
	client := http.Client{Timeout: 5 * time.Second, Transport: transport}
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
