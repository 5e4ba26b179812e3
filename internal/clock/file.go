package clock

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// pollEvery is how often a shared clock looks at its file, at most.
const pollEvery = 50 * time.Millisecond

// maxFile bounds the size of a clock file, in bytes.
const maxFile = 4 << 10

// record is what stands in a clock file.
type record struct {
	Real    time.Time `json:"real"`           // the machine's time at which
	Virtual time.Time `json:"virtual"`        // the clock showed this,
	Rate    float64   `json:"rate"`           // and how many of its seconds pass in one of the machine's
	Skew    string    `json:"skew,omitempty"` // how wrong it is put, as "-5m0s"
}

// file is a clock file as one Clock sees it. The Clock's lock guards it.
type file struct {
	path   string
	looked time.Time   // when it was last looked at, by the machine's clock
	seen   fs.FileInfo // what it was when it was last read
}

// Create makes a clock that other processes can follow: it writes the file at
// path, over one that is there, and returns the clock. Errors name the path.
func Create(path string, start time.Time, rate float64) (*Clock, error) {
	if err := checkRate(rate); err != nil {
		return nil, err
	}
	unlock, err := lock(path)
	if err != nil {
		return nil, fmt.Errorf("locking clock file: %w", err)
	}
	err = write(path, line{real: time.Now(), virtual: start.UTC().Round(0), rate: rate})
	unlock()
	if err != nil {
		return nil, err
	}
	return Follow(path)
}

// Follow returns the clock whose file is at path. It follows every change of the
// file, and never goes backwards: a file that says an earlier time holds the
// clock until that time has come.
func Follow(path string) (*Clock, error) {
	f := &file{path: path}
	l, info, err := read(path)
	if err != nil {
		return nil, err
	}
	f.seen, f.looked = info, time.Now()
	return &Clock{file: f, line: l}, nil
}

// AdvanceFile pushes the shared clock at path forward by d, for every process
// that follows it. It refuses a negative d. Two calls at once both count.
func AdvanceFile(path string, d time.Duration) error {
	c, err := Follow(path)
	if err != nil {
		return err
	}
	return c.Advance(d)
}

// poll returns the line of the file if it changed since it was last read. A
// file that cannot be read has not changed; it is tried again next time.
func (f *file) poll() (line, bool) {
	now := time.Now()
	if now.Sub(f.looked) < pollEvery {
		return line{}, false
	}
	f.looked = now
	info, err := os.Stat(f.path)
	if err != nil || (os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size()) {
		return line{}, false
	}
	l, info, err := read(f.path)
	if err != nil {
		return line{}, false
	}
	f.seen = info
	return l, true
}

// change reads the file, moves its line to the present instant, lets g change it
// and writes it back, while no one else does the same.
func (f *file) change(g func(line) line) (line, error) {
	unlock, err := lock(f.path)
	if err != nil {
		return line{}, fmt.Errorf("locking clock file: %w", err)
	}
	defer unlock()
	l, _, err := read(f.path)
	if err != nil {
		return line{}, err
	}
	// The file holds the machine's wall time, so this process counts by it as well.
	l = g(l.move(time.Now().Round(0)))
	if err := write(f.path, l); err != nil {
		return line{}, err
	}
	return l, nil
}

// read returns the line in the file at path, and what the file was.
func read(path string) (line, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return line{}, nil, fmt.Errorf("opening clock file: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	info, err := f.Stat()
	if err != nil {
		return line{}, nil, fmt.Errorf("looking at clock file: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return line{}, nil, fmt.Errorf("reading clock file: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		// It may quote all of the file, twice.
		return line{}, nil, fmt.Errorf("reading clock file %s: %.200s", path, err)
	}
	if err := checkRate(r.Rate); err != nil {
		return line{}, nil, fmt.Errorf("reading clock file %s: %w", path, err)
	}
	if !r.Real.After(time.Time{}) || !r.Virtual.After(time.Time{}) {
		return line{}, nil, fmt.Errorf("reading clock file %s: it names no time", path)
	}
	skew := time.Duration(0)
	if r.Skew != "" {
		if skew, err = time.ParseDuration(r.Skew); err != nil {
			return line{}, nil, fmt.Errorf("reading clock file %s: skew: %.200s", path, err)
		}
	}
	return line{real: r.Real, virtual: r.Virtual.UTC(), rate: r.Rate, skew: skew}, info, nil
}

// write puts a new file in the place of the one at path in one move, so that a
// reader sees the old one or the new one and never a half.
func write(path string, l line) (err error) {
	r := record{Real: l.real.UTC().Round(0), Virtual: l.virtual.UTC().Round(0), Rate: l.rate}
	if l.skew != 0 {
		r.Skew = l.skew.String()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding clock file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing clock file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // The first error is the one to tell.
		}
	}()
	_, werr := tmp.Write(append(b, '\n'))
	// A temporary file is its owner's alone; the clock is for every process.
	merr := tmp.Chmod(0o644)
	cerr := tmp.Close()
	for _, e := range []error{werr, merr, cerr} {
		if e != nil {
			return fmt.Errorf("writing clock file: %w", e)
		}
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("placing clock file: %w", err)
	}
	return nil
}
