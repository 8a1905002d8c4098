package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"tuco/kv"
)

// secrets are the keys that lie outside the database, so that a copy of the database gives nothing
// away. Each has an id; what it protects names it.
type secrets struct {
	pepper secret // keys the digests of API keys
	master secret // seals the settings of transports

	digesters sync.Pool // of *digester, under the pepper
}

type secret struct {
	id  string
	key [32]byte
}

// secretIDs is the record that says which secrets the database was written with.
type secretIDs struct {
	Pepper string `json:"pepper"`
	Master string `json:"master"`
}

var (
	systemPath   = kv.Path("system")
	secretRecord = kv.Bucket[secretIDs]{Path: systemPath.Join("secrets"), Codec: kv.JSON[secretIDs](1)}
	secretKey    = []byte("current")
)

// openSecrets loads the secrets that the database names. A database that names none gets new ones;
// one that names a missing file is refused, since new secrets would lock everyone out for good. So is one
// that names none, but has an audit log.
func openSecrets(db *kv.DB, dir string) (*secrets, error) {
	named, err := kv.View(db, func(tx *kv.Tx) (ids secretIDs, err error) {
		ids, ok := secretRecord.Get(tx, secretKey)
		if !ok && auditNodes.Len(tx) > 0 {
			err = fmt.Errorf("%w: the record that names the keys is missing", kv.ErrDamaged)
		}
		return ids, err
	})
	if err != nil {
		return nil, err
	}
	if named == (secretIDs{}) {
		if named, err = makeSecrets(db, dir); err != nil {
			return nil, err
		}
	}
	s := new(secrets)
	if s.pepper, err = readSecret(dir, "pepper", named.Pepper); err != nil {
		return nil, err
	}
	s.digesters.New = func() any { return &digester{mac: hmac.New(sha256.New, s.pepper.key[:])} }
	s.master, err = readSecret(dir, "master", named.Master)
	return s, err
}

// makeSecrets writes new files before the record that names them: after a crash in between, the next
// start makes others, and these stay unused.
func makeSecrets(db *kv.DB, dir string) (ids secretIDs, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ids, err
	}
	if ids.Pepper, err = writeSecret(dir, "pepper"); err != nil {
		return ids, err
	}
	if ids.Master, err = writeSecret(dir, "master"); err != nil {
		return ids, err
	}
	return kv.Update(db, func(tx *kv.Tx) (secretIDs, error) {
		secretRecord.Put(tx, secretKey, ids)
		return ids, nil
	})
}

func secretFile(dir, kind, id string) string { return filepath.Join(dir, kind+"-"+id+".key") }

func writeSecret(dir, kind string) (id string, err error) {
	id = hex.EncodeToString(randomBytes(4))
	text := hex.EncodeToString(randomBytes(32)) + "\n"
	if err := renameio.WriteFile(secretFile(dir, kind, id), []byte(text), 0o600); err != nil {
		return "", err
	}
	return id, kv.SyncDir(dir)
}

func readSecret(dir, kind, id string) (s secret, err error) {
	path := secretFile(dir, kind, id)
	text, err := readSecretFile(path)
	if err != nil {
		return s, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(s.key) {
		return s, fmt.Errorf("%q is damaged: it should hold 64 hex digits", path)
	}
	return secret{id, [32]byte(raw)}, nil
}

// readSecretFile reads a file that the database names.
func readSecretFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%q is missing, and the database can't be used without it: put it back from your copy of the keys", path)
	}
	return text, err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: the program ends instead
	return b
}

// digest is what is stored of an API key's secret.
func (s *secrets) digest(text string) [32]byte {
	d := s.digesters.Get().(*digester)
	defer s.digesters.Put(d)
	return d.digest(text)
}

// A digester keeps what would be made anew for each digest: the key's own state, which costs as much as
// the text's, and the memory.
type digester struct {
	mac  hash.Hash
	text []byte
	sum  [32]byte
}

func (d *digester) digest(text string) [32]byte {
	d.text = append(d.text[:0], text...)
	d.mac.Reset()
	d.mac.Write(d.text)
	d.mac.Sum(d.sum[:0])
	clear(d.text)
	return d.sum
}

// sealed is text that only the master key opens.
type sealed struct {
	Master string `json:"master"` // id of the master key
	Box    []byte `json:"box"`    // nonce and AES-256-GCM of the text
}

// seal encrypts text for the record that owner names; it opens for no other.
func (s *secrets) seal(text, owner string) sealed {
	aead := s.aead()
	nonce := randomBytes(aead.NonceSize())
	return sealed{s.master.id, aead.Seal(nonce, nonce, []byte(text), []byte(owner))}
}

func (s *secrets) open(box sealed, owner string) (string, error) {
	aead := s.aead()
	if box.Master != s.master.id || len(box.Box) < aead.NonceSize() {
		return "", fmt.Errorf("sealed with master key %q, not with %q", box.Master, s.master.id)
	}
	nonce, text := box.Box[:aead.NonceSize()], box.Box[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, text, []byte(owner))
	return string(plain), err
}

func (s *secrets) aead() cipher.AEAD {
	block, err := aes.NewCipher(s.master.key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return aead
}
