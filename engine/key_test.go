package engine

import (
	"bytes"
	"errors"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSecrets(t *testing.T) {
	w := newWorld(t, unlimited())
	var all []string
	for env, form := range map[Environment]string{
		Development: `^tuco_sk_dev_[0-9A-Za-z]{49}$`, Staging: `^tuco_sk_stg_[0-9A-Za-z]{49}$`, Production: `^tuco_sk_prod_[0-9A-Za-z]{49}$`,
	} {
		k, secret := w.key(w.id, env, NewKey{Name: "one"})
		if !regexp.MustCompile(form).MatchString(secret) || !regexp.MustCompile(SecretPattern).MatchString(secret) {
			t.Errorf("%s: the secret's form is %s", env, secret)
		}
		n := len(secret) - 6
		var sum uint32
		for _, c := range secret[n:] {
			sum = sum*62 + uint32(strings.IndexRune(base62, c))
		}
		if sum != crc32.ChecksumIEEE([]byte(secret[:n])) {
			t.Errorf("%s: the checksum of %s is wrong", env, secret)
		}
		if k.Role != RoleMember || k.MadeBy != "operator" || strings.Contains(k.Secrets[0].Hint, secret[:n]) {
			t.Errorf("%s: the key is %+v", env, k)
		}
		who := w.auth(secret)
		if who.Workspace() != w.id || who.Environment() != env || who.Key() != k.ID {
			t.Errorf("%s: the caller is %s in %s by %s", env, who.Workspace(), who.Environment(), who.Key())
		}
		all = append(all, secret)
	}
	if err := w.FlushKeyUse(); err != nil {
		t.Fatal(err)
	}
	line := w.lineOf(w.operator(Production), Email, LineChange{Email: ptr("l@example.com"), Transport: ptr("smtp://line:hunter2hunter2@mail.example.com:587")})
	if url, err := w.queue(Production).Transport(line); err != nil || !strings.Contains(url, "hunter2hunter2") {
		t.Errorf("the transport opens for its line: %q, %v", url, err)
	}
	stolen := line
	stolen.ID = w.line(Production, 0, 0).ID
	if _, err := w.queue(Production).Transport(stolen); err == nil {
		t.Error("sealed settings open for another line")
	}
	all = append(all, "hunter2hunter2")
	files, err := filepath.Glob(filepath.Join(w.opt.Dir, "keys", "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("key files: %q, %v", files, err)
	}
	for _, file := range append(files, filepath.Join(w.opt.Dir, DatabaseName)) {
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %s, %v", file, info.Mode(), err)
		}
	}
	w.close()
	data, err := os.ReadFile(filepath.Join(w.opt.Dir, DatabaseName))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(text)))
	}
	for _, secret := range all {
		if bytes.Contains(data, []byte(secret)) || len(secret) > 50 && bytes.Contains(data, []byte(secret[13:56])) {
			t.Errorf("the database holds %s", secret)
		}
	}
	for _, file := range files {
		hidden := file + ".away"
		if err := os.Rename(file, hidden); err != nil {
			t.Fatal(err)
		}
		if e, err := Open(w.opt); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("without %s: %v, %v", file, e, err)
		}
		if err := os.Rename(hidden, file); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.opt.Dir, "keys", "*")); len(left) != 3 {
		t.Errorf("a refused start made new keys: %q", left)
	}
	w.open()
	w.auth(all[0])
}

