package keeper

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// gently runs fn where the kernel gives it only the processor time, and the turns at the disk, that requests leave.
func gently[T any](fn func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its priority with it
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioThread, uintptr(unix.Gettid()), ioprioLowest)
		v, err = fn()
	}()
	<-done
	return v, err
}

const (
	ioprioThread = 1         // IOPRIO_WHO_PROCESS, which is a thread
	ioprioLowest = 2<<13 | 7 // best effort, the last of it
)
