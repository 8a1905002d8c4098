package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

func keysDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pepper-01.key": "aa\n", "master-02.key": "bb\n", ".pepper-temporary": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func export(t *testing.T, dir string, enc Encryption) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := ExportKeys(&b, dir, enc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestKeys: keys come back as they were, with the right key only, and never over others.
func TestKeys(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	for name, tt := range map[string]struct {
		enc         Encryption
		right       Keys
		wrong, none Keys
	}{
		"recipient":  {Encryption{Recipients: []string{id.Recipient().String()}}, Keys{Identities: []age.Identity{id}}, Keys{Identities: []age.Identity{other}}, Keys{Passphrase: "x"}},
		"passphrase": {Encryption{Passphrase: "right"}, Keys{Passphrase: "right"}, Keys{Passphrase: "wrong"}, Keys{Identities: []age.Identity{id}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := export(t, keysDir(t), tt.enc)
			if !strings.HasPrefix(string(b), armor.Header) || bytes.Contains(b, []byte("pepper")) {
				t.Errorf("exported %q", b)
			}
			parent := t.TempDir()
			dir := filepath.Join(parent, "keys")
			for what, keys := range map[string]Keys{"wrong": tt.wrong, "no": tt.none} {
				if err := ImportKeys(bytes.NewReader(b), keys, dir); !errors.Is(err, ErrKey) {
					t.Errorf("%s key: %v", what, err)
				}
				mustBeEmpty(t, parent)
			}
			if err := ImportKeys(bytes.NewReader(b), tt.right, dir); err != nil {
				t.Fatal(err)
			}
			onlyFiles(t, dir, "master-02.key", "pepper-01.key")
			if text, err := os.ReadFile(filepath.Join(dir, "pepper-01.key")); err != nil || string(text) != "aa\n" {
				t.Errorf("pepper: %q, %v", text, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "pepper-01.key")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode: %v, %v", info.Mode(), err)
			}
			if err := ImportKeys(bytes.NewReader(b), tt.right, dir); !errors.Is(err, ErrExists) {
				t.Errorf("over others: %v", err)
			}
		})
	}
}

// TestKeysDamage: every flipped byte, cut and appended byte is found, also what only the armor would forgive.
func TestKeysDamage(t *testing.T) {
	id := newIdentity(t)
	keys := Keys{Identities: []age.Identity{id}}
	b := export(t, keysDir(t), Encryption{Recipients: []string{id.Recipient().String()}})
	parent := t.TempDir()
	refused := func(b []byte, what string, i int) {
		t.Helper()
		err := ImportKeys(bytes.NewReader(b), keys, filepath.Join(parent, "keys"))
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) { // a damaged recipient can't be told from another one
			t.Errorf("%s %d: %v", what, i, err)
		}
		mustBeEmpty(t, parent)
	}
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= byte(1 << (i % 8))
		refused(flipped, "flipped", i)
		refused(b[:i], "cut", i)
	}
	for i, more := range []string{"\n", " ", "\r\n", string(b)} {
		refused(append(bytes.Clone(b), more...), "appended", i)
		refused(append([]byte(more), b...), "put before", i)
	}
	refused(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), "other ends of lines", 0)
}

func TestExportKeysRefuses(t *testing.T) {
	dir := keysDir(t)
	for name, tt := range map[string]struct {
		dir string
		enc Encryption
	}{
		"plain": {dir, Encryption{Plain: true}}, "nothing said": {dir, Encryption{}}, "no keys": {t.TempDir(), Encryption{Passphrase: "x"}},
		"a directory in it": {filepath.Dir(dir), Encryption{Passphrase: "x"}},
	} {
		var b bytes.Buffer
		if err := ExportKeys(&b, tt.dir, tt.enc); !errors.Is(err, ErrInvalid) || b.Len() > 0 {
			t.Errorf("%s: %v, wrote %d bytes", name, err, b.Len())
		}
	}
}

// TestSecretFiles: keys and passphrases come from files; what is wrong with one is said without showing it.
func TestSecretFiles(t *testing.T) {
	id := newIdentity(t)
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if ids, err := ReadIdentities(file("# made by age-keygen\n" + id.String() + "\n")); err != nil || len(ids) != 1 {
		t.Errorf("identities: %v, %v", ids, err)
	}
	for _, text := range []string{"", "hush\n", id.Recipient().String(), id.String()[:60] + "hush"} {
		if _, err := ReadIdentities(file(text)); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hush") {
			t.Errorf("identities %q: %v", text, err)
		}
	}
	for text, want := range map[string]string{"a b": "a b", "a b\n": "a b", " a\r\n": " a"} {
		if got, err := ReadPassphrase(file(text)); err != nil || got != want {
			t.Errorf("passphrase %q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", " \n", "hush\nhush"} {
		if _, err := ReadPassphrase(file(text)); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hush") {
			t.Errorf("passphrase %q: %v", text, err)
		}
	}
	if _, err := ReadPassphrase(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
