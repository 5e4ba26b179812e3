package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file without an end, such as a device named by mistake, is read up to the bound.
func TestReadFile_IsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 40); err != nil { // Sparse: it takes no room.
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := readFile(path, 10); err != nil || len(got) != 10 {
		t.Errorf("readFile = %d bytes, %v, want 10", len(got), err)
	}
	if got, err := readCertificateFile(path); exitStatus(err) != exitUsage {
		t.Errorf("readCertificateFile of a large file = %d bytes, %v, want wrong use", len(got), err)
	}
	if got, err := (&scheduleFlags{freezes: []string{path}}).schedule(); exitStatus(err) != exitUsage {
		t.Errorf("a large calendar gives %v, %v, want wrong use", got, err)
	}
	if _, err := readTargets(path, "csv"); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("readTargets of a large file = %v, want that it says how large it may be", err)
	}
	for _, format := range []string{"csv", "json", "txt"} {
		if got, err := readTargets(path, format); exitStatus(err) != exitUsage {
			t.Errorf("readTargets of a large %s file = %d rows, %v, want wrong use", format, len(got), err)
		}
	}
}
