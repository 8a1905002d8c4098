package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"tuco/backup"
	"tuco/backup/keeper"
	"tuco/httpapi"
)

type backupVerify struct {
	adminFlags
	keyFlags
	Target       string `arg:"" optional:"" help:"A directory, or s3://…: all that is in it. By default the running server verifies its newest backup."`
	Installation string `help:"The backups of this installation alone; of all in the target by default." placeholder:"ID"`
	Temp         string `help:"Directory for the scratch copies; the system's by default." type:"existingdir" placeholder:"DIR"`
}

func (c backupVerify) Run(out *output) error {
	var found verificationsOutput
	if c.Target == "" {
		if c.Installation != "" {
			return &usageError{"--installation needs a target: without one the server verifies its own newest backup"}
		}
		if err := c.ask("backup/verify", httpapi.Nothing{}, &found); err != nil {
			return err
		}
		return out.show(found)
	}
	target, err := backup.OpenTarget(c.Target)
	if err != nil {
		return err
	}
	keys, err := c.opening()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second time it ends at once
	opt := keeper.VerifyOptions{Target: target, Keys: keys, Dir: cmp.Or(c.Temp, os.TempDir()), Installation: c.Installation}
	line := &progressLine{to: out.log, began: time.Now()}
	if isTerminal(out.log) && !out.json {
		opt.Progress = line.show
	}
	var bad []string
	opt.Found = func(v keeper.Verification) {
		if len(v.Faults) > 0 {
			bad = append(bad, v.Name)
			line.clear()
			fmt.Fprintf(out.log, "tuco: %s is not to be relied on: %s\n", v.Name, strings.Join(v.Faults, "; "))
		}
	}
	all, err := keeper.VerifyAll(ctx, opt)
	line.clear()
	if len(all) > 0 {
		if err := out.show(newVerificationsOutput(all)); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(err, backup.ErrNoSpace):
		return fmt.Errorf("%w; name a directory with more room by --temp", err)
	case err != nil:
		return err
	case len(bad) > 0:
		return fmt.Errorf("%d of %d are not to be relied on: %s", len(bad), len(all), strings.Join(bad, ", "))
	case !keys.None() && !slices.ContainsFunc(all, func(v keeper.Verification) bool { return v.Depth != keeper.DepthDigests }):
		return errors.New("the key that was given opens nothing in the target: only digests were compared")
	}
	return nil
}

type verificationsOutput struct {
	Backups []verificationOutput `json:"backups"`
}

// verificationOutput is what a verification found.
type verificationOutput struct {
	Name         string           `json:"name"`
	Kind         backup.Kind      `json:"kind"`
	Result       string           `json:"result"` // good, bad, or gone: deleted while it was looked at
	Logs         int              `json:"logs"`
	Depth        string           `json:"depth"` // records: all was restored and read; files: unpacked and compared; digests: compared as stored
	State        *time.Time       `json:"state"`
	Records      map[string]int64 `json:"records"`
	AuditEntries uint64           `json:"auditEntries"`
	Faults       []string         `json:"faults"`
	Took         string           `json:"took"`
}

func newVerificationsOutput(all []keeper.Verification) (out verificationsOutput) {
	for _, v := range all {
		one := verificationOutput{
			Name: v.Name, Kind: v.Kind, Result: "good", Logs: v.Logs, Depth: v.Depth, Records: v.Records, AuditEntries: v.Entries,
			Faults: append([]string{}, v.Faults...), Took: v.Took.Round(time.Millisecond).String(),
		}
		switch {
		case len(v.Faults) > 0:
			one.Result = "bad"
		case v.Gone:
			one.Result = "gone"
		}
		if !v.State.IsZero() {
			one.State = &v.State
		}
		out.Backups = append(out.Backups, one)
	}
	return out
}
