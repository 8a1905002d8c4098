package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// clock looks whether the machine's clock is kept right, and whether it jumped.
func (d *doctor) clock() (found []finding) {
	var t unix.Timex
	const unsynchronised = 0x40 // STA_UNSYNC
	if state, err := unix.Adjtimex(&t); err == nil && (state == unix.TIME_ERROR || t.Status&unsynchronised != 0) {
		found = append(found, risky("the clock is not synchronised", "days and months of plans open by it, and audit entries carry its time",
			"run an NTP client, such as systemd-timesyncd or chrony")...)
	}
	if d.server != nil && d.server.ClockHeld {
		found = append(found, wrong("the clock jumped ahead", "no new day is opened until it is accepted", "check the time, then run 'tuco clock accept' or set the clock right")...)
	}
	return found
}

// disk compares the space that is left with what is kept in reserve.
func (d *doctor) disk() []finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(existing(d.data), &fs); err != nil {
		return nil
	}
	free, reserve := size(int64(fs.Bavail)*fs.Frsize), size(d.flags.Reserve)
	const why = "below the reserve every workspace is READ_ONLY"
	switch {
	case free <= reserve:
		return wrong(fmt.Sprintf("%v are free, and the reserve is %v", free, reserve), why, "free space, or move the data to a larger disk")
	case free < 4*reserve:
		return risky(fmt.Sprintf("%v are free, and the reserve is %v", free, reserve), why, "plan for a larger disk")
	case fs.Files > 0 && fs.Ffree < 1000:
		return risky(fmt.Sprintf("only %d more files can be made on the disk", fs.Ffree), "the redo log makes files all the time", "remove files, or move the data to another file system")
	}
	return nil
}

// existing is the directory, or the next one above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" || dir == "." {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// fileSystem looks what the data lies on.
func (d *doctor) fileSystem() (found []finding) {
	var fs unix.Statfs_t
	if err := unix.Statfs(existing(d.data), &fs); err != nil {
		return nil
	}
	const local = "use a local disk with ext4 or XFS"
	switch fs.Type {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.AFS_SUPER_MAGIC:
		found = wrong("the data directory is on a network file system", "locks and memory maps can't be relied on there", local)
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		found = wrong("the data directory is in memory", "everything is lost when the machine stops", local)
	case unix.OVERLAYFS_SUPER_MAGIC:
		found = risky("the data directory is in a container's own layer", "it is lost with the container", "put it on a volume")
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		found = append(found, wrong("the data directory is mounted read-only", "nothing can be written", "look for errors of the disk in the kernel's log, and mount it again")...)
	}
	return found
}

// kernel looks for kernels that lose what ext4 with fast_commit said it had written.
func (d *doctor) kernel() []finding {
	var fs unix.Statfs_t
	var name unix.Utsname
	if unix.Statfs(existing(d.data), &fs) != nil || fs.Type != unix.EXT4_SUPER_MAGIC || unix.Uname(&name) != nil {
		return nil
	}
	release := unix.ByteSliceToString(name.Release[:])
	if !losesFastCommits(release) {
		return nil
	}
	why := "kernels before 5.10.94, 5.15.27 and 5.17 can lose what ext4 with fast_commit said it had written"
	switch on, known := fastCommit(existing(d.data)); {
	case known && !on:
		return nil
	case known:
		return wrong("kernel "+release+" with ext4 and fast_commit", why, "update the kernel, or switch it off: tune2fs -O ^fast_commit")
	}
	return risky("kernel "+release+" with ext4, perhaps with fast_commit", why, "run 'tuco doctor' as root to know, or update the kernel")
}

// losesFastCommits tells whether a kernel has fast commits that are not safe. A release that can't be read is taken for good.
func losesFastCommits(release string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch); n < 2 || major != 5 {
		return false
	}
	return minor == 10 && patch < 94 || minor > 10 && minor < 15 || minor == 15 && patch < 27 || minor == 16
}

// fastCommit reads from the disk whether the ext4 file system of dir has the feature; only root may.
func fastCommit(dir string) (on, known bool) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return false, false
	}
	device, err := os.Open(fmt.Sprintf("/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return false, false
	}
	defer device.Close()
	var super [0x60]byte
	if _, err := device.ReadAt(super[:], 1024); err != nil || binary.LittleEndian.Uint16(super[0x38:]) != 0xEF53 {
		return false, false
	}
	const feature = 0x400 // EXT4_FEATURE_COMPAT_FAST_COMMIT
	return binary.LittleEndian.Uint32(super[0x5C:])&feature != 0, true
}

// openFiles compares the limit of open files with the connections that are to be taken.
func (d *doctor) openFiles() []finding {
	limit := uint64(0)
	if d.server != nil {
		limit = d.server.OpenFileLimit
	} else {
		var files unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
			return nil
		}
		limit = files.Cur
	}
	const others = 200 // the database, its log, connections to mail servers
	if want := uint64(max(0, d.flags.Concurrency)) + others; limit < want {
		return risky(fmt.Sprintf("at most %d files can be open, and --concurrency is %d", limit, d.flags.Concurrency),
			"further connections wait until others end", fmt.Sprintf("let the service manager allow %d (LimitNOFILE=), or lower --concurrency", want))
	}
	return nil
}

// memory compares what the server may use with what there is.
func (d *doctor) memory() []finding {
	pid := "self"
	limit := d.flags.Overlay + workingMemory
	if d.server != nil {
		pid, limit = strconv.Itoa(d.server.PID), d.server.MemoryLimit
	}
	have, where := memoryOf(pid)
	const wider = 128 << 20 // the program, stacks, and what the runtime needs to keep below its limit
	if have == 0 || limit+wider <= have {
		return nil
	}
	return risky(fmt.Sprintf("the server aims at %v of memory, and %s %v", size(limit), where, size(have)),
		"the kernel ends a process that uses more", "lower --overlay or GOMEMLIMIT, or allow more")
}

// memoryOf is how much memory a process can have, 0 if that can't be told.
func memoryOf(pid string) (bytes int64, where string) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		bytes, where = int64(info.Totalram)*int64(info.Unit), "the machine has"
	}
	text, _ := os.ReadFile("/proc/" + pid + "/cgroup")
	_, group, _ := strings.Cut(strings.TrimSpace(string(text)), "::")
	for ; group != "" && group != "."; group = filepath.Dir(group) {
		text, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max"))
		if most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && (bytes == 0 || most < bytes) {
			bytes, where = most, "its control group allows"
		}
		if group == "/" {
			break
		}
	}
	return bytes, where
}
