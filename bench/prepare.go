package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"tuco/engine"
	"tuco/httpapi"
)

// mark is the file in a data directory that the bench made. It remembers what is in it.
const mark = "bench.json"

// contents are what a bench has put into a data directory.
type contents struct {
	Tenants  []Tenant `json:"tenants"`
	Messages int64    `json:"messages"` // that are stored
	Deliver  bool     `json:"deliver"`  // the lines keep no gaps
}

// ErrNotOurs says that a data directory was not made by the bench.
var ErrNotOurs = errors.New("it was not made by 'tuco bench' and is left alone; name an empty directory, or one that is not there")

// claim marks an empty or absent directory as the bench's own, and says what an earlier run has left in it. Somebody else's
// is refused with [ErrNotOurs].
func claim(dir string) (c contents, err error) {
	text, err := os.ReadFile(filepath.Join(dir, mark))
	if err == nil {
		if err := json.Unmarshal(text, &c); err != nil {
			return c, fmt.Errorf("reading %q: %w; make a new directory", filepath.Join(dir, mark), err)
		}
		return c, nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return c, err
	case len(entries) > 0:
		return c, fmt.Errorf("%q: %w", dir, ErrNotOurs)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, err
	}
	return c, c.save(dir)
}

func (c contents) save(dir string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, mark), text, 0o600) // it holds keys
}

// planName is the plan of the bench's workspaces, which has no limits.
const planName = "bench"

// makeTenants adds workspaces until there are n.
func (c *contents) makeTenants(ctx context.Context, admin *httpapi.AdminClient, host string, n int) error {
	missing := n - len(c.Tenants)
	if missing <= 0 {
		return nil
	}
	none := int64(0)
	if err := admin.Call("plan/set", httpapi.PlanInput{Name: planName, RequestsPerMinute: &none}, new(httpapi.PlanOutput)); err != nil {
		return fmt.Errorf("making a plan: %w", err)
	}
	made := make([]Tenant, missing)
	errs := make([]error, 16) // each of so many goroutines makes some
	var next atomic.Int64
	var working sync.WaitGroup
	for i := range errs {
		working.Go(func() {
			for at := int(next.Add(1) - 1); at < missing && errs[i] == nil; at = int(next.Add(1) - 1) {
				made[at], errs[i] = makeTenant(ctx, admin, host, c.Deliver)
				errs[i] = cmp.Or(errs[i], ctx.Err())
			}
		})
	}
	working.Wait()
	c.Tenants = append(c.Tenants, slices.DeleteFunc(made, func(t Tenant) bool { return t.Key == "" })...)
	return errors.Join(errs...)
}

// makeTenant makes a workspace with a sandbox line and a key of the customer's: what is read with one that the operator made
// is recorded.
func makeTenant(ctx context.Context, admin *httpapi.AdminClient, host string, deliver bool) (t Tenant, err error) {
	name, plan, zone := "Bench", planName, "UTC"
	var w httpapi.WorkspaceOutput
	if err := admin.Call("workspace/create", httpapi.WorkspaceInput{Name: &name, Plan: &plan, Timezone: &zone}, &w); err != nil {
		return t, fmt.Errorf("making a workspace: %w", err)
	}
	line := httpapi.LineInput{WorkspaceID: w.ID, Environment: string(engine.Production), Channel: string(engine.SMS)}
	phone := "+12025550100"
	line.Phone = &phone
	if deliver {
		gap := "0s"
		line.DeviceGap, line.ContactGap = &gap, &gap
	}
	var made json.RawMessage
	if err := admin.Call("line/create", line, &made); err != nil {
		return t, fmt.Errorf("making a line: %w", err)
	}
	var owner struct{ Secret string }
	in := httpapi.KeyInput{WorkspaceID: w.ID, Environment: string(engine.Production), Name: "owner", Role: string(engine.RoleOwner)}
	if err := admin.Call("key/create", in, &owner); err != nil {
		return t, fmt.Errorf("making a key: %w", err)
	}
	t.ID = w.ID
	if t.Key, err = makeKey(ctx, host, owner.Secret); err != nil {
		return t, fmt.Errorf("making a key: %w", err)
	}
	return t, nil
}

func makeKey(ctx context.Context, host, owner string) (secret string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+"/api/keys", strings.NewReader(`{"name":"bench","role":"member"}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+owner)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var key struct{ Secret string }
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	err = json.NewDecoder(resp.Body).Decode(&key)
	return key.Secret, err
}
