package bench

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// counters reads the metrics of a server that have no labels.
func counters(host string) (map[string]float64, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + host + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // nothing in it is wanted
		return nil, fmt.Errorf("/metrics answers %s", resp.Status)
	}
	found := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	return found, lines.Err()
}

// The metrics that a bench reads.
const (
	metricCommits      = "tuco_commits_total"
	metricTransactions = "tuco_transactions_total"
	metricCPU          = "process_cpu_seconds_total"
)
