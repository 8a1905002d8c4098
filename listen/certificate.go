package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Certificates are what TLS is served with. Their methods may be called by several goroutines.
type Certificates interface {
	// Config is how TLS is spoken: 1.2 or newer, with Go's defaults.
	Config() *tls.Config
	// Refresh takes a newer certificate if there is one, and tells whether it tried. It may take minutes. Now is given
	// when the operator asked for it: then nothing is waited for. What can't be used is an error, told once; what was
	// used before goes on.
	Refresh(now bool) (tried bool, err error)
	// Leaf is the certificate that expires first, nil if there is none yet.
	Leaf() *x509.Certificate
}

// ExpiresSoon tells whether somebody must look after a certificate: within 21 days of its end, or the last quarter of its
// time if that is less, so that certificates that live for days only don't always warn.
func ExpiresSoon(leaf *x509.Certificate, now time.Time) bool {
	const soon = 21 * 24 * time.Hour
	return leaf.NotAfter.Sub(now) < min(soon, leaf.NotAfter.Sub(leaf.NotBefore)/4)
}

// Files are a certificate with its chain, and its key, in PEM files.
type Files struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]

	mu         sync.Mutex // guards these
	used, seen [2]stamp   // of the files that were last tried, and last looked at
}

// A stamp tells two states of a file apart.
type stamp struct {
	size     int64
	inode    uint64
	modified time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = stat.Ino
	}
	return s
}

// LoadFiles reads the files. They must fit together; an expired certificate is taken, so that a server can start.
func LoadFiles(cert, key string) (*Files, error) {
	f := &Files{cert: cert, key: key}
	var err error
	if f.used, err = f.stamps(); err != nil {
		return nil, err
	}
	pair, err := f.load()
	if err != nil {
		return nil, err
	}
	f.current.Store(pair)
	return f, nil
}

func (f *Files) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading the TLS certificate %q with the key %q: %w", f.cert, f.key, err)
	}
	return &pair, nil
}

func (f *Files) stamps() (s [2]stamp, err error) {
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return s, fmt.Errorf("reading the TLS certificate: %w", err)
		}
		s[i] = stampOf(info)
	}
	return s, nil
}

// Config implements [Certificates].
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.current.Load(), nil
		},
	}
}

// Refresh implements [Certificates]. Files that change are left to rest until the next look: two files are seldom
// replaced in the same moment.
func (f *Files) Refresh(now bool) (tried bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := f.stamps() // a file that is missing has a stamp, too
	if !now && (found == f.used || found != f.seen) {
		f.seen = found
		return false, nil
	}
	f.used, f.seen = found, found
	if err != nil {
		return true, err
	}
	pair, err := f.load()
	if err != nil {
		return true, err
	}
	if pair.Leaf.NotAfter.Before(f.current.Load().Leaf.NotAfter) && time.Now().After(pair.Leaf.NotAfter) {
		return true, fmt.Errorf("the TLS certificate in %q has expired", f.cert)
	}
	f.current.Store(pair)
	return true, nil
}

// Leaf implements [Certificates].
func (f *Files) Leaf() *x509.Certificate { return f.current.Load().Leaf }
