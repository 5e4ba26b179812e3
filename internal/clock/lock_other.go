//go:build !unix

package clock

// lock does nothing where the system has no flock: of two changes of one clock
// file at the same instant, one may be lost. A test there changes the clock from
// one process.
func lock(string) (unlock func(), err error) { return func() {}, nil }