func TestWhoGetsIn(t *testing.T) {
	w := newWorld(t, unlimited())
	op := w.operator(Production)
	plain, secret := w.key(w.id, Production, NewKey{Name: "plain"})
	_, expiring := w.key(w.id, Production, NewKey{Name: "expiring", Expires: noon.Add(time.Hour)})
	_, walled := w.key(w.id, Production, NewKey{Name: "walled", Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}})
	imported, taken := w.key(w.id, Staging, NewKey{Name: "old", Secret: "tuco_0123456789abcdef"})
	in := func(secret, addr string) error {
		_, err := w.Authenticate(secret, netip.MustParseAddr(addr))
		return err
	}
	for _, tt := range []struct {
		name, secret, addr string
		kind               Kind
		code               string
	}{
		{"a good key", secret, "192.0.2.1", 0, ""},
		{"nothing", "", "192.0.2.1", Unauthorized, ""},
		{"another's format", "sk_live_12345", "192.0.2.1", Unauthorized, ""},
		{"a digit more", secret + "0", "192.0.2.1", Unauthorized, ""},
		{"another case", strings.ToUpper(secret), "192.0.2.1", Unauthorized, ""},
		{"a staff token", "tuco_st_" + secret[13:], "192.0.2.1", Unauthorized, CodeTokenNotAccepted},
		{"an auditor's token", "tuco_au_" + secret[13:], "192.0.2.1", Unauthorized, CodeTokenNotAccepted},
		{"a key that will expire", expiring, "192.0.2.1", 0, ""},
		{"from outside of the list", walled, "192.0.2.1", Forbidden, CodeAddressNotAllowed},
		{"from the list", walled, "198.51.100.77", 0, ""},
		{"from the list, mapped", walled, "::ffff:198.51.100.77", 0, ""},
		{"from the list, IPv6", walled, "2001:db8::1", 0, ""},
		{"an imported secret", taken, "192.0.2.1", 0, ""},
	} {
		for range 3 { // looked up, then from the cache
			if err := in(tt.secret, tt.addr); tt.kind == 0 && err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if tt.kind != 0 {
				refused(t, tt.name, err, tt.kind, tt.code, "")
			}
		}
	}
	w.clock.pass(time.Hour)
	refused(t, "an expired key", in(expiring, "192.0.2.1"), Unauthorized, "", "Unauthorized")
	if taken != "tuco_0123456789abcdef" || imported.Secrets[0].Hint == "" {
		t.Errorf("imported: %q, %+v", taken, imported)
	}
	mustFailKey := func(what string, who Caller, in NewKey, kind Kind) {
		t.Helper()
		_, _, err := w.CreateKey(who, in)
		refused(t, what, err, kind, "", "")
	}
	mustFailKey("importing a secret twice", op, NewKey{Name: "x", Secret: taken}, Conflict)
	mustFailKey("importing a staff token", op, NewKey{Name: "x", Secret: "tuco_st_0123456789abcdef"}, Invalid)
	mustFailKey("importing a short secret", op, NewKey{Name: "x", Secret: "tuco_short"}, Invalid)
	mustFailKey("importing as a customer", w.in(Production), NewKey{Name: "x", Secret: "tuco_abcdefghijklmnop"}, Forbidden)
	mustFailKey("a key that has expired", op, NewKey{Name: "x", Expires: noon}, Invalid)
	mustFailKey("a key without name", op, NewKey{}, Invalid)
	mustFailKey("a role and scopes", op, NewKey{Name: "x", Role: RoleViewer, Scopes: []Scope{LeadsRead}}, Invalid)
	mustFailKey("an unknown role", op, NewKey{Name: "x", Role: "god"}, Invalid)
	mustFailKey("an unknown scope", op, NewKey{Name: "x", Scopes: []Scope{"leads:*"}}, Invalid)

	// Disabled and enabled, walled in, and revoked: each holds for the next request.
	id := plain.ID.String()
	for _, step := range []struct {
		name   string
		change KeyChange
		kind   Kind
	}{
		{"disabled", KeyChange{Disabled: ptr(true)}, Unauthorized},
		{"enabled", KeyChange{Disabled: ptr(false)}, 0},
		{"walled in", KeyChange{Allow: &[]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, Forbidden},
		{"free again", KeyChange{Allow: &[]netip.Prefix{}}, 0},
	} {
		if _, err := w.SetKey(op, id, step.change); err != nil {
			t.Fatal(err)
		}
		if err := in(secret, "192.0.2.1"); step.kind == 0 && err != nil {
			t.Errorf("%s: %v", step.name, err)
		} else if step.kind != 0 {
			refused(t, step.name, err, step.kind, "", "")
		}
	}
	// Rotated with an overlap, then without.
	_, second, err := w.RotateKey(op, id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, second} {
		if err := in(s, "192.0.2.1"); err != nil {
			t.Errorf("during the overlap: %v", err)
		}
	}
	w.clock.pass(time.Hour)
	refused(t, "the old secret after the overlap", in(secret, "192.0.2.1"), Unauthorized, "", "")
	_, third, err := w.RotateKey(op, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "the old secret without overlap", in(second, "192.0.2.1"), Unauthorized, "", "")
	if err := in(third, "192.0.2.1"); err != nil {
		t.Error(err)
	}
	if err := w.RevokeKey(op, id); err != nil {
		t.Fatal(err)
	}
	refused(t, "a revoked key", in(third, "192.0.2.1"), Unauthorized, "", "Unauthorized")
	_, _, err = w.RotateKey(op, id, 0)
	refused(t, "rotating a revoked key", err, Conflict, "", "")
	_, err = w.SetKey(op, id, KeyChange{Disabled: ptr(false)})
	refused(t, "enabling a revoked key", err, Conflict, "", "")
	w.crash()
	refused(t, "a revoked key after a crash", in(third, "192.0.2.1"), Unauthorized, "", "")
}

