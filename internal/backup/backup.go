// Package backup keeps copies of the store in a folder: a file for each stream and
// a manifest that says what they are. A folder that is not whole is never taken
// for a back-up.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The names in a back-up's folder, and the form that this program writes.
const (
	manifestName = "manifest.json"
	fileSuffix   = ".s2"
	partial      = ".partial" // what a folder's name ends in while it is written
	format       = 1
	maxManifest  = 4 << 20
)

// ErrDamaged says that a folder is no back-up, or not all of one, or was changed.
var ErrDamaged = errors.New("the back-up is damaged")

// Manifest says what a back-up has.
type Manifest struct {
	Format  int       `json:"format"`
	MadeAt  time.Time `json:"made_at"`
	Records int       `json:"records"` // the latest version of records that the program knew that made it
	Streams []Stream  `json:"streams"`
	// Digest is the SHA-256, in lower-case hex, of the manifest without it.
	Digest string `json:"digest,omitempty"`
}

// Stream is the file of one stream.
type Stream struct {
	jet.Cut
	File   string `json:"file"`
	Size   int64  `json:"size"`   // of the file, in bytes
	SHA256 string `json:"sha256"` // of the file, in lower-case hex
}

// digest returns what Digest must be.
func (m Manifest) digest() (string, error) {
	m.Digest = ""
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding the manifest: %w", err)
	}
	var compact bytes.Buffer // A stream's configuration is kept as it was read.
	if err := json.Compact(&compact, b); err != nil {
		return "", fmt.Errorf("encoding the manifest: %w", err)
	}
	sum := sha256.Sum256(compact.Bytes())
	return hex.EncodeToString(sum[:]), nil
}

// Source is what is backed up.
type Source interface {
	Backup(ctx context.Context, create func(stream string) (io.WriteCloser, error)) ([]jet.Cut, error)
}

// Write makes a back-up in the new folder dir and returns its manifest. Until it
// is whole, read again and on the disk, the folder has another name.
func Write(ctx context.Context, dir string, from Source, now time.Time) (m Manifest, err error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return m, fmt.Errorf("%s is there already; name a new folder", dir)
	}
	work := dir + partial
	if err := os.Mkdir(work, 0o700); err != nil {
		return m, fmt.Errorf("making the folder, which another back-up may be writing to: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	files := map[string]*counted{}
	cuts, err := from.Backup(ctx, func(stream string) (io.WriteCloser, error) {
		f, err := os.OpenFile(filepath.Join(work, stream+fileSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making the file of stream %s: %w", stream, err)
		}
		files[stream] = &counted{f: f, hash: sha256.New()}
		return files[stream], nil
	})
	if err != nil {
		return m, err
	}
	m = Manifest{Format: format, MadeAt: now.UTC(), Records: rollover.LatestVersion}
	for _, c := range cuts {
		f := files[c.Stream]
		m.Streams = append(m.Streams, Stream{Cut: c, File: c.Stream + fileSuffix, Size: f.size, SHA256: hex.EncodeToString(f.hash.Sum(nil))})
	}
	if err := m.write(work); err != nil {
		return m, err
	}
	if _, err := Check(work); err != nil { // What the disk has, not what we meant.
		return m, err
	}
	if err := os.Rename(work, dir); err != nil {
		return m, fmt.Errorf("giving the back-up its name: %w", err)
	}
	return m, syncDir(filepath.Dir(dir))
}

// write puts the manifest into a folder.
func (m *Manifest) write(dir string) (err error) {
	if m.Digest, err = m.digest(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the manifest: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, manifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making the manifest: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return syncDir(dir)
}

// counted is a file whose bytes are counted and hashed on their way.
type counted struct {
	f    *os.File
	hash hash.Hash
	size int64
}

// Write writes p.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.f.Write(p)
	c.size += int64(n)
	_, _ = c.hash.Write(p[:n]) // A hash never fails to write.
	return n, err
}

// Close closes the file once it is on the disk.
func (c *counted) Close() error { return errors.Join(c.f.Sync(), c.f.Close()) }

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// Check reads a back-up to its last byte and returns its manifest, or an error that
// is [ErrDamaged] and says what is wrong.
func Check(dir string) (Manifest, error) {
	m, err := read(dir)
	if err != nil {
		return m, err
	}
	known := map[string]bool{manifestName: true}
	for _, s := range m.Streams {
		known[s.File] = true
		if err := s.check(dir); err != nil {
			return m, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return m, fmt.Errorf("reading the back-up: %w", err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			return m, fmt.Errorf("%w: %s is not in its manifest", ErrDamaged, e.Name())
		}
	}
	return m, nil
}

// read reads the manifest of a back-up.
func read(dir string) (Manifest, error) {
	var m Manifest
	if strings.HasSuffix(filepath.Clean(dir), partial) {
		if _, err := os.Stat(filepath.Join(dir, manifestName)); err != nil {
			return m, fmt.Errorf("%w: %s was not written to its end", ErrDamaged, dir)
		}
	}
	f, err := os.Open(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%w: %s has no %s", ErrDamaged, dir, manifestName)
	}
	if err != nil {
		return m, fmt.Errorf("opening the manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return m, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: its manifest is no JSON", ErrDamaged)
	}
	if m.Format != format {
		return m, fmt.Errorf("the back-up has format %d, this program knows %d; use the program that made it, or a newer one", m.Format, format)
	}
	want, err := m.digest()
	if err != nil {
		return m, err
	}
	if m.Digest != want {
		return m, fmt.Errorf("%w: its manifest was changed", ErrDamaged)
	}
	if m.Records > rollover.LatestVersion {
		return m, fmt.Errorf("the back-up was made by a newer program, whose records may have version %d; this one knows %d. Use that one", m.Records, rollover.LatestVersion)
	}
	if len(m.Streams) == 0 {
		return m, fmt.Errorf("%w: there is no stream in it", ErrDamaged)
	}
	return m, nil
}

// check reads a stream's file.
func (s Stream) check(dir string) error {
	if s.File != s.Stream+fileSuffix || filepath.Base(s.File) != s.File {
		return fmt.Errorf("%w: the file of stream %s is called %q", ErrDamaged, s.Stream, s.File)
	}
	f, err := os.Open(filepath.Join(dir, s.File))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, s.File)
	}
	if err != nil {
		return fmt.Errorf("opening the back-up: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("reading the back-up: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != s.Size || got != s.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes with SHA-256 %s, want %d with %s", ErrDamaged, s.File, n, got, s.Size, s.SHA256)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the back-up: %w", err)
	}
	if err := s.Cut.Check(f); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// Restore checks a back-up to its last byte and puts it back into the store that c
// names. replace lets what the store has be taken away.
func Restore(ctx context.Context, dir string, c jet.Config, replace bool, now time.Time) (Manifest, error) {
	m, err := Check(dir)
	if err != nil {
		return m, err
	}
	r := jet.Restoring{Replace: replace, Now: now, Open: func(stream string) (io.ReadCloser, error) {
		f, err := os.Open(filepath.Join(dir, stream+fileSuffix))
		if err != nil {
			return nil, fmt.Errorf("opening the back-up: %w", err)
		}
		return f, nil
	}}
	for _, s := range m.Streams {
		r.Cuts = append(r.Cuts, s.Cut)
	}
	return m, jet.Restore(ctx, c, r)
}
