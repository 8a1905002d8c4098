// Package listen opens what a server is reached at: TCP addresses, unix sockets, and sockets that systemd hands over; and
// TLS on those of TCP, with certificates from files or by ACME. It knows no HTTP beyond one answer.
package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// UnixPrefix begins the address of a unix socket: unix:/run/tuco/http.sock.
const UnixPrefix = "unix:"

// SocketMode is the mode of a unix socket that is made: for its owner and group.
const SocketMode = 0o660

// Open listens on every address. Sockets that systemd handed over come in place of them: they stay open while no server
// runs, so that a restart refuses nobody. With a config, what comes over TCP is TLS; unix sockets are for a proxy on the
// same machine, and plain. Open is to be called once in a process, since it takes what was handed over.
func Open(addresses []string, config *tls.Config) (*Listener, error) {
	all, err := inherited()
	if len(all) == 0 && err == nil {
		all, err = openAll(addresses)
	}
	if err != nil {
		return nil, err
	}
	for i, ln := range all {
		if config != nil && ln.Addr().Network() == "tcp" {
			all[i] = tlsListener{ln, config}
		}
	}
	return merge(all), nil
}

func closeAll(all []net.Listener) (err error) {
	for _, ln := range all {
		err = errors.Join(err, ln.Close())
	}
	return err
}

func openAll(addresses []string) (all []net.Listener, err error) {
	for _, address := range addresses {
		ln, err := open(address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening on %s: %w; choose another with --listen", address, err), closeAll(all))
		}
		all = append(all, ln)
	}
	if len(all) == 0 {
		return nil, errors.New("there is nothing to listen on; name an address with --listen")
	}
	return all, nil
}

func open(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, UnixPrefix); ok {
		return openUnix(path)
	}
	return net.Listen("tcp", address)
}

// inherited are the sockets that systemd, or whoever speaks like it, handed over; none usually.
func inherited() (all []net.Listener, err error) {
	for i, file := range activation.Files(true) {
		ln, failed := net.FileListener(file)
		file.Close()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("socket %d that was handed over can't be listened on: %w", i+1, failed))
			continue
		}
		all = append(all, ln)
	}
	if err != nil {
		return nil, errors.Join(err, closeAll(all))
	}
	return all, nil
}

// openUnix makes a unix socket. One that is left over from a process that died is removed.
func openUnix(path string) (net.Listener, error) {
	if path == "" {
		return nil, fmt.Errorf("%s must be followed by a path", UnixPrefix)
	}
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return nil, fmt.Errorf("the path of a socket has at most %d bytes", most)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, SocketMode); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("it is there, and is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(syscall.EADDRINUSE, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
