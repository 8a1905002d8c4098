package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tuco/engine"
)

// devCommand runs a server to try.
type devCommand struct {
	Data   string `help:"Data directory to keep; without it a temporary one, removed at exit." type:"path"`
	Listen string `help:"Address to listen on; port 0 is any free one." default:"127.0.0.1:8420" placeholder:"ADDR"`
}

// devOutput is what a program needs to use a dev server.
type devOutput struct {
	URL         string                        `json:"url"`
	AdminSocket string                        `json:"adminSocket"`
	DataDir     string                        `json:"dataDir"`
	WorkspaceID string                        `json:"workspaceId"`
	LineID      string                        `json:"lineId"` // of production
	Keys        map[engine.Environment]string `json:"keys"`
}

// devMark is the file in a data directory that dev made. It holds the demo's ids and secrets, so that
// the next run can print them again; until they are made it is an empty object.
const devMark = "dev.json"

func (c *devCommand) Run(out *output) (err error) {
	signals := catchSignals()
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "tuco-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := claimDevDir(dir); err != nil {
		return err
	}
	f := serveFlags{Data: dir, Listen: addresses{c.Listen}, Concurrency: 10_000, DrainTimeout: 10 * time.Second, LogLevel: "warn", LogFormat: "console"}
	events, err := f.events(out)
	if err != nil {
		return err
	}
	srv, err := start(f, events, nil)
	if err != nil {
		return advise(err)
	}
	demo, err := loadDemo(dir)
	if err == nil && demo.WorkspaceID == "" {
		demo, err = makeDemo(srv.eng, dir)
	}
	if err != nil {
		return errors.Join(err, srv.stop())
	}
	demo.URL, demo.DataDir, demo.AdminSocket = "http://"+srv.Addr(), dir, filepath.Join(dir, socketName)
	if err := demo.print(out, c.Data != ""); err != nil {
		return errors.Join(err, srv.stop())
	}
	return srv.wait(signals, nil)
}

// claimDevDir marks an empty or absent directory as dev's, and refuses one with somebody's data in it.
func claimDevDir(dir string) error {
	mark := filepath.Join(dir, devMark)
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case len(entries) > 0:
		return &usageError{fmt.Sprintf("%q was not made by 'tuco dev' and is left alone; use an empty directory, or 'tuco serve --data %s'", dir, dir)}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, []byte("{}"), 0o600)
}

func loadDemo(dir string) (demo devOutput, err error) {
	data, err := os.ReadFile(filepath.Join(dir, devMark))
	if err != nil {
		return demo, err
	}
	return demo, json.Unmarshal(data, &demo)
}

// makeDemo makes a workspace on plan growth with an owner key and a sandbox line of each channel in
// every environment. The lines keep no gaps, so that what is tried is seen at once.
func makeDemo(eng *engine.Engine, dir string) (demo devOutput, err error) {
	w, err := eng.Admin().CreateWorkspace("Demo", "growth", "UTC")
	if err != nil {
		return demo, err
	}
	demo = devOutput{WorkspaceID: string(w.ID), Keys: map[engine.Environment]string{}}
	// The first owner key of a workspace is the one that may approve staff access.
	for _, env := range []engine.Environment{engine.Production, engine.Staging, engine.Development} {
		who, err := eng.Admin().In(w.ID, env)
		if err != nil {
			return demo, err
		}
		_, secret, err := eng.CreateKey(who, engine.NewKey{Name: "Demo " + string(env), Role: engine.RoleOwner})
		if err != nil {
			return demo, err
		}
		demo.Keys[env] = secret
		line, err := makeDemoLines(eng, who)
		if err != nil {
			return demo, err
		}
		if env == engine.Production {
			demo.LineID = line.ID.String()
		}
	}
	data, err := json.Marshal(demo)
	if err != nil {
		return demo, err
	}
	return demo, os.WriteFile(filepath.Join(dir, devMark), data, 0o600)
}

func makeDemoLines(eng *engine.Engine, who engine.Caller) (phone engine.Line, err error) {
	var none time.Duration
	first, last, number, mailbox := "Demo", "Line", "+12025550100", "demo@example.com"
	change := engine.LineChange{FirstName: &first, LastName: &last, Phone: &number, DeviceGap: &none, ContactGap: &none}
	if phone, err = eng.CreateLine(who, engine.IMessage, change); err != nil {
		return phone, err
	}
	change.Phone, change.Email = nil, &mailbox
	_, err = eng.CreateLine(who, engine.Email, change)
	return phone, err
}

func (d devOutput) print(out *output, kept bool) error {
	if out.json {
		return out.show(d)
	}
	stay := "removed at exit"
	if kept {
		stay = "kept"
	}
	key := d.Keys[engine.Production]
	_, err := fmt.Fprintf(out.to, `Tuco is running on %s with a demo workspace on plan growth. Its lines are sandboxes: nobody is written to.
Data: %s (%s). Stop with Ctrl-C.

Send a message:

  curl -s %s/api/messages -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"message":"Hello {{firstName}}","recipientPhone":"+12025550142","recipientName":"Ana"}'

See what became of it:

  curl -s %s/api/messages -H 'Authorization: Bearer %s'

Write to +15005550001 to see a failure, to +15005550002 to see a fallback.

Keys:
  development  %s
  staging      %s
  production   %s

As the operator, in another terminal:

  tuco usage --workspace %s --data %s
`, d.URL, d.DataDir, stay, d.URL, key, d.URL, key, d.Keys[engine.Development], d.Keys[engine.Staging], key, d.WorkspaceID, d.DataDir)
	return err
}
