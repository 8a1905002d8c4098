package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/renameio/v2"

	"tuco/httpapi"
)

// supportCommand writes what somebody needs who helps from afar.
type supportCommand struct {
	serveFlags
	Out string `help:"File to write, a .tar.gz; it must not be there yet." required:"" type:"path" placeholder:"FILE"`
}

// supportFile is one file of the bundle.
type supportFile struct {
	name string
	data []byte
}

type supportCommandOutput struct {
	File   string   `json:"file"`
	Holds  []string `json:"holds"`
	Server bool     `json:"server"`
}

// Run asks the server; without one the bundle has what can be found without it.
func (c *supportCommand) Run(ctx *kong.Context, out *output, s *settings) error {
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("%q is there already; name another file with --out", c.Out)
	}
	var live supportOutput
	err := adminFlags{c.Data}.ask("support", httpapi.Nothing{}, &live)
	none := (*noServerError)(nil)
	if err != nil && !errors.As(err, &none) {
		return err
	}
	running := err == nil
	flags := s.effective(ctx)
	for i, have := range flags {
		flags[i] = redacted(have)
	}
	d := newDoctor(c.serveFlags)
	if running {
		d.use(&live.Process)
	}
	files := []supportFile{
		jsonFile("version.json", versionNow()),
		jsonFile("config.json", settingsOutput{flags}),
		jsonFile("doctor.json", d.examine()),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		files = append(files, supportFile{"build.txt", []byte(info.String())})
	}
	if running {
		files = append(files,
			jsonFile("process.json", live.Process), jsonFile("stats.json", live.Stats), jsonFile("memory.json", live.Memory),
			supportFile{"metrics.txt", []byte(live.Metrics)}, supportFile{"goroutines.txt", []byte(live.Goroutines)},
			supportFile{"log.jsonl", []byte(strings.Join(live.Log, "\n") + "\n")},
		)
	}
	if err := writeBundle(c.Out, files); err != nil {
		return err
	}
	report := supportCommandOutput{File: c.Out, Server: running}
	for _, f := range files {
		report.Holds = append(report.Holds, f.name)
	}
	return out.show(report)
}

func jsonFile(name string, v any) supportFile {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		data = []byte(err.Error())
	}
	return supportFile{name, append(data, '\n')}
}

func writeBundle(path string, files []supportFile) error {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for _, f := range files {
		header := &tar.Header{Name: "tuco-support/" + f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: time.Now().Truncate(time.Second)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.data); err != nil {
			return err
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return err
	}
	return renameio.WriteFile(path, packed.Bytes(), 0o600, renameio.WithStaticPermissions(0o600))
}

// redacted takes what is secret out of a setting: passwords in URLs. No setting of the server is a secret itself.
func redacted(s setting) setting {
	if u, err := url.Parse(s.Value); err == nil && u.User != nil {
		s.Value = u.Redacted()
	}
	return s
}

// shownFields are the fields of an event whose texts are words of the program, or names that it made. All other texts are
// masked: an error may quote a mail server, that quotes a mailbox; a correlation id is whatever a client sent.
var shownFields = map[string]bool{
	"level": true, "message": true, "workspace": true, "line": true, "request": true, "route": true, "method": true, "status": true,
	"command": true, "signal": true, "version": true, "limit": true, "day": true, "expires": true, "took": true,
}

// mask is what a masked text becomes.
const mask = "•••"

// masked is an event without what could be a customer's. Numbers and truth values stay.
func masked(event []byte) string {
	fields, err := members(event, jsontext.AllowDuplicateNames(true)) // a message's id and the event's text have one name
	if err != nil {
		return `{"message":"` + mask + `"}`
	}
	out := make([]string, len(fields))
	for i, f := range fields {
		value := string(f.value)
		switch {
		case f.name == "message":
			value = quotes.ReplaceAllString(value, mask) // a refusal may quote what it refuses
		case f.name == "error" || f.name == "cause":
			value = maskedText(f.value)
		case f.name == "request" && !madeHere.MatchString(value), !shownFields[f.name] && !plain(f.value.Kind()):
			value = `"` + mask + `"`
		}
		name, _ := json.Marshal(f.name)
		out[i] = string(name) + ":" + value
	}
	return "{" + strings.Join(out, ",") + "}"
}

func plain(k jsontext.Kind) bool { return k == '0' || k == 't' || k == 'f' || k == 'n' }

var quotes = regexp.MustCompile(`\\".*\\"`)

// madeHere matches a request's id that the server made; clients may send their own.
var madeHere = regexp.MustCompile(`^"[0-9a-f]{24}"$`)

// knownErrors are texts of the program, of Go and of Linux that errors are made of, and that say what support needs to know.
var knownErrors = regexp.MustCompile(`(?i)no space left on device|input/output error|permission denied|no such file or directory|too many open files|` +
	`connection (?:refused|reset by peer|timed out)|i/o timeout|broken pipe|read-only file system|address already in use|network is unreachable|` +
	`no route to host|no such host|unexpected EOF|context (?:deadline exceeded|canceled)|cannot allocate memory|certificate (?:signed by unknown authority|has expired)|` +
	`panic: |runtime error: [a-z ]+|invalid memory address or nil pointer dereference|index out of range|damaged|` +
	`\b[45]\d\d[ "]+[45]\.\d{1,3}\.\d{1,3}\b`)

// maskedText keeps of an error what is known, in its order.
func maskedText(v jsontext.Value) string {
	plain, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return `"` + mask + `"`
	}
	kept := append([]string{mask}, knownErrors.FindAllString(string(plain), -1)...)
	text, _ := json.Marshal(strings.Join(kept, " "))
	return string(text)
}
