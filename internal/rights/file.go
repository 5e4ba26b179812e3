package rights

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the file is looked at, at most. A look is made at a call, so
// nothing runs while nobody calls.
const lookEvery = 5 * time.Second

// File is a table in a file that may change. Make it with [Open].
type File struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu     sync.Mutex // guards all below
	table  *Table
	seen   fs.FileInfo
	looked time.Time
	err    error // of the last look; nil: the file is the table
}

// Open reads a table from a file. A change of the file holds for calls that come five
// seconds later. If what it then holds is no table, the one in use stays, and the log
// is told once.
func Open(path string, now func() time.Time, log *slog.Logger) (*File, error) {
	f := &File{path: path, now: now, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	f.looked = now()
	return f, nil
}

// Table returns the grants as they are now.
func (f *File) Table() *Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if since := now.Sub(f.looked); since >= 0 && since < lookEvery {
		return f.table
	}
	f.looked = now
	err := f.load()
	switch {
	case err != nil && (f.err == nil || f.err.Error() != err.Error()):
		f.log.Error("the rights cannot be read; those of before stay", "err", err)
	case err == nil && f.err != nil:
		f.log.Info("the rights can be read again")
	}
	f.err = err
	return f.table
}

// Problem returns what is wrong with the file now, nil where it is the table in use.
func (f *File) Problem() error {
	f.Table() // Nobody may have called for a while.
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// load reads the file if it is not the one that was read last.
func (f *File) load() error {
	in, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("opening the rights: %w", err)
	}
	defer func() { _ = in.Close() }() // Opened for reading only.
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("looking at the rights %s: %w", f.path, err)
	}
	if f.err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return fmt.Errorf("reading the rights %s: %w", f.path, err)
	}
	t, err := Parse(b)
	if err != nil {
		return fmt.Errorf("reading the rights %s: %w", f.path, err)
	}
	if f.table != nil {
		f.log.Info("the rights have changed", "grants", len(t.grants))
	}
	f.table, f.seen = t, info
	return nil
}
