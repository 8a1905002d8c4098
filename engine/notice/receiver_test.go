package notice_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tuco/engine/auditlog"
)

// post is a notice that came.
type post struct {
	id, signature string
	stamp         int64
	raw           string
	events        []string // as of customer.told
	checkpoint    *string
}

// receiver is a customer's real server.
type receiver struct {
	t   *testing.T
	srv *httptest.Server

	mu     sync.Mutex
	answer func(http.ResponseWriter, *http.Request) // nil: 204
	posts  []post
	conns  int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{t: t}
	c.srv = httptest.NewUnstartedServer(c)
	c.srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.mu.Lock()
			c.conns++
			c.mu.Unlock()
		}
	}
	t.Cleanup(c.srv.Close)
	return c
}

// receiver is one that r trusts.
func (r *rig) receiver() *receiver {
	r.t.Helper()
	c := newReceiver(r.t)
	c.srv.StartTLS()
	r.with.Roots = c.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return c
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(req.Body)
	var body struct {
		Type, WorkspaceID string
		Entries           []struct {
			Event string
			Entry struct{ WsSeq uint64 }
		}
		Checkpoint *string
	}
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	h := req.Header
	p := post{id: h.Get("webhook-id"), signature: h.Get("webhook-signature"), raw: string(raw), checkpoint: body.Checkpoint}
	if err == nil {
		p.stamp, err = strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	}
	if err != nil || req.Method != http.MethodPost || h.Get("Content-Type") != "application/json" || body.Type != "staff-access" || !strings.HasPrefix(p.id, body.WorkspaceID+"-") {
		c.t.Errorf("%s %v: %s, %v", req.Method, h, raw, err)
	}
	for _, e := range body.Entries {
		p.events = append(p.events, fmt.Sprint(e.Entry.WsSeq, " ", e.Event))
	}
	c.mu.Lock()
	c.posts = append(c.posts, p)
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		answer(w, req)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// answers makes it answer with a status.
func (c *receiver) answers(status int) {
	c.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func (c *receiver) does(answer func(http.ResponseWriter, *http.Request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *receiver) got() []post {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.posts)
}

// last returns the newest notice.
func (c *receiver) last() post {
	c.t.Helper()
	all := c.got()
	if len(all) == 0 {
		c.t.Fatal("nothing came")
	}
	return all[len(all)-1]
}

// events are what came, with the repetitions of an id left out.
func (c *receiver) events() (all []string) {
	seen := map[string]bool{}
	for _, p := range c.got() {
		if !seen[p.id] {
			all = append(all, p.events...)
		}
		seen[p.id] = true
	}
	return all
}

// signedBy checks the signature as the specification says: of the list, one is of the secret.
func (p post) signedBy(t *testing.T, secret string) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(key) < 24 || len(key) > 64 {
		t.Fatalf("no secret: %q, %v", secret, err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(p.id + "." + strconv.FormatInt(p.stamp, 10) + "." + p.raw))
	return slices.Contains(strings.Fields(p.signature), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// size is that of the checkpoint, which must be one of the log.
func (r *rig) size(p post) uint64 {
	r.t.Helper()
	if p.checkpoint == nil {
		r.t.Fatalf("no checkpoint: %s", p.raw)
	}
	key := r.eng.AuditKeys()
	v, err := auditlog.ParseVerifier(key[len(key)-1])
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := auditlog.OpenCheckpoint([]byte(*p.checkpoint), v)
	if err != nil {
		r.t.Fatalf("the checkpoint %q: %v", *p.checkpoint, err)
	}
	return c.Size
}
