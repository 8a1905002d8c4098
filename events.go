package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// eventLog is where the log's events go: to standard error, in a format that can be changed, and the newest also into
// memory. Its methods may be called by several goroutines.
type eventLog struct {
	to      io.Writer
	console zerolog.ConsoleWriter
	people  atomic.Bool // format console

	mu     sync.Mutex // guards these
	recent [][]byte   // a ring
	next   int
}

// The newest events that are kept, and the longest of them, in bytes: at most 4 MiB of memory.
const (
	keptEvents    = 1000
	keptEventSize = 4 << 10
)

// events makes the log that the flags ask for. The level is the process's: there is one log in it.
func (f serveFlags) events(out *output) (*eventLog, error) {
	zerolog.TimeFieldFormat = zerolog.TimeFormatUnixMs
	l := &eventLog{to: out.log, console: zerolog.ConsoleWriter{Out: out.log, TimeFormat: time.TimeOnly, NoColor: !isTerminal(out.log)}}
	return l, l.set(f.LogLevel, cmp.Or(f.LogFormat, formatJSON))
}

const formatJSON, formatConsole = "json", "console"

// set changes level and format, for each event from now on; what is empty stays.
func (l *eventLog) set(level, format string) error {
	if format != "" && format != formatJSON && format != formatConsole {
		return fmt.Errorf("%q is no log format: it is json or console", format)
	}
	if level != "" {
		parsed, err := zerolog.ParseLevel(level)
		if err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, level) {
			return fmt.Errorf("%q is no log level: it is debug, info, warn or error", level)
		}
		zerolog.SetGlobalLevel(parsed)
	}
	if format != "" {
		l.people.Store(format == formatConsole)
	}
	return nil
}

func (l *eventLog) format() string {
	if l.people.Load() {
		return formatConsole
	}
	return formatJSON
}

func (l *eventLog) logger() zerolog.Logger { return zerolog.New(l).With().Timestamp().Logger() }

// Write takes one event.
func (l *eventLog) Write(event []byte) (int, error) {
	l.keep(event)
	if l.people.Load() {
		return l.console.Write(event)
	}
	return l.to.Write(event)
}

func (l *eventLog) keep(event []byte) {
	if len(event) > keptEventSize {
		return // a panic's stack, say: it is on standard error
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) < keptEvents {
		l.recent = append(l.recent, slices.Clone(event))
		return
	}
	l.recent[l.next] = append(l.recent[l.next][:0], event...)
	l.next = (l.next + 1) % keptEvents
}

// newest are the events that are kept, the oldest first.
func (l *eventLog) newest() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([][]byte, 0, len(l.recent))
	for i := range l.recent {
		all = append(all, slices.Clone(l.recent[(l.next+i)%len(l.recent)]))
	}
	return all
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
