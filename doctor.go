package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tuco/httpapi"
)

// doctorCommand takes the flags of serve, for when no server runs; a server that runs tells its own.
type doctorCommand struct{ serveFlags }

// A finding is something that an operator should look at.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // error: something is wrong or will be; warning: it is a risk
	What  string `json:"what"`
	Why   string `json:"why"`
	Do    string `json:"do"`
}

const levelError, levelWarning = "error", "warning"

func wrong(what, why, do string) []finding {
	return []finding{{Level: levelError, What: what, Why: why, Do: do}}
}
func risky(what, why, do string) []finding {
	return []finding{{Level: levelWarning, What: what, Why: why, Do: do}}
}

// A doctor looks at one installation.
type doctor struct {
	data   string
	flags  checkedFlags
	server *processOutput // nil if none runs
}

func newDoctor(f serveFlags) *doctor { return &doctor{data: f.Data, flags: checkedOf(f)} }

// use lets the doctor look at what a server runs with, in place of the flags of the command.
func (d *doctor) use(p *processOutput) {
	d.server, d.flags = p, p.Checked
}

// checks are everything that is looked at. A check that can't tell finds nothing. Each is a function, so that one about
// something new is a line here and a file of its own.
var checks = []struct {
	name string
	look func(*doctor) []finding
}{
	{"clock", (*doctor).clock},
	{"disk", (*doctor).disk},
	{"file-system", (*doctor).fileSystem},
	{"kernel", (*doctor).kernel},
	{"permissions", (*doctor).permissions},
	{"open-files", (*doctor).openFiles},
	{"memory", (*doctor).memory},
	{"sandbox", (*doctor).sandbox},
	{"certificate", (*doctor).certificate},
	{"anchor", (*doctor).anchor},
	{"backup", (*doctor).backup},
	{"key-export", (*doctor).keyExport},
	{"variables", (*doctor).variables},
	{"warnings", (*doctor).warnings},
}

type doctorOutput struct {
	Server   bool      `json:"server"` // one runs
	Checked  []string  `json:"checked"`
	Findings []finding `json:"findings"`
}

// examine makes every check; errors come first.
func (d *doctor) examine() doctorOutput {
	out := doctorOutput{Server: d.server != nil, Findings: []finding{}}
	for _, check := range checks {
		out.Checked = append(out.Checked, check.name)
		for _, f := range check.look(d) {
			f.Check = check.name
			out.Findings = append(out.Findings, f)
		}
	}
	slices.SortStableFunc(out.Findings, func(a, b finding) int { return strings.Compare(a.Level, b.Level) })
	return out
}

func (c *doctorCommand) Run(out *output) error {
	d := newDoctor(c.serveFlags)
	var p processOutput
	err := adminFlags{c.Data}.ask("process", httpapi.Nothing{}, &p)
	switch none := (*noServerError)(nil); {
	case err == nil:
		d.use(&p)
	case !errors.As(err, &none):
		return err
	}
	report := d.examine()
	if err := report.show(out); err != nil {
		return err
	}
	if n := report.errors(); n > 0 {
		return fmt.Errorf("%d findings are errors", n)
	}
	return nil
}

func (r doctorOutput) errors() (n int) {
	for _, f := range r.Findings {
		if f.Level == levelError {
			n++
		}
	}
	return n
}

// show prints a line for each finding.
func (r doctorOutput) show(out *output) error {
	if out.json {
		return out.show(r)
	}
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s: %s; %s: %s\n", f.Level, f.Check, f.What, f.Why, f.Do)
	}
	if len(r.Findings) == 0 {
		fmt.Fprintf(&b, "nothing found in %d checks: %s\n", len(r.Checked), strings.Join(r.Checked, ", "))
	}
	if !r.Server {
		b.WriteString("no server runs on this data directory: what only it knows was not looked at\n")
	}
	_, err := fmt.Fprint(out.to, b.String())
	return err
}
