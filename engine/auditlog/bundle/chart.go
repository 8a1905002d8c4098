package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A bar is one value of a chart.
type bar struct {
	label string
	value int64
}

const maxBars = 92 // a quarter in days

func (p *page) charts(t *tally) {
	title, bars := readsByTime(t.days)
	p.heading(title)
	p.chart(bars)
	p.heading("Reads per staff member")
	p.chart(readsByReader(t.readers))
}

// readsByTime returns the reads of each day that has any; of each month if these are too many, and only the latest then.
func readsByTime(days map[int64]*int64) (title string, bars []bar) {
	title, layout := "Reads per day", time.DateOnly
	if len(days) > maxBars {
		title, layout = "Reads per month", "2006-01"
	}
	sums := map[string]int64{}
	for day, n := range days {
		sums[time.Unix(day*24*60*60, 0).UTC().Format(layout)] += *n
	}
	for label, n := range sums {
		bars = append(bars, bar{label, n})
	}
	slices.SortFunc(bars, func(a, b bar) int { return cmp.Compare(a.label, b.label) })
	return title, bars[max(0, len(bars)-maxBars):]
}

// readsByReader returns the readers with the most reads first, and the sum of those for whom there is no bar.
func readsByReader(readers map[string]*int64) []bar {
	var bars []bar
	for id, n := range readers {
		bars = append(bars, bar{id, *n})
	}
	slices.SortFunc(bars, func(a, b bar) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.label, b.label))
	})
	if len(bars) <= maxBars {
		return bars
	}
	rest := bar{label: fmt.Sprintf("%d others", len(bars)-maxBars+1)}
	for _, b := range bars[maxBars-1:] {
		rest.value += b.value
	}
	return append(bars[:maxBars-1], rest)
}

// chart draws bars, one below the other.
func (p *page) chart(bars []bar) {
	if len(bars) == 0 {
		p.note("None.")
		return
	}
	most := int64(1)
	for _, b := range bars {
		most = max(most, b.value)
	}
	height := 20 * len(bars)
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="%d" viewBox="0 0 800 %d" role="img">`+"\n", height, height)
	for i, b := range bars {
		width := max(1, b.value*450/most)
		p.put(fmt.Sprintf(`<text x="190" y="%d" text-anchor="end">`, 20*i+14), shortened(b.label), "</text>")
		fmt.Fprintf(&p.b, `<rect x="200" y="%d" width="%d" height="14"></rect>`, 20*i+3, width)
		fmt.Fprintf(&p.b, `<text x="%d" y="%d">%d</text>`+"\n", 206+width, 20*i+14, b.value)
	}
	p.b.WriteString("</svg>\n")
}

// shortened returns a label that fits.
func shortened(label string) string {
	if r := []rune(label); len(r) > 26 {
		return string(r[:25]) + "…"
	}
	return label
}
