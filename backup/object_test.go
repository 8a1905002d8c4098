package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

var atNoon = time.Date(2026, 4, 12, 12, 0, 0, 123e6, time.UTC)

func fullManifest() Manifest {
	return Manifest{
		Kind: Full, ID: "b1", Installation: "0123456789abcdef", Epoch: 1, Product: "1.2.3", Schema: 2,
		Time: atNoon, To: 4096, LastTime: atNoon.Add(-time.Second),
		Records: map[string]int64{"leads": 3, "messages": 4}, Quota: jsontext.Value(`{"z": 1, "a": [1.0]}`), Checkpoint: "tuco/x\n3\n",
	}
}

func logManifest(from, to uint64) Manifest {
	m := fullManifest()
	m.Kind, m.From, m.To, m.FirstTime = Log, position(fmt.Sprint(from)), position(fmt.Sprint(to)), m.LastTime
	return m
}

func inputs(content ...string) (all []Input) {
	for i, c := range content {
		all = append(all, Input{fmt.Sprintf("file%d.db", i), strings.NewReader(c)})
	}
	return all
}

func create(t testing.TB, m Manifest, enc Encryption, in ...Input) *Object {
	t.Helper()
	o, err := Create(t.Context(), t.TempDir(), m, in, enc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func bytesOf(t testing.TB, c Content) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func unpackBytes(t testing.TB, b []byte, keys Keys, dir string) error {
	t.Helper()
	r, err := Open(bytes.NewReader(b), 2)
	if err != nil {
		return err
	}
	return r.Unpack(t.Context(), keys, dir)
}

// mustBeEmpty fails if anything is left in a directory.
func mustBeEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Fatalf("left in %s: %v, %v", dir, entries, err)
	}
}

// TestObjectRoundTrip: what goes in comes out, whoever it is encrypted for; nothing is left in the directory that it was made in.
func TestObjectRoundTrip(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789abcdef", 1<<17)
	for name, tt := range map[string]struct {
		enc  Encryption
		keys Keys
	}{
		"plain":          {Encryption{Plain: true}, Keys{}},
		"recipient":      {Encryption{Recipients: []string{id.Recipient().String()}}, Keys{Identities: []age.Identity{other, id}}},
		"two recipients": {Encryption{Recipients: []string{other.Recipient().String(), id.Recipient().String()}}, Keys{Identities: []age.Identity{id}}},
		"post-quantum":   {Encryption{Recipients: []string{hybrid.Recipient().String()}}, Keys{Identities: []age.Identity{hybrid}}},
		"passphrase":     {Encryption{Passphrase: "correct horse"}, Keys{Passphrase: "correct horse"}},
	} {
		t.Run(name, func(t *testing.T) {
			temporary, target := t.TempDir(), t.TempDir()
			o, err := Create(t.Context(), temporary, fullManifest(), inputs("", "x", strings.Repeat("y", 512), big), tt.enc)
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			mustBeEmpty(t, temporary)
			b := bytesOf(t, o)
			r, err := Open(bytes.NewReader(b), 2)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Check(t.Context()); err != nil {
				t.Error("Check:", err)
			}
			r, _ = Open(bytes.NewReader(b), 2)
			if err := r.Verify(t.Context(), tt.keys); err != nil {
				t.Error("Verify:", err)
			}
			dir := filepath.Join(target, "restored")
			if err := unpackBytes(t, b, tt.keys, dir); err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{"", "x", strings.Repeat("y", 512), big} {
				if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("file%d.db", i))); err != nil || string(got) != want {
					t.Errorf("file %d: %d bytes, %v, want %d", i, len(got), err, len(want))
				}
			}
			if entries, _ := os.ReadDir(target); len(entries) != 1 {
				t.Errorf("beside what was unpacked: %v", entries)
			}
			if tt.enc.Plain != bytes.Contains(b, []byte(`"encryption":"none"`)) {
				t.Errorf("manifest %s does not say how it is encrypted", b[:200])
			}
		})
	}
}

