package secrets

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Ref names a secret without being one: "env:NAME" for an environment variable,
// "file:relative/path" for a file beneath the resolver's folder,
// "azkv://host/name" or "azkv://host/name/version" for a secret of an Azure Key Vault,
// "vault://mount/path#field" for a field of a secret in HashiCorp Vault (KV v2). The
// empty Ref names nothing.
type Ref string

// The schemes of a Ref.
const (
	schemeEnv  = "env"
	schemeFile = "file"
	// SchemeKeyVault is that of secrets in an Azure Key Vault.
	SchemeKeyVault = "azkv"
	// SchemeVault is that of secrets in HashiCorp Vault.
	SchemeVault = "vault"
)

// maxRef bounds the length of a reference, in bytes.
const maxRef = 512

// ErrRef is in the chain of every error about the form of a reference.
var ErrRef = errors.New("not a secret reference")

// ParseRef checks the form of a reference and returns it. It accepts
// "env:NAME", where NAME is upper-case letters, digits and underscores, and
// "file:path", where path is relative, in its shortest form, uses slashes and
// has no "..". For the other two see [KeyVaultSecret] and [VaultSecret]. It does not look
// whether the secret exists.
//
// Errors wrap [ErrRef]. They never repeat s, since what was given in place of a
// reference may be the secret itself.
func ParseRef(s string) (Ref, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !slices.Contains([]string{schemeEnv, schemeFile, SchemeKeyVault, SchemeVault}, scheme) {
		return "", fmt.Errorf("%w: want env:NAME, file:relative/path, azkv://host/name or vault://mount/path#field, never the value itself", ErrRef)
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
	case SchemeKeyVault:
		if _, ok := parseKeyVault(rest); !ok {
			return "", fmt.Errorf("%w: want azkv://VAULT.vault.azure.net/NAME, with /VERSION of 32 hex digits behind it for one version; the host in lower case, the name of letters, digits and hyphens", ErrRef)
		}
	case SchemeVault:
		if _, ok := parseVault(rest); !ok {
			return "", fmt.Errorf("%w: want vault://MOUNT/PATH#FIELD, of letters, digits, '.', '_' and '-', without the path's data/", ErrRef)
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

// Store names what keeps the secret: the host of an Azure Key Vault, else the scheme.
func (r Ref) Store() string {
	if at, ok := r.KeyVault(); ok {
		return at.Host
	}
	scheme, _ := r.split()
	return scheme
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

// KeyVaultSecret is what a reference to an Azure Key Vault names.
type KeyVaultSecret struct {
	Host    string // such as contoso.vault.azure.net
	Name    string
	Version string // "": the latest
}

// VaultSecret is what a reference to HashiCorp Vault names.
type VaultSecret struct {
	Mount string // of a KV v2 secrets engine
	Path  string // beneath it, without "data/"
	Field string
}

var (
	// The names of secrets are Azure's: 1 to 127 letters, digits and hyphens.
	keyVaultRef = regexp.MustCompile(`^//([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+)/([0-9A-Za-z-]{1,127})(?:/([0-9a-f]{32}))?$`)
	vaultRef    = regexp.MustCompile(`^//([0-9A-Za-z_-]{1,64})/([0-9A-Za-z._/-]{1,256})#([0-9A-Za-z._-]{1,128})$`)
)

func parseKeyVault(rest string) (KeyVaultSecret, bool) {
	m := keyVaultRef.FindStringSubmatch(rest)
	if m == nil {
		return KeyVaultSecret{}, false
	}
	return KeyVaultSecret{Host: m[1], Name: m[2], Version: m[3]}, true
}

func parseVault(rest string) (VaultSecret, bool) {
	m := vaultRef.FindStringSubmatch(rest)
	if m == nil || pathProblem(m[2]) != "" {
		return VaultSecret{}, false
	}
	return VaultSecret{Mount: m[1], Path: m[2], Field: m[3]}, true
}

// KeyVault returns what r names, if it is of an Azure Key Vault.
func (r Ref) KeyVault() (KeyVaultSecret, bool) {
	if scheme, rest := r.split(); scheme == SchemeKeyVault {
		return parseKeyVault(rest)
	}
	return KeyVaultSecret{}, false
}

// Vault returns what r names, if it is of HashiCorp Vault.
func (r Ref) Vault() (VaultSecret, bool) {
	if scheme, rest := r.split(); scheme == SchemeVault {
		return parseVault(rest)
	}
	return VaultSecret{}, false
}
