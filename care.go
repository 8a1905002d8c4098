package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"tuco/engine"
	"tuco/httpapi"
)

type checkCommand struct{ adminFlags }

// Run asks the server; if none is running it opens the data directory itself.
func (c checkCommand) Run(out *output) error {
	found, err := care(c.adminFlags, out, "check", func(tell engine.Progress) (httpapi.CheckOutput, error) {
		r, err := engine.CheckStopped(c.Data, tell)
		return httpapi.NewCheckOutput(r), err
	})
	if err != nil {
		return err
	}
	if err := out.show(found); err != nil {
		return err
	}
	if len(found.Faults) > 0 {
		return fmt.Errorf("%d faults found; stop the server, keep a copy of the data directory, and restore a backup", len(found.Faults))
	}
	return nil
}

type compactCommand struct{ adminFlags }

// Run asks the server; if none is running it opens the data directory itself.
func (c compactCommand) Run(out *output) error {
	space, err := care(c.adminFlags, out, "space", func(engine.Progress) (httpapi.SpaceOutput, error) {
		s, err := engine.SpaceStopped(c.Data)
		return httpapi.SpaceOutput(s), err
	})
	if err != nil {
		return err
	}
	if !out.json {
		fmt.Fprintf(out.log, "tuco: the database has %v, of which %v are free inside it; compacting needs %v of free space on the disk, which has %v\n",
			size(space.File), size(space.Free), size(space.Needs), size(space.Disk))
	}
	done, err := care(c.adminFlags, out, "compact", func(tell engine.Progress) (httpapi.CompactOutput, error) {
		compacted, err := engine.CompactStopped(c.Data, tell)
		return httpapi.NewCompactOutput(compacted), err
	})
	if err != nil {
		return err
	}
	return out.show(done)
}

// care runs a command on the server, or, if none is running, does stopped. On a terminal it shows how far that is.
func care[T any](f adminFlags, out *output, name string, stopped func(engine.Progress) (T, error)) (answer T, err error) {
	show := func(string, int64, int64) {}
	terminal := isTerminal(out.log) && !out.json
	if terminal {
		line := &progressLine{to: out.log, began: time.Now()}
		defer line.clear()
		show = line.show
	}
	asked := make(chan struct{})
	var following sync.WaitGroup
	if terminal {
		following.Go(func() { f.follow(asked, show) })
	}
	err = f.ask(name, httpapi.Nothing{}, &answer)
	close(asked)
	following.Wait()
	if none := (*noServerError)(nil); !errors.As(err, &none) {
		return answer, err
	}
	answer, err = stopped(show)
	if errors.Is(err, os.ErrNotExist) {
		return answer, fmt.Errorf("there is no database in %q: name a data directory with --data", f.Data)
	}
	return answer, advise(err)
}

// follow shows what the server says of its progress, until done.
func (f adminFlags) follow(done <-chan struct{}, show engine.Progress) {
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		var now httpapi.ProgressOutput
		if err := f.ask("progress", httpapi.Nothing{}, &now); err == nil && now.Part != "" {
			show(now.Part, now.Done, now.Total)
		}
	}
}

// A progressLine is one line on a terminal, from a second on.
type progressLine struct {
	to           io.Writer
	began, shown time.Time
}

func (p *progressLine) show(part string, done, total int64) {
	now := time.Now()
	if now.Sub(p.began) < time.Second || now.Sub(p.shown) < time.Second/10 {
		return
	}
	p.shown = now
	fmt.Fprintf(p.to, "\r\x1b[K%s … %v", part, now.Sub(p.began).Round(time.Second))
	if total > 0 {
		fmt.Fprintf(p.to, ", %d %%", 100*done/total)
	}
}

func (p *progressLine) clear() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
