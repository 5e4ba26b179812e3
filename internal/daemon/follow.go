package daemon

import (
	"fmt"
	"io/fs"
	"os"
)

// followed are files that may be replaced while the process runs.
type followed struct {
	paths []string
	seen  []fs.FileInfo // as they were when they were last taken
}

// look returns what the files are now, and whether that is other than what was taken
// last.
func (f *followed) look() (infos []fs.FileInfo, changed bool, err error) {
	changed = len(f.seen) != len(f.paths)
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, false, fmt.Errorf("looking at %s: %w", path, err)
		}
		infos = append(infos, info)
		changed = changed || !os.SameFile(info, f.seen[i]) || !info.ModTime().Equal(f.seen[i].ModTime()) || info.Size() != f.seen[i].Size()
	}
	return infos, changed, nil
}
