package outbound

import (
	"errors"
	"fmt"
	"io"
)

// ErrTooLarge says that an answer is longer than the reader was willing to read.
var ErrTooLarge = errors.New("answer is too large")

// LimitBody returns a reader of the first n bytes of r that fails with
// [ErrTooLarge] where r has more. Unlike [io.LimitReader] it never makes a long
// answer look like a short, whole one.
func LimitBody(r io.Reader, n int64) io.Reader {
	return &limited{r: r, left: max(n, 0), limit: max(n, 0)}
}

// ReadBody reads r to its end, or fails with [ErrTooLarge] where that is more
// than n bytes away.
func ReadBody(r io.Reader, n int64) ([]byte, error) { return io.ReadAll(LimitBody(r, n)) }

type limited struct {
	r           io.Reader
	left, limit int64
}

// Read reads one byte more than is allowed, to tell an end from too much.
func (l *limited) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if l.left < 0 {
		return 0, l.tooLarge()
	}
	if int64(len(p))-1 > l.left {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) <= l.left {
		l.left -= int64(n)
		return n, err
	}
	n = int(l.left)
	l.left = -1
	return n, l.tooLarge()
}

func (l *limited) tooLarge() error {
	return fmt.Errorf("reading more than %d bytes: %w", l.limit, ErrTooLarge)
}
