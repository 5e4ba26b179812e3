package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Memory is what a process holds, in bytes.
type Memory struct {
	Resident int64 // now
	Peak     int64 // at most so far
}

// ReadMemory asks the kernel about a process. Only Linux can tell.
func ReadMemory(pid int) (Memory, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	defer f.Close() //nolint:errcheck // It was only read.
	var m Memory
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			m.Resident = kib << 10
		case name == "VmHWM":
			m.Peak = kib << 10
		}
	}
	return m, nil
}

// DiskUse returns the bytes of all files beneath dir. Files that go while it
// counts are not counted.
func DiskUse(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var i fs.FileInfo
			if i, err = e.Info(); err == nil {
				sum += i.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("adding up %s: %w", dir, err)
	}
	return sum, nil
}

// tick is the unit in which Linux tells processor time, on all that Go runs on.
const tick = 10 * time.Millisecond

// ReadProcessor returns how much processor time a process has taken so far, in
// steps of 10 ms; 0 is this process. Only Linux can tell.
func ReadProcessor(pid int) (time.Duration, error) {
	who := strconv.Itoa(pid)
	if pid == 0 {
		who = "self"
	}
	b, err := os.ReadFile("/proc/" + who + "/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of process %s: %w", who, err)
	}
	// The second field is the name, in brackets, and may hold anything.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the processor time of process %s: %d fields", who, len(fields))
	}
	sum := int64(0)
	for _, f := range fields[11:13] { // utime and stime, fields 14 and 15 of proc(5)
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of process %s: %w", who, err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}
