package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"tuco/engine"
	"tuco/httpapi"
)

// addCommands adds the operator's commands about the process to the admin socket.
func (s *server) addCommands() {
	httpapi.AddCommand(s.admin, "log", s.setLog)
	httpapi.AddCommand(s.admin, "process", s.process)
	httpapi.AddCommand(s.admin, "support", s.support)
	httpapi.AddCommand(s.admin, "backup/create", s.createBackup)
	httpapi.AddCommand(s.admin, "backup/verify", s.verifyBackup)
	httpapi.AddCommand(s.admin, "workspace/import", s.importWorkspace)
}

// logInput changes level and format of the log; what is empty stays.
type logInput struct {
	Level  string `json:"level,omitzero"`
	Format string `json:"format,omitzero"`
}

// logOutput is how the log is.
type logOutput struct {
	Level  string `json:"level"`
	Format string `json:"format"`
}

func (s *server) setLog(in logInput) (logOutput, error) {
	if err := s.events.set(in.Level, in.Format); err != nil {
		return logOutput{}, engine.Errorf(engine.Invalid, "%v", err)
	}
	return logOutput{zerolog.GlobalLevel().String(), s.events.format()}, nil
}

// processOutput is what a running server knows of itself, for doctor.
type processOutput struct {
	PID           int          `json:"pid"`
	Version       string       `json:"version"`
	Began         time.Time    `json:"began"`
	Settings      []setting    `json:"settings"`
	Checked       checkedFlags `json:"checked"`
	Listen        []string     `json:"listen"`
	Warnings      []string     `json:"warnings"`
	ClockHeld     bool         `json:"clockHeld"`
	SandboxLines  int          `json:"sandboxLines"` // active lines of production that reach nobody
	OpenFileLimit uint64       `json:"openFileLimit"`
	MemoryLimit   int64        `json:"memoryLimit"` // what the runtime tries to stay below
}

// checkedFlags are the flags that doctor goes by.
type checkedFlags struct {
	Keys        string   `json:"keys"`
	Reserve     int64    `json:"reserve"`
	Overlay     int64    `json:"overlay"`
	Concurrency int      `json:"concurrency"`
	Anchor      []string `json:"anchor"`
	TLSCert     string   `json:"tlsCert"`
	TLSKey      string   `json:"tlsKey"`
	BackupTo    string   `json:"backupTo"`
}

func checkedOf(f serveFlags) checkedFlags {
	return checkedFlags{f.Keys, int64(f.Reserve), int64(f.Overlay), f.Concurrency, f.Anchor, f.TLSCert, f.TLSKey, f.Backup.To}
}

func (s *server) process(httpapi.Nothing) (processOutput, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return processOutput{}, err
	}
	lines, err := s.sandboxLines()
	return processOutput{
		PID: os.Getpid(), Version: version, Began: s.began.UTC(), Settings: slices.Clone(s.settings), Checked: checkedOf(s.flags), Listen: s.ln.Addresses(),
		Warnings: append(s.eng.Warnings(), s.warnings()...), ClockHeld: s.eng.ClockHeld(), SandboxLines: lines,
		OpenFileLimit: files.Cur, MemoryLimit: debug.SetMemoryLimit(-1),
	}, err
}

// sandboxLines counts the active lines of production that reach nobody.
func (s *server) sandboxLines() (n int, err error) {
	workspaces, err := s.eng.Admin().Workspaces()
	if err != nil {
		return 0, err
	}
	for _, w := range workspaces {
		who, err := s.eng.Admin().In(w.ID, engine.Production)
		if err != nil {
			continue // deleted meanwhile
		}
		lines, err := s.eng.Lines(who)
		if err != nil {
			return n, err
		}
		for _, l := range lines {
			if l.Active && l.Sandbox() {
				n++
			}
		}
	}
	return n, nil
}

// supportOutput is what a running server gives to a support bundle. Nothing in it is a customer's.
type supportOutput struct {
	Process    processOutput   `json:"process"`
	Stats      json.RawMessage `json:"stats"` // [kv.Stats]
	Metrics    string          `json:"metrics"`
	Goroutines string          `json:"goroutines"`
	Memory     memoryOutput    `json:"memory"`
	Log        []string        `json:"log"`
}

// memoryOutput is the memory that the process uses, in bytes.
type memoryOutput struct {
	Heap        uint64 `json:"heap"`
	FromSystem  uint64 `json:"fromSystem"`
	Collections uint32 `json:"collections"`
}

func (s *server) support(httpapi.Nothing) (out supportOutput, err error) {
	if out.Process, err = s.process(httpapi.Nothing{}); err != nil {
		return out, err
	}
	for i, have := range out.Process.Settings {
		out.Process.Settings[i] = redacted(have)
	}
	if out.Stats, err = json.Marshal(s.eng.Stats()); err != nil { // with durations as nanoseconds
		return out, err
	}
	families, err := s.registry.Gather()
	if err != nil {
		return out, err
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return out, err
		}
	}
	out.Metrics = text.String()
	text.Reset()
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return out, err
	}
	out.Goroutines = text.String()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	out.Memory = memoryOutput{memory.HeapAlloc, memory.Sys, memory.NumGC}
	out.Log = []string{}
	for _, event := range s.events.newest() {
		out.Log = append(out.Log, masked(event))
	}
	return out, nil
}