func TestRights(t *testing.T) {
	w := newWorld(t, unlimited())
	// The operator gives access:approve once, whatever becomes of that key.
	w.key(w.id, Production, NewKey{Name: "member"})
	first, ownerSecret := w.key(w.id, Production, NewKey{Name: "owner", Role: RoleOwner})
	second, _ := w.key(w.id, Staging, NewKey{Name: "owner", Role: RoleOwner})
	owner := w.auth(ownerSecret)
	if owner.Require(AccessApprove) != nil || len(second.Scopes) != len(AllScopes)-1 {
		t.Errorf("first owner key: %v; second: %v", first.Scopes, second.Scopes)
	}
	if _, err := w.SetKey(owner, first.ID.String(), KeyChange{Role: ptr(RoleAdmin)}); err != nil {
		t.Fatal(err)
	}
	third, _ := w.key(w.id, Production, NewKey{Name: "owner", Role: RoleOwner})
	if len(third.Scopes) != len(AllScopes)-1 {
		t.Errorf("the operator got access:approve a second time: %v", third.Scopes)
	}
	if lowered := w.auth(ownerSecret); lowered.Require(AccessApprove) == nil {
		t.Error("a lowered key keeps its rights")
	}

	other := w.workspace("Other", "UTC")
	ownerKey, secret := w.key(other, Production, NewKey{Name: "owner", Role: RoleOwner})
	owner = w.auth(secret)
	made := func(who Caller, in NewKey) (Key, Caller) {
		t.Helper()
		k, secret, err := w.CreateKey(who, in)
		if err != nil {
			t.Fatal(err)
		}
		return k, w.auth(secret)
	}
	adminKey, admin := made(owner, NewKey{Name: "admin", Role: RoleAdmin})
	_, member := made(owner, NewKey{Name: "member"})
	_, viewer := made(admin, NewKey{Name: "viewer", Role: RoleViewer})
	_, narrow := made(admin, NewKey{Name: "narrow", Scopes: []Scope{KeysManage, LeadsRead}})
	if adminKey.MadeBy != ownerKey.ID.String() {
		t.Errorf("made by %q", adminKey.MadeBy)
	}
	scope := func(what string, err error, missing Scope) {
		t.Helper()
		if e := refused(t, what, err, Forbidden, CodeInsufficientScope, ""); e.Scope != missing {
			t.Errorf("%s: the missing scope is %q, want %q", what, e.Scope, missing)
		}
	}
	_, _, err := w.CreateKey(admin, NewKey{Name: "x", Role: RoleOwner})
	scope("an admin makes an owner", err, AccessApprove)
	_, _, err = w.CreateKey(narrow, NewKey{Name: "x", Scopes: []Scope{LeadsRead, LeadsWrite}})
	scope("a key wider than its maker", err, LeadsWrite)
	_, _, err = w.CreateKey(member, NewKey{Name: "x"})
	scope("a member makes a key", err, KeysManage)
	_, err = w.SetKey(admin, adminKey.ID.String(), KeyChange{Role: ptr(RoleOwner)})
	scope("an admin makes itself an owner", err, AccessApprove)
	_, err = w.SetKey(admin, ownerKey.ID.String(), KeyChange{Disabled: ptr(true)})
	scope("an admin disables an owner", err, AccessApprove)
	_, _, err = w.RotateKey(admin, ownerKey.ID.String(), 0)
	scope("an admin rotates an owner", err, AccessApprove)
	scope("an admin revokes an owner", w.RevokeKey(admin, ownerKey.ID.String()), AccessApprove)
	_, err = w.SetKey(narrow, adminKey.ID.String(), KeyChange{Name: ptr("x")})
	refused(t, "a narrow key changes an admin", err, Forbidden, CodeInsufficientScope, "")
	_, err = w.Keys(viewer)
	scope("a viewer lists keys", err, KeysManage)
	if _, err := w.SetKey(owner, adminKey.ID.String(), KeyChange{Scopes: &[]Scope{UsageRead}}); err != nil {
		t.Error(err)
	}

	// Every role against every method.
	line := w.lineOf(w.operatorOf(other, Production), IMessage, LineChange{Phone: ptr(phone())})
	calls := map[Scope]func(Caller) error{
		WorkspaceRead: func(c Caller) error { _, err := w.ShowWorkspace(c); return err },
		UsageRead:     func(c Caller) error { _, err := w.Usage(c); return err },
		LeadsRead:     func(c Caller) error { _, err := w.Leads(c, LeadQuery{}); return err },
		LeadsWrite:    func(c Caller) error { _, err := w.CreateLeads(c, nil, LeadBatch{}); return err },
		ListsRead:     func(c Caller) error { _, err := w.Lists(c); return err },
		ListsWrite:    func(c Caller) error { _, err := w.CreateList(c, nil, "", ""); return err },
		LinesRead:     func(c Caller) error { _, err := w.Lines(c); return err },
		LinesWrite:    func(c Caller) error { _, err := w.SetLine(c, line.ID.String(), LineChange{}); return err },
		MessagesRead:  func(c Caller) error { _, err := w.Messages(c, MessageQuery{}); return err },
		MessagesWrite: func(c Caller) error { _, err := w.Send(c, nil, SendRequest{}); return err },
		KeysManage:    func(c Caller) error { _, err := w.Keys(c); return err },
	}
	for _, role := range []Role{RoleViewer, RoleMember, RoleAdmin, RoleOwner} {
		_, who := made(owner, NewKey{Name: string(role), Role: role})
		scopes, _ := role.Scopes()
		for s, call := range calls {
			var e *Error
			lacks := errors.As(call(who), &e) && e.Code == CodeInsufficientScope
			if lacks == scopes.Has(s) {
				t.Errorf("%s: %s is refused: %v", role, s, lacks)
			}
		}
	}
}

