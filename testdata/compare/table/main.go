// Command table prints the results of the comparison beside each other.
//
//	table DIR
//
// DIR holds what 'tuco bench --json' printed, in files that are named SYSTEM-OPERATION-ROUND.json.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"tuco/bench"
)

// systems are in the order of the table; the others are compared with the first.
var systems = []string{"tuco", "postgres", "pocketbase"}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: table DIR")
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "OPERATION\tSYSTEM\tPER SECOND, EACH ROUND\tP50 MS\tP99 MS\tMAX MS\tTUCO DOES TIMES AS MANY")
	for _, op := range []string{"send", "get"} {
		var first float64
		for _, system := range systems {
			rounds, err := load(os.Args[1], system, op)
			if err != nil {
				log.Fatal(err)
			}
			if len(rounds) == 0 {
				continue
			}
			r := summarize(rounds)
			if system == systems[0] {
				first = r.mean
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%.2f\t%.1f\t%.1f\n", op, system, r.each, r.p50, r.p99, r.max, first/r.mean)
		}
	}
	w.Flush()
}

// load reads each round of an operation.
func load(dir, system, op string) (rounds []bench.Operation, err error) {
	files, err := filepath.Glob(filepath.Join(dir, system+"-"+op+"-*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var r bench.Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(r.Refusals) > 0 || len(r.Operations) != 1 {
			return nil, fmt.Errorf("%s is no good run: it has refusals, or not one operation", name)
		}
		rounds = append(rounds, r.Operations[0])
	}
	return rounds, nil
}

type summary struct {
	each                string
	mean, p50, p99, max float64 // of the rounds; max is the largest
}

func summarize(rounds []bench.Operation) (s summary) {
	var each []string
	n := float64(len(rounds))
	for _, o := range rounds {
		each = append(each, fmt.Sprintf("%.0f", o.PerSecond))
		s.mean += o.PerSecond / n
		s.p50 += o.P50 / n
		s.p99 += o.P99 / n
		s.max = max(s.max, o.Max)
	}
	s.each = strings.Join(each, " / ")
	return s
}
