package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a server that the bench started: this program as a process of its own, so that its memory and its processor time
// are its own.
type child struct {
	cmd     *exec.Cmd
	host    string        // where it listens
	started time.Duration // from its start until it served
	ended   chan struct{}

	mu  sync.Mutex
	log []byte // the end of it
}

const keptLog = 4 << 10

// startChild starts this program with args, and waits until its log says that it serves.
func startChild(args ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	c.cmd.Args[0] = os.Args[0]
	// In a group of its own it gets no Ctrl-C; when the bench ends, however that happens, so does it.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, toLog, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	unix.FcntlInt(toLog.Fd(), unix.F_SETPIPE_SZ, logBytes) //nolint:errcheck // a small one serves, too
	c.cmd.Stderr = toLog
	began := time.Now()
	err = c.cmd.Start()
	toLog.Close() // what the child has of it is what keeps the pipe open
	if err != nil {
		log.Close()
		return nil, err
	}
	serving := make(chan string, 1)
	go c.follow(log, serving)
	select {
	case c.host = <-serving:
		c.started = time.Since(began)
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("'tuco %s' ended: %s", strings.Join(args, " "), c.lastWords())
	}
}

// The log may pile up a little before it is read, since waking for every line would take processor time from the server.
const (
	logPause = 5 * time.Millisecond
	logBytes = 1 << 20
)

// follow reads the log to its end, and finds in it where the server listens.
func (c *child) follow(log io.ReadCloser, serving chan<- string) {
	defer close(c.ended)
	defer c.cmd.Wait() //nolint:errcheck // its last words tell
	defer log.Close()
	buf := make([]byte, logBytes)
	for found := false; ; {
		n, err := log.Read(buf)
		c.keep(buf[:n])
		if host := servingAt(buf[:n]); !found && host != "" {
			found = true
			serving <- host
		}
		if err != nil {
			return
		}
		if found {
			time.Sleep(logPause)
		}
	}
}

// keep keeps the end of the log.
func (c *child) keep(log []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, log[max(0, len(log)-keptLog):]...)
	c.log = append(c.log[:0], c.log[max(0, len(c.log)-keptLog):]...)
}

// servingAt finds the address in what was logged, whose lines are whole; empty if it isn't in it.
func servingAt(log []byte) string {
	for line := range bytes.Lines(log) {
		var event struct{ Message, Address string }
		if json.Unmarshal(line, &event) == nil && event.Message == "serving" {
			return event.Address
		}
	}
	return ""
}

func (c *child) lastWords() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.TrimSpace(string(c.log))
}

func (c *child) process() process { return process(c.cmd.Process.Pid) }

// stop asks the process to end, and waits for that.
func (c *child) stop() error {
	select {
	case <-c.ended:
		return nil
	default:
	}
	c.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may just have ended
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server ended with code %d: %s", code, c.lastWords())
	}
	return nil
}

// crash ends the process as a power cut would, and waits for that.
func (c *child) crash() {
	c.cmd.Process.Kill() //nolint:errcheck // it may just have ended
	<-c.ended
}

// alive tells whether the process still runs; if not, the error says why.
func (c *child) alive() error {
	select {
	case <-c.ended:
		return fmt.Errorf("the server ended: %s", c.lastWords())
	default:
		return nil
	}
}
