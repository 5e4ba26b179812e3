package dataverse

import (
	"slices"
	"strconv"
	"strings"
)

// version is the major and minor number of an organisation or of a path.
type version struct{ major, minor int }

func (v version) less(o version) bool {
	return v.major < o.major || v.major == o.major && v.minor < o.minor
}

// paths are the versions that a Web API path can name.
func paths() []version {
	return []version{{8, 0}, {8, 1}, {8, 2}, {9, 0}, {9, 1}, {9, 2}}
}

// parsePath reads a path segment such as v9.2.
func parsePath(s string) (version, bool) {
	rest, ok := strings.CutPrefix(s, "v")
	if !ok {
		return version{}, false
	}
	v, ok := parseVersion(rest)
	return v, ok && slices.Contains(paths(), v) && strings.Count(rest, ".") == 1
}

// parseVersion reads the first two numbers of 9.2.24011.165.
func parseVersion(s string) (version, bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return version{}, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return version{}, false
	}
	minor, err := strconv.Atoi(parts[1])
	return version{major, minor}, err == nil
}
