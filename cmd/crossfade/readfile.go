package main

import (
	"io"
	"os"
)

// The bounds of files that the command line reads whole.
const (
	maxFreeze      = 64 << 10 // bytes of a calendar, as of all calendars of a request together
	maxTargetsFile = 64 << 20 // bytes of a list of targets
)

// readFile returns the first n bytes of a file: what was named by mistake, a disk
// image or a device without end, is not read whole to be told that it is too long.
func readFile(path string, n int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	return io.ReadAll(io.LimitReader(f, n))
}