// TestObjectDamage: every flipped byte, every cut and every appended byte is found, and nothing is unpacked.
func TestObjectDamage(t *testing.T) {
	id := newIdentity(t)
	for name, enc := range map[string]Encryption{"plain": {Plain: true}, "recipient": {Recipients: []string{id.Recipient().String()}}} {
		t.Run(name, func(t *testing.T) {
			b := bytesOf(t, create(t, fullManifest(), enc, inputs("some content", "more")...))
			parent := t.TempDir()
			refused := func(b []byte, what string) {
				t.Helper()
				err := unpackBytes(t, b, Keys{Identities: []age.Identity{id}}, filepath.Join(parent, "new"))
				newer := errors.Is(err, ErrNewer) && !strings.HasPrefix(string(b), "tuco backup v1")
				if !errors.Is(err, ErrDamaged) && !newer {
					t.Errorf("%s: %v", what, err)
				}
				mustBeEmpty(t, parent)
				if r, err := Open(bytes.NewReader(b), 2); err == nil {
					if err := r.Check(t.Context()); !errors.Is(err, ErrDamaged) {
						t.Errorf("%s: Check says %v", what, err)
					}
				}
			}
			for i := range b {
				flipped := bytes.Clone(b)
				flipped[i] ^= byte(1 << (i % 8))
				refused(flipped, fmt.Sprintf("byte %d flipped", i))
				refused(b[:i], fmt.Sprintf("cut at %d", i))
			}
			for _, more := range []string{"\n", "\x00", string(b)} {
				refused(slices.Concat(b, []byte(more)), "appended")
			}
		})
	}
}

// TestObjectKeys: who has no key, or a wrong one, is told which is needed; damage is not taken for a wrong key.
func TestObjectKeys(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	encrypted := bytesOf(t, create(t, fullManifest(), Encryption{Recipients: []string{id.Recipient().String()}}, inputs("x")...))
	secret := bytesOf(t, create(t, fullManifest(), Encryption{Passphrase: "right"}, inputs("x")...))
	for _, tt := range []struct {
		b    []byte
		keys Keys
		want string
	}{
		{encrypted, Keys{}, id.Recipient().String()},
		{encrypted, Keys{Passphrase: "right"}, id.Recipient().String()},
		{encrypted, Keys{Identities: []age.Identity{other}}, id.Recipient().String()},
		{secret, Keys{}, "passphrase is needed"},
		{secret, Keys{Identities: []age.Identity{id}}, "passphrase is needed"},
		{secret, Keys{Passphrase: "wrong"}, "passphrase is not the one"},
	} {
		err := unpackBytes(t, tt.b, tt.keys, filepath.Join(t.TempDir(), "new"))
		if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
		cut := tt.b[:len(tt.b)-1]
		if err := unpackBytes(t, cut, tt.keys, filepath.Join(t.TempDir(), "new")); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut, with such a key: %v", err)
		}
	}
}

// TestCheckKeys: whether keys open what will be written is known before there is any.
func TestCheckKeys(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	to := Encryption{Recipients: []string{newIdentity(t).Recipient().String(), id.Recipient().String()}}
	for _, tt := range []struct {
		e    Encryption
		keys Keys
		want error
	}{
		{to, Keys{Identities: []age.Identity{other, id}}, nil},
		{to, Keys{}, nil},
		{Encryption{Plain: true}, Keys{Identities: []age.Identity{other}}, nil},
		{to, Keys{Identities: []age.Identity{other}}, ErrKey},
		{to, Keys{Passphrase: "x"}, ErrKey},
		{Encryption{}, Keys{}, ErrInvalid},
	} {
		if err := tt.e.CheckKeys(tt.keys); !errors.Is(err, tt.want) {
			t.Errorf("CheckKeys = %v, want %v", err, tt.want)
		}
	}
}

// crafted is an object whose header and digests are right, with any archive: as somebody with malice makes it.
func crafted(t *testing.T, files []File, archive []byte) []byte {
	t.Helper()
	var payload bytes.Buffer
	z, _ := zstd.NewWriter(&payload)
	z.Write(archive)
	z.Close()
	m := fullManifest()
	m.Encryption, m.Files = None, files
	m.Payload = digestOf(payload.Bytes())
	h, err := encodeHeader(objectFormat, m)
	if err != nil {
		t.Fatal(err)
	}
	return append(h, payload.Bytes()...)
}

func digestOf(b []byte) Digest {
	var all bytes.Buffer
	files, _ := writeTar(context.Background(), &all, []Input{{"x", bytes.NewReader(b)}})
	return files[0].Digest
}

