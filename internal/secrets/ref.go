package secrets

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Ref names a secret without being one: "env:NAME" for an environment variable,
// "file:relative/path" for a file beneath the resolver's folder. The empty Ref
// names nothing.
type Ref string

// The schemes of a Ref.
const (
	schemeEnv  = "env"
	schemeFile = "file"
)

// maxRef bounds the length of a reference, in bytes.
const maxRef = 512

// ErrRef is in the chain of every error about the form of a reference.
var ErrRef = errors.New("not a secret reference")

// ParseRef checks the form of a reference and returns it. It accepts
// "env:NAME", where NAME is upper-case letters, digits and underscores, and
// "file:path", where path is relative, in its shortest form, uses slashes and
// has no "..". It does not look whether the secret exists.
//
// Errors wrap [ErrRef]. They never repeat s, since what was given in place of a
// reference may be the secret itself.
func ParseRef(s string) (Ref, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || (scheme != schemeEnv && scheme != schemeFile) {
		return "", fmt.Errorf("%w: want env:NAME or file:relative/path, never the value itself", ErrRef)
	}
	if len(s) > maxRef {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrRef, maxRef)
	}
	switch scheme {
	case schemeEnv:
		if !validEnvName(rest) {
			return "", fmt.Errorf("%w: after env: want a variable name of A-Z, 0-9 and _, not beginning with a digit", ErrRef)
		}
	case schemeFile:
		if problem := pathProblem(rest); problem != "" {
			return "", fmt.Errorf("%w: after file: %s", ErrRef, problem)
		}
	}
	return Ref(s), nil
}

// Valid reports whether [ParseRef] accepts r.
func (r Ref) Valid() bool {
	_, err := ParseRef(string(r))
	return err == nil
}

// split returns the scheme and what follows it.
func (r Ref) split() (scheme, rest string) {
	scheme, rest, _ = strings.Cut(string(r), ":")
	return scheme, rest
}

func validEnvName(s string) bool {
	if s == "" || (s[0] >= '0' && s[0] <= '9') {
		return false
	}
	for _, c := range s {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// pathProblem says what is wrong with the path of a file reference, or "".
// Windows' separators are refused everywhere, so that one tenants file means
// the same on every machine.
func pathProblem(p string) string {
	switch {
	case p == "":
		return "want a path"
	case strings.HasPrefix(p, "/"):
		return "want a relative path, not an absolute one"
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ':' || r == 0xfffd }):
		return `want a path without control characters, "\" and ":"`
	case path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return `want the shortest form of a path, without ".."`
	}
	return ""
}
