package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running process, by its id.
type process int

// peer is the process that listens on a socket.
func peer(path string) (process, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return 0, fmt.Errorf("looking for the server's process: %w", err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return process(cred.Pid), nil
}

// ticksPerSecond is the unit of the times in /proc, on every Linux that Go runs on.
const ticksPerSecond = 100

// cpu is the time that the process has used the processor for.
func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name before it may hold anything
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// Memory is what of a process lies in memory, in bytes.
type Memory struct {
	Anonymous int64 `json:"anonymousBytes"` // its own: heap and stacks
	File      int64 `json:"fileBytes"`      // of mapped files, which the kernel can take back at any time
}

func (p process) memory() (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // other lines hold no number
		switch name {
		case "RssAnon":
			m.Anonymous = kib << 10
		case "RssFile":
			m.File = kib << 10
		}
	}
	return m, nil
}

// watchMemory looks at the memory of the process until stop is called, which returns the most that it saw of each kind.
func (p process) watchMemory() (stop func() Memory) {
	var most Memory
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := p.memory(); err == nil {
				most.Anonymous, most.File = max(most.Anonymous, m.Anonymous), max(most.File, m.File)
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceValue(func() Memory {
		close(quit)
		<-ended
		return most
	})
}