// TestObjectCrafted: an archive is unpacked only if it is the one of the manifest, and a manifest only has harmless names.
func TestObjectCrafted(t *testing.T) {
	content := []byte("content")
	tarOf := func(h tar.Header, content []byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size, h.Mode = int64(len(content)), 0o600
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(content)
		w.Close()
		return b.Bytes()
	}
	file := func(name string, content []byte) File { return File{name, digestOf(content)} }
	one := []File{file("a", content)}
	named := func(names ...string) []byte { // an archive that fits its manifest
		var in []Input
		for _, name := range names {
			in = append(in, Input{name, bytes.NewReader(content)})
		}
		var archive bytes.Buffer
		files := must1(writeTar(t.Context(), &archive, in))(t)
		return crafted(t, files, archive.Bytes())
	}
	good := tarOf(tar.Header{Typeflag: tar.TypeReg, Name: "a", ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}, content)
	if err := unpackBytes(t, crafted(t, one, good), Keys{}, filepath.Join(t.TempDir(), "new")); err != nil {
		t.Fatalf("an ordinary archive: %v", err) // else the rows below prove nothing
	}
	bomb := tarOf(tar.Header{Typeflag: tar.TypeReg, Name: "a", ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}, make([]byte, 64<<20))
	for name, b := range map[string][]byte{
		"another name":        crafted(t, one, tarOf(tar.Header{Typeflag: tar.TypeReg, Name: "b", ModTime: time.Unix(0, 0)}, content)),
		"a path for a name":   crafted(t, one, tarOf(tar.Header{Typeflag: tar.TypeReg, Name: "../a", ModTime: time.Unix(0, 0)}, content)),
		"a link":              crafted(t, []File{file("a", nil)}, tarOf(tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc/passwd", ModTime: time.Unix(0, 0)}, nil)),
		"another content":     crafted(t, one, bytes.Replace(good, content, []byte("CONTENT"), 1)),
		"more files":          crafted(t, one, slices.Concat(good[:1024], good)),
		"fewer files":         crafted(t, append(slices.Clone(one), file("b", nil)), good),
		"more behind the end": crafted(t, one, append(slices.Clone(good), 0)),
		"no end":              crafted(t, one, good[:len(good)-512]),
		"a bomb":              crafted(t, one, bomb),
		"a name with a path":  named("../a"),
		"a path":              named("a/b"),
		"an absolute name":    named("/a"),
		"a name twice":        named("a", "a"),
		"a hidden name":       named(".a"),
		"no files":            crafted(t, nil, good),
		"a size below zero":   crafted(t, []File{{"a", Digest{-1, one[0].SHA256}}}, good),
	} {
		parent := t.TempDir()
		if err := unpackBytes(t, b, Keys{}, filepath.Join(parent, "new")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		mustBeEmpty(t, parent)
	}
}

// TestUnpackLeavesAlone: what is there stays; what a process left that died is removed; of two at once, one does it.
func TestUnpackLeavesAlone(t *testing.T) {
	b := bytesOf(t, create(t, fullManifest(), Encryption{Plain: true}, inputs("x")...))
	parent := t.TempDir()
	dir := filepath.Join(parent, "data")
	if err := os.MkdirAll(filepath.Join(dir, "kept"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unpackBytes(t, b, Keys{}, dir); !errors.Is(err, ErrExists) {
		t.Errorf("into a directory with something in it: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept")); err != nil {
		t.Error(err)
	}
	left := filepath.Join(parent, ".new.unpacking")
	if err := os.MkdirAll(filepath.Join(left, "deep", "er"), 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(left)
	if err != nil {
		t.Fatal(err)
	}
	if mine, err := lock(held, left, os.Lstat); !mine || err != nil {
		t.Fatal(mine, err)
	}
	dir = filepath.Join(parent, "new")
	if err := unpackBytes(t, b, Keys{}, dir); !errors.Is(err, ErrExists) {
		t.Errorf("while another does it: %v", err)
	}
	held.Close()
	if err := unpackBytes(t, b, Keys{}, dir); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != "file0.db" {
		t.Errorf("unpacked %v", entries)
	}
}

// TestCreateRefuses: nothing is made of what no reader would take.
func TestCreateRefuses(t *testing.T) {
	plain := Encryption{Plain: true}
	for name, tt := range map[string]struct {
		change func(*Manifest)
		enc    Encryption
		in     []Input
	}{
		"no encryption said": {func(*Manifest) {}, Encryption{}, inputs("x")},
		"two encryptions":    {func(*Manifest) {}, Encryption{Plain: true, Passphrase: "x"}, inputs("x")},
		"a private key":      {func(*Manifest) {}, Encryption{Recipients: []string{newIdentity(t).String()}}, inputs("x")},
		"no files":           {func(*Manifest) {}, plain, nil},
		"a path":             {func(*Manifest) {}, plain, []Input{{"a/b", strings.NewReader("")}}},
		"a name twice":       {func(*Manifest) {}, plain, append(inputs("x"), inputs("x")...)},
		"no kind":            {func(m *Manifest) { m.Kind = "" }, plain, inputs("x")},
		"no id":              {func(m *Manifest) { m.ID = "" }, plain, inputs("x")},
		"installation":       {func(m *Manifest) { m.Installation = "../x" }, plain, inputs("x")},
		"no time":            {func(m *Manifest) { m.Time = time.Time{} }, plain, inputs("x")},
		"time with a zone":   {func(m *Manifest) { m.Time = atNoon.In(time.FixedZone("", 60)) }, plain, inputs("x")},
		"time too exact":     {func(m *Manifest) { m.Time = atNoon.Add(1) }, plain, inputs("x")},
		"full from 1":        {func(m *Manifest) { m.From = 1 }, plain, inputs("x")},
		"log of nothing":     {func(m *Manifest) { *m = logManifest(5, 5) }, plain, inputs("x")},
		"log without times":  {func(m *Manifest) { *m = logManifest(4, 5); m.FirstTime = time.Time{} }, plain, inputs("x")},
		"position too large": {func(m *Manifest) { m.To = 1 << 53 }, plain, inputs("x")},
		"negative records":   {func(m *Manifest) { m.Records = map[string]int64{"x": -1} }, plain, inputs("x")},
		"quota not JSON":     {func(m *Manifest) { m.Quota = jsontext.Value("{") }, plain, inputs("x")},
		"number too large":   {func(m *Manifest) { m.Quota = jsontext.Value("9007199254740993") }, plain, inputs("x")},
		"workspace unnamed":  {func(m *Manifest) { m.Kind, m.From = Workspace, 0 }, plain, inputs("x")},
	} {
		m := fullManifest()
		tt.change(&m)
		dir := t.TempDir()
		o, err := Create(t.Context(), dir, m, tt.in, tt.enc)
		if err == nil {
			o.Close()
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: the error shows a private key: %v", name, err)
		}
		if name != "quota not JSON" && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		mustBeEmpty(t, dir)
	}
}

// TestNewer: what a newer program wrote is refused as that, not as damage.
func TestNewer(t *testing.T) {
	b := bytesOf(t, create(t, fullManifest(), Encryption{Plain: true}, inputs("x")...))
	if _, err := Open(bytes.NewReader(b), 1); !errors.Is(err, ErrNewer) {
		t.Errorf("schema 2 for a program with schema 1: %v", err)
	}
	for _, tt := range []struct {
		line string
		want error
	}{
		{"tuco backup v2\n", ErrNewer}, {"tuco backup v10\n", ErrNewer}, {"tuco backup v01\n", ErrDamaged}, {"tuco backup v0\n", ErrDamaged},
		{"tuco backup v+1\n", ErrDamaged}, {"tuco backup v\n", ErrDamaged}, {"PK\x03\x04\n", ErrDamaged}, {"", ErrDamaged},
	} {
		if _, err := Open(strings.NewReader(tt.line), 2); !errors.Is(err, tt.want) {
			t.Errorf("first line %q: %v, want %v", tt.line, err, tt.want)
		}
	}
}

// TestHeaderGolden: the header of version 1 stays what it is.
func TestHeaderGolden(t *testing.T) {
	m := logManifest(7, 9)
	m.Files, m.Payload, m.Encryption, m.Recipients = []File{{"a", digestOf(nil)}}, digestOf([]byte("x")), Recipients, []string{"age1x"}
	got, err := encodeHeader(objectFormat, m)
	if err != nil {
		t.Fatal(err)
	}
	want := `tuco backup v1
{"checkpoint":"tuco/x\n3\n","encryption":"recipients","epoch":1,"files":[{"name":"a","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}],"firstTime":"2026-04-12T11:59:59.123Z","from":7,"id":"b1","installation":"0123456789abcdef","kind":"log","lastTime":"2026-04-12T11:59:59.123Z","payload":{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1},"product":"1.2.3","quota":{"a":[1],"z":1},"recipients":["age1x"],"records":{"leads":3,"messages":4},"schema":2,"time":"2026-04-12T12:00:00.123Z","to":9}
`
	if lines := string(got[:len(got)-65]); lines != want {
		t.Errorf("got %s\nwant %s", lines, want)
	}
}

// TestCreateStops: a canceled context ends the work, and nothing is left.
func TestCreateStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := Create(ctx, dir, fullManifest(), inputs("x"), Encryption{Plain: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	mustBeEmpty(t, dir)
	r, err := Open(bytes.NewReader(bytesOf(t, create(t, fullManifest(), Encryption{Plain: true}, inputs("x")...))), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Unpack(ctx, Keys{}, filepath.Join(dir, "new")); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack: %v", err)
	}
	mustBeEmpty(t, dir)
}