func TestLastUse(t *testing.T) {
	w := newWorld(t, unlimited())
	op := w.operator(Production)
	k, secret := w.key(w.id, Production, NewKey{Name: "k"})
	use := func() KeyUse {
		t.Helper()
		all, err := w.Keys(op)
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Secrets[0].KeyUse
	}
	if u := use(); u != (KeyUse{}) {
		t.Errorf("never used: %+v", u)
	}
	w.auth(secret)
	want := KeyUse{noon, home.String()}
	if u := use(); u != want {
		t.Errorf("before it is written: %+v, want %+v", u, want)
	}
	w.reopen()
	op = w.operator(Production)
	if u := use(); u != want {
		t.Errorf("after a restart: %+v, want %+v", u, want)
	}
	w.clock.pass(time.Minute)
	if _, err := w.Authenticate(secret, netip.MustParseAddr("192.0.2.99")); err != nil {
		t.Fatal(err)
	}
	if err := w.FlushKeyUse(); err != nil {
		t.Fatal(err)
	}
	if err := w.RevokeKey(op, k.ID.String()); err != nil {
		t.Fatal(err)
	}
	w.crash()
	op = w.operator(Production)
	if u := use(); u.LastAddr != "192.0.2.99" || !u.LastUsed.Equal(noon.Add(time.Minute)) {
		t.Errorf("of a revoked key after a crash: %+v", u)
	}
	if err := w.Admin().DeleteWorkspace(w.id); err != nil {
		t.Fatal(err)
	}
	if err := w.FlushKeyUse(); err != nil {
		t.Fatal(err)
	}
}

// TestRevokedMeansRevoked revokes a key under 64 clients that hammer with it: no request that began
// after that is admitted. The same for READ_ONLY.
func TestRevokedMeansRevoked(t *testing.T) {
	w := newWorld(t, unlimited())
	w.line(Production, 0, 0)
	op := w.operator(Production)
	reason := ReadOnlyPastDue
	none := ReadOnlyReason("")
	for _, tt := range []struct {
		name string
		end  func(k Key) error
		undo func() error
	}{
		{"revoked", func(k Key) error { return w.RevokeKey(op, k.ID.String()) }, nil},
		{"disabled", func(k Key) error { _, err := w.SetKey(op, k.ID.String(), KeyChange{Disabled: ptr(true)}); return err }, nil},
		{"rotated", func(k Key) error { _, _, err := w.RotateKey(op, k.ID.String(), 0); return err }, nil},
		{"lowered to viewer", func(k Key) error { _, err := w.SetKey(op, k.ID.String(), KeyChange{Role: ptr(RoleViewer)}); return err }, nil},
		{"READ_ONLY", func(Key) error {
			_, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &reason})
			return err
		},
			func() error { _, err := w.Admin().SetWorkspace(w.id, WorkspaceChange{ReadOnly: &none}); return err }},
	} {
		k, secret := w.key(w.id, Production, NewKey{Name: "k"})
		var ended, stop atomic.Bool
		var admitted atomic.Int64
		var hammering sync.WaitGroup
		for range 64 {
			hammering.Go(func() {
				for !stop.Load() {
					began := ended.Load()
					who, err := w.Authenticate(secret, home)
					if err == nil {
						_, err = w.Send(who, nil, to("+12025559998"))
					}
					if err == nil && began {
						t.Errorf("%s: a request that began afterwards was admitted", tt.name)
					}
					if err == nil {
						admitted.Add(1)
					}
				}
			})
		}
		eventually(t, "100 requests", func() bool { return admitted.Load() > 100 })
		if err := tt.end(k); err != nil {
			t.Fatal(err)
		}
		ended.Store(true)
		for range 20 {
			if _, err := w.Authenticate(secret, home); err == nil && tt.undo == nil && tt.name != "lowered to viewer" {
				t.Errorf("%s: authenticated", tt.name)
			}
		}
		stop.Store(true)
		hammering.Wait()
		if tt.undo != nil {
			if err := tt.undo(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
