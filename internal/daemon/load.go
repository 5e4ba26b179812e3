package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Problem is one thing that is wrong in a configuration file.
type Problem struct {
	Line  int    // from 1; 0: nowhere in the file, since the field is not there
	Field string // such as "nats.url"; empty: the file as a whole
	Text  string // what is wrong and what to write; no value of the file is in it but addresses, names and numbers
}

// InvalidError says all that is wrong with a configuration file.
type InvalidError struct {
	Path     string
	Problems []Problem
}

// Error has one line for each problem, as compilers write them.
func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		line := e.Path
		if p.Line > 0 {
			line += fmt.Sprintf(":%d", p.Line)
		}
		if p.Field != "" {
			line += ": " + p.Field
		}
		lines = append(lines, line+": "+p.Text)
	}
	return strings.Join(lines, "\n")
}

// Load reads the configuration file at path and checks it. What it refuses it
// tells all at once, as an [InvalidError]. It opens none of the files that are
// named in it.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("opening configuration: %w", err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading configuration: %w", err)
	}
	if len(b) > maxFile {
		return Config{}, fmt.Errorf("reading configuration %s: more than %d bytes", path, maxFile)
	}
	c, problems := parse(b)
	if len(problems) > 0 {
		return Config{}, &InvalidError{Path: path, Problems: problems}
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("finding the folder of %s: %w", path, err)
	}
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

// parse reads a configuration and says all that is wrong with it.
func parse(b []byte) (Config, []Problem) {
	c := Default()
	c.NATS.Replicas = 0 // The default depends on the URL.
	r := binder{lines: map[string]int{}}
	r.read(b, &c)
	if c.NATS.Replicas == 0 && r.lines["nats.replicas"] == 0 {
		c.NATS.Replicas = 1
		if c.NATS.URL != "" {
			c.NATS.Replicas = 3
		}
	}
	if len(r.problems) > 0 && r.broken {
		return c, r.problems
	}
	for _, p := range c.check() {
		p.Line = r.lines[p.Field]
		if !r.told[p.Field] {
			r.problems = append(r.problems, p)
		}
	}
	return c, r.problems
}

// Check says all that is wrong with a configuration that came from elsewhere
// than a file, such as [Default] changed by flags.
func (c Config) Check() error {
	var errs []error
	for _, p := range c.check() {
		errs = append(errs, fmt.Errorf("%s: %s", p.Field, p.Text))
	}
	return errors.Join(errs...)
}

// paths returns every field that is a path.
func (c *Config) paths() []*string {
	return []*string{
		&c.Data, &c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA, &c.TLS.ClientCRL, &c.Identity.Rights, &c.NATS.Creds, &c.NATS.CA, &c.NATS.Cert, &c.NATS.Key,
		&c.Secrets.Dir, &c.Secrets.Vault.CA, &c.Network.CAFile, &c.Traces.CA, &c.Clock,
	}
}
