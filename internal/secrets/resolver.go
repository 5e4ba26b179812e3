package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// DefaultEnvPrefix begins the name of every environment variable that a
// reference may name, unless [Config] says otherwise.
const DefaultEnvPrefix = "CROSSFADE_SECRET_"

// DefaultMaxBytes bounds a secret: 64 KiB.
const DefaultMaxBytes = 64 << 10

var (
	// ErrMissing says that a reference is well formed and nothing stands
	// behind it: no variable, no file, or an empty one.
	ErrMissing = errors.New("secret is missing")
	// ErrForbidden says that a reference names what no reference may name: a
	// variable without the prefix, a file outside the folder, or something
	// that is no file.
	ErrForbidden = errors.New("secret reference is not allowed")
	// ErrAway says that the store of a secret does not answer, or does not let us
	// in: nothing is known of the secret, and asking again may help.
	ErrAway = errors.New("the store of secrets cannot be asked now")
)

// Config says where references lead. The zero Config resolves env: references
// with the default prefix, and no file: references.
type Config struct {
	// Dir is the folder beneath which file: references lie. A reference that
	// leaves it, also by a symbolic link, is refused. Empty: every file:
	// reference is refused.
	Dir string
	// EnvPrefix must begin the name of every variable that an env: reference
	// names; empty means [DefaultEnvPrefix]. Without this rule a tenants file
	// could name any variable of the process, and have its value sent to a host
	// that the same file names.
	EnvPrefix string
	// MaxBytes bounds the size of a secret, in bytes; 0 or less means
	// [DefaultMaxBytes]. A longer one is an error, never cut.
	MaxBytes int64
	// Stores keep the secrets of the schemes azkv and vault; a reference of a scheme
	// without one is refused.
	Stores map[string]Store
	// CacheFor is for how long what a store said is used without asking again; 0 means
	// [DefaultCacheFor].
	CacheFor time.Duration
	// Now is the machine's time; nil means time.Now.
	Now func() time.Time
	// Looked is told of every question to a store: its scheme, and "found", "missing",
	// "forbidden" or "unreachable". nil: nobody is told.
	Looked func(scheme, result string)
	// Turned is told when a store begins to be away, with why, and with nil when it
	// answers again. It is named as by [Ref.Store]. nil: nobody is told.
	Turned func(store string, err error)
}

// Resolver finds secrets by reference. Of files and variables it keeps none: each call
// reads anew, so that a changed file or mount is seen at once. What a store said it keeps
// in memory for CacheFor. It is safe for concurrent use.
type Resolver struct {
	cfg   Config
	cache *cache
}

