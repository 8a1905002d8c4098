package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"tuco/engine/address"
)

// TestRequests: what is sent is HTTP, and its body is JSON of the size that is usual.
func TestRequests(t *testing.T) {
	r := &requests{host: "127.0.0.1:1", path: DefaultPath, rng: rand.New(rand.NewPCG(1, 1))}
	tenant := &Tenant{Key: "secret"}
	for range 1000 {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r.send(tenant, MaxContacts))))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || req.Method != "POST" || req.URL.Path != DefaultPath || req.Header.Get("Authorization") != "Bearer secret" {
			t.Fatalf("sent %s %s %v, %v", req.Method, req.URL, req.Header, err)
		}
		var m struct{ RecipientPhone string }
		if err := json.Unmarshal(body, &m); err != nil || len(body) < 250 || len(body) > 350 {
			t.Fatalf("sent %d bytes: %s: %v", len(body), body, err)
		}
		if got, err := address.Phone(m.RecipientPhone, ""); err != nil || got != m.RecipientPhone {
			t.Fatalf("%s is not a phone number: %q, %v", m.RecipientPhone, got, err)
		}
	}
	for want, request := range map[string][]byte{
		"/api/messages/abc": bytes.Clone(r.get(tenant, "abc")),
		"/api/messages":     bytes.Clone(r.list(tenant)),
	} {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil || req.Method != "GET" || req.URL.Path != want {
			t.Errorf("sent %q: %v, want GET %s", request, err, want)
		}
	}
}

// TestPhones: each area code is one, and each contact has a number of its own.
func TestPhones(t *testing.T) {
	seen := map[string]bool{}
	for contact := range MaxContacts {
		phone := string(appendPhone(nil, contact))
		if seen[phone] {
			t.Fatalf("%s is the number of two contacts", phone)
		}
		seen[phone] = true
		if contact%numbersPerArea == 0 {
			if got, err := address.Phone(phone, ""); err != nil || got != phone {
				t.Errorf("%s is not a phone number: %q, %v", phone, got, err)
			}
		}
	}
}
