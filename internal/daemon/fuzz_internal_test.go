package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad reads any file as a configuration: it is taken whole, and then it is valid
// by itself, or refused with where and what; what is told repeats no long piece of the
// file, for a secret may stand in the wrong place.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		"", "data: x\n", "nats:\n  url: nats://h:4222\n  replicas: 3\n", "a: &a [*a, *a]\n", "a: &a {b: *a}\n", "data: !!binary aGk=\n", "---\n---\n", "data: |\n  x\n", "nats: []\n", "- x\n", "data: {a: b}\n",
		"memory_limit: 99999999999999999999GiB\n", "memory_limit: -1MiB\n", "memory_limit: 1e9KiB\n", "data: \"\\x00\"\n", "\xff\xfe", "? [a]\n: b\n", "data: x\ndata: y\n", "? : :\n", ": x", "\t", "drift:\n  every: 1ns\n",
		"lol1: &l1 [l,l,l,l,l,l,l,l]\nlol2: &l2 [*l1,*l1,*l1,*l1,*l1,*l1]\nlol3: [*l2,*l2,*l2,*l2]\n", strings.Repeat("a:\n ", 150), strings.Repeat("[", 150), strings.Repeat("{a: ", 150), "gates:\n  x: {url: https://h/}\n",
	} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "crossfade.yaml")
	const secret = "hunter2-hunter2-hunter2-hunter2"
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err == nil {
			if err := c.Check(); err != nil {
				t.Errorf("Load of %q is taken, and then %v", data, err)
			}
			return
		}
		var bad *InvalidError
		if !errors.As(err, &bad) {
			t.Errorf("Load of %q = %v, want an InvalidError", data, err)
			return
		}
		for _, p := range bad.Problems {
			if p.Text == "" || p.Line < 0 || len(p.Text) > 4000 {
				t.Errorf("Load of %q says %+v", data, p)
			}
			if strings.Contains(string(data), secret) && strings.Contains(p.Text, secret) {
				t.Errorf("Load of %q repeats the file: %s", data, p.Text)
			}
		}
		if len(bad.Problems) == 0 {
			t.Errorf("Load of %q refuses and does not say why", data)
		}
	})
}