// New returns a resolver. It opens nothing: a folder that does not exist shows
// as [ErrMissing] when a secret is asked for.
func New(cfg Config) *Resolver {
	if cfg.EnvPrefix == "" {
		cfg.EnvPrefix = DefaultEnvPrefix
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.CacheFor <= 0 {
		cfg.CacheFor = DefaultCacheFor
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Looked == nil {
		cfg.Looked = func(string, string) {}
	}
	if cfg.Turned == nil {
		cfg.Turned = func(string, error) {}
	}
	return &Resolver{cfg: cfg, cache: newCache(cfg)}
}

// store returns where a reference's secret is kept, nil for variables and files.
func (r *Resolver) store(ref Ref) (Store, error) {
	scheme, _ := ref.split()
	if scheme == schemeEnv || scheme == schemeFile {
		return nil, nil
	}
	s := r.cfg.Stores[scheme]
	if s == nil {
		return nil, fmt.Errorf("reading secret %s: no store of %s: references is configured: %w", ref, scheme, ErrForbidden)
	}
	return s, nil
}

// Anew is for a secret that was refused where it was used: it reads past what is
// remembered, and reports whether there is another value now. A store is asked for one
// secret at most every half minute. Errors are those of Secret.
func (r *Resolver) Anew(ctx context.Context, ref Ref, refused Secret) (Secret, bool, error) {
	if _, err := ParseRef(string(ref)); err != nil {
		return Secret{}, false, fmt.Errorf("reading a secret: %w", err)
	}
	s, err := r.store(ref)
	if err != nil {
		return Secret{}, false, err
	}
	if s != nil {
		v, other, err := r.cache.anew(ctx, s, ref, refused)
		return v, other, err
	}
	v, err := r.Secret(ctx, ref)
	return v, err == nil && v.Reveal() != refused.Reveal(), err
}

// Secret reads the secret behind ref; of a text, without the line end at its end. Its
// errors wrap [ErrRef], [ErrMissing], [ErrForbidden] or [ErrAway], or are the file
// system's; they name the reference and never what it leads to. ctx is looked at
// before the read begins.
func (r *Resolver) Secret(ctx context.Context, ref Ref) (Secret, error) {
	if err := ctx.Err(); err != nil {
		return Secret{}, fmt.Errorf("reading a secret: %w", err)
	}
	if _, err := ParseRef(string(ref)); err != nil {
		return Secret{}, fmt.Errorf("reading a secret: %w", err)
	}
	s, err := r.store(ref)
	if err != nil {
		return Secret{}, err
	}
	if s != nil {
		return r.cache.get(ctx, s, ref)
	}
	var value string
	switch scheme, rest := ref.split(); scheme {
	case schemeEnv:
		value, err = r.fromEnv(rest)
	case schemeFile:
		value, err = r.fromFile(rest)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("reading secret %s: %w", ref, err)
	}
	if isText(value) {
		value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	}
	if value == "" {
		return Secret{}, fmt.Errorf("reading secret %s: it is empty: %w", ref, ErrMissing)
	}
	return NewSecret(value), nil
}

// isText reports whether value is text. A secret may also be a PFX file, whose
// last byte is as good as any other.
func isText(value string) bool {
	return utf8.ValidString(value) && !strings.Contains(value, "\x00")
}

func (r *Resolver) fromEnv(name string) (string, error) {
	if !strings.HasPrefix(name, r.cfg.EnvPrefix) {
		return "", fmt.Errorf("the name must begin with %s: %w", r.cfg.EnvPrefix, ErrForbidden)
	}
	v, ok := os.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("the variable is not set: %w", ErrMissing)
	}
	if int64(len(v)) > r.cfg.MaxBytes {
		return "", fmt.Errorf("longer than %d bytes", r.cfg.MaxBytes)
	}
	return v, nil
}

func (r *Resolver) fromFile(name string) (string, error) {
	if r.cfg.Dir == "" {
		return "", fmt.Errorf("no folder for secret files is configured: %w", ErrForbidden)
	}
	root, err := os.OpenRoot(r.cfg.Dir)
	if err != nil {
		return "", fileError(err)
	}
	defer func() { _ = root.Close() }() // Opened for reading only; closing cannot lose anything.
	// A named pipe would make the open wait for a writer for ever, so it is
	// opened without waiting and refused below.
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fileError(err)
	}
	defer func() { _ = f.Close() }() // Opened for reading only.
	info, err := f.Stat()
	if err != nil {
		return "", fileError(err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("it is no regular file: %w", ErrForbidden)
	}
	b, err := io.ReadAll(io.LimitReader(f, r.cfg.MaxBytes+1))
	if err != nil {
		return "", fileError(err)
	}
	if int64(len(b)) > r.cfg.MaxBytes {
		return "", fmt.Errorf("longer than %d bytes", r.cfg.MaxBytes)
	}
	return string(b), nil
}

// fileError says what the file system said without the machine's paths: the
// reference is enough to find the file, and answers may be shown to callers who
// should not learn how the server's disk is laid out.
func fileError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no such file: %w", ErrMissing)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the file may not be read: %w", err)
	case isErrno(err):
		return err
	}
	// What is left is the root's refusal to be left, which has no name to ask for.
	return fmt.Errorf("%w: %w", ErrForbidden, err)
}

func isErrno(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no)
}
