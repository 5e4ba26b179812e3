//go:build unix

package clock

import (
	"os"
	"syscall"
)

// lock keeps other processes, and other Clocks of this one, from changing the
// clock file at path until unlock is called. The lock file beside it stays; the
// kernel frees the lock when its holder dies. It is held for one small write,
// which is what bounds the wait.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close() // The first error is the one to tell.
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return func() { _ = f.Close() }, nil // Closing frees the lock.
}
