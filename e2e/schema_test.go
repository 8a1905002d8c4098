package e2e

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// oldMessage is what time and the dispatcher leave as it is of a message.
type oldMessage struct {
	ID            string `json:"_id"`
	Message       string
	Phone         string `json:"recipientPhone"`
	Name          string `json:"recipientName"`
	LeadID        string
	BatchID       string
	CorrelationID string
	CreatedAt     string
}

// Every data directory of an older schema opens with all that was in it, can be written to, and is sound.
func TestOlderSchemas(t *testing.T) {
	t.Parallel()
	versions, err := filepath.Glob("../testdata/schema/*/tuco.db.gz")
	if err != nil || len(versions) == 0 {
		t.Fatalf("no older data directories: %v", err)
	}
	for _, file := range versions {
		old := filepath.Dir(file)
		t.Run(filepath.Base(old), func(t *testing.T) {
			dir := unpack(t, old)
			secret, err := os.ReadFile(filepath.Join(old, "secret"))
			if err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(filepath.Join(old, "messages.json"))
			if err != nil {
				t.Fatal(err)
			}
			var want, got struct{ Messages []oldMessage }
			if err := json.Unmarshal(before, &want); err != nil {
				t.Fatal(err)
			}
			s := serve(t, dir)
			logged := s.logged()
			key := strings.TrimSpace(string(secret))
			s.get(key, "/api/messages?limit=100", &got)
			if len(want.Messages) == 0 || len(got.Messages) != len(want.Messages) {
				t.Fatalf("%d messages, want %d", len(got.Messages), len(want.Messages))
			}
			for i, m := range want.Messages {
				if got.Messages[i] != m {
					t.Errorf("message %d: %+v, want %+v", i, got.Messages[i], m)
				}
			}
			if id, a, err := send(client, s.url, key, map[string]any{
				"message": "new", "messageType": "sms", "recipientPhone": "+12025550149", "scheduledDate": "2098-01-01T00:00:00Z",
			}); id == "" {
				t.Errorf("a new message: %d %s, %v", a.status, a.body, err)
			}
			s.check()
			if code := s.stop(unix.SIGTERM); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			s = serve(t, dir)
			if s.get(key, "/api/messages?limit=100", &got); len(got.Messages) != len(want.Messages)+1 {
				t.Errorf("%d messages after a restart, want one more than %d", len(got.Messages), len(want.Messages))
			}
			s.kill()
			// The copy that was made at the first start is what there was, and can be upgraded again.
			copies, err := filepath.Glob(filepath.Join(dir, "before-schema-*"))
			if err != nil || len(copies) != 1 || !strings.Contains(logged, copies[0]) {
				t.Fatalf("copies %q, %v; the log says\n%s", copies, err, logged)
			}
			if err := os.CopyFS(filepath.Join(copies[0], "keys"), os.DirFS(filepath.Join(dir, "keys"))); err != nil {
				t.Fatal(err)
			}
			s = serve(t, copies[0], "--no-upgrade-copy")
			if s.get(key, "/api/messages?limit=100", &got); len(got.Messages) != len(want.Messages) {
				t.Errorf("%d messages in the copy, want %d", len(got.Messages), len(want.Messages))
			}
			if again, _ := filepath.Glob(filepath.Join(copies[0], "before-*")); len(again) > 0 {
				t.Errorf("a copy was made with --no-upgrade-copy: %q", again)
			}
		})
	}
}

// unpack copies an old data directory.
func unpack(t *testing.T, old string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(filepath.Join(dir, "keys"), os.DirFS(filepath.Join(old, "keys"))); err != nil {
		t.Fatal(err)
	}
	packed, err := os.Open(filepath.Join(old, "tuco.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	from, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	to, err := os.OpenFile(filepath.Join(dir, "tuco.db"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}
