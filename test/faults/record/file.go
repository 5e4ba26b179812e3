package record

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// maxLine bounds one line of a run's files, in bytes.
const maxLine = 16 << 20

// Log writes the lines of one file. It is safe for concurrent use; each line
// reaches the file before Add returns, so that a run that is killed can be read.
type Log[T any] struct {
	mu sync.Mutex
	f  *os.File
}

// Create makes the file name in dir, over one that is there.
func Create[T any](dir, name string) (*Log[T], error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log[T]{f: f}, nil
}

// Add appends a line for each of v.
func (l *Log[T]) Add(v ...T) error {
	var lines []byte
	for _, v := range v {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing %s: %w", l.f.Name(), err)
		}
		lines = append(append(lines, b...), '\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.f.Write(lines)
	return err
}

// Close closes the file.
func (l *Log[T]) Close() error { return l.f.Close() }

// Lines reads the file name in dir. A line that is no T is an error that says
// which; a file that is not there is one too.
func Lines[T any](dir, name string) ([]T, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var out []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		out = append(out, v)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return out, nil
}

// Save writes v as the whole file name in dir.
func Save(dir, name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o600)
}

// Load reads the whole file name in dir into v.
func Load(dir, name string, v any) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
