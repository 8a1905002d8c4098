package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestOpen: several addresses are one listener, which ends with all of them.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Open([]string{"127.0.0.1:0", "127.0.0.1:0", "unix:" + path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), os.ModeSocket|os.FileMode(SocketMode); got != want {
		t.Errorf("the socket's mode is %v, want %v", got, want)
	}
	var taken sync.WaitGroup
	taken.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(c, c.LocalAddr())
			c.Close()
		}
	})
	for _, address := range ln.Addresses() {
		network := "tcp"
		text, unix := strings.CutPrefix(address, UnixPrefix)
		if unix {
			network = "unix"
		}
		c, err := net.Dial(network, text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != text {
			t.Errorf("%s answers %q, %v", address, got, err)
		}
		c.Close()
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	taken.Wait()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its end it says %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestCloseLosesNothing: a connection that was taken before the end is handed out.
func TestCloseLosesNothing(t *testing.T) {
	for range 50 {
		ln, err := Open([]string{"127.0.0.1:0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error, 1)
		var all sync.WaitGroup
		all.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				select {
				case first <- nil:
				default:
				}
				io.WriteString(c, "x") //nolint:errcheck // who waits for it tells
				c.Close()
			}
		})
		var lost, got int
		var mu sync.Mutex
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				for {
					c, err := net.Dial("tcp", ln.Addr().String())
					if err != nil {
						return // it is closed
					}
					text, err := io.ReadAll(c)
					c.Close()
					mu.Lock()
					if len(text) == 1 {
						got++
					} else if !errors.Is(err, syscall.ECONNRESET) { // the kernel's, never taken
						lost++
					}
					mu.Unlock()
				}
			})
		}
		<-first
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		clients.Wait()
		if lost > 0 {
			t.Fatalf("%d connections were taken and dropped, %d answered", lost, got)
		}
	}
}

// lateListener takes a connection just when it is closed.
type lateListener struct {
	net.Listener
	conn   net.Conn
	closed chan struct{}
}

func (l *lateListener) Accept() (net.Conn, error) {
	<-l.closed
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *lateListener) Close() error { close(l.closed); return nil }

// TestCloseWaits: the end is not reached while a connection that was taken is not handed out.
func TestCloseWaits(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	late := &lateListener{conn: ours, closed: make(chan struct{})}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := merge([]net.Listener{late, other})
	go func() { // so that it takes
		c, err := net.Dial("tcp", other.Addr().String())
		if err == nil {
			c.Close()
		}
	}()
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	ended := make(chan error, 1)
	go func() { ended <- ln.Close() }()
	<-late.closed
	for range 10_000 {
		runtime.Gosched()
		select {
		case <-ended:
			t.Fatal("it ended, and a connection that was taken is not handed out")
		default:
		}
	}
	if c, err := ln.Accept(); err != nil || c != ours {
		t.Errorf("handed out: %v, %v", c, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCloseUnused: a start that failed closes what nobody accepted from.
func TestCloseUnused(t *testing.T) {
	ln, err := Open([]string{"127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ln.Close(), ln.Close()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("somebody listens: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	used, err := net.Listen("unix", filepath.Join(dir, "used"))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	for _, tt := range []struct{ what, address, want string }{
		{"a port that is no number", "127.0.0.1:x", "unknown port"},
		{"a file", "unix:" + file, "is no socket"},
		{"a socket that is used", "unix:" + used.Addr().String(), "address already in use"},
		{"a directory that is missing", "unix:" + dir + "/none/s", "no such file"},
		{"a long path", "unix:/" + strings.Repeat("x", 200), "at most 107 bytes"},
		{"no path", "unix:", "unix: must be followed by a path"},
	} {
		// The first address works: it must be closed again.
		ln, err := Open([]string{"unix:" + filepath.Join(dir, "first"), tt.address}, nil)
		if err == nil {
			ln.Close()
			t.Errorf("%s: %s is taken", tt.what, tt.address)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "choose another with --listen") {
			t.Errorf("%s: %v", tt.what, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "first")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the first socket is left: %v", tt.what, err)
		}
	}
	if _, err := Open(nil, nil); err == nil {
		t.Error("no address is taken")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// TestStaleSocket: one that a process left behind is replaced.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	ln, err := Open([]string{"unix:" + path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

// TestTooManyFiles: when the process has no file left, connections wait, and the listener goes on.
func TestTooManyFiles(t *testing.T) {
	full := new(fullListener)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full.Listener = inner
	ln := merge([]net.Listener{full})
	defer ln.Close()
	go func() {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err == nil {
			c.Close()
		}
	}()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if full.refused != 3 {
		t.Errorf("%d refusals were met", full.refused)
	}
}

// fullListener has no file left three times.
type fullListener struct {
	net.Listener
	refused int
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.refused < 3 {
		l.refused++
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}
