//go:build !unix

package jet

import (
	"fmt"
	"os"
)

// lockDir makes the directory. Where there is no flock it is up to the operator
// to run one server on it.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the store's directory: %w", err)
	}
	return func() {}, nil
}
