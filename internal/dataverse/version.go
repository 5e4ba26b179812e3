package dataverse

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of an organisation, of which the first two numbers
// matter.
type Version struct{ Major, Minor int }

// ParseVersion reads text such as "9.2.24011.00165".
func ParseVersion(s string) (Version, error) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 {
		return Version{}, fmt.Errorf("version %q has no minor number", clip(s, 40))
	}
	major, err1 := strconv.ParseUint(parts[0], 10, 16)
	minor, err2 := strconv.ParseUint(parts[1], 10, 16)
	if err1 != nil || err2 != nil {
		return Version{}, fmt.Errorf("version %q is not made of numbers", clip(s, 40))
	}
	return Version{int(major), int(minor)}, nil
}

// AtLeast reports whether v is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// probes are the paths on which the version is asked for, the lowest first: it
// is the one that every organisation should have.
func probes() []string { return []string{"v8.0", "v9.0", "v9.2"} }

// paths returns the versions of the Web API to use for an organisation, the
// preferred first. Minor versions of 8 changed one another, so each has its own;
// those of 9 do not.
func (v Version) paths() []string {
	switch {
	case v.AtLeast(9, 0):
		return []string{"v9.2", "v9.1", "v9.0"}
	case v.AtLeast(8, 2):
		return []string{"v8.2"}
	case v.AtLeast(8, 1):
		return []string{"v8.1"}
	case v.AtLeast(8, 0):
		return []string{"v8.0"}
	default:
		return nil
	}
}

// columns returns the column sets to ask for, the widest first. A property that
// an organisation does not have is refused with a 400, and the next set is
// tried. authtype came with 8.1 and is never given up from there on: without it
// an endpoint that signs in with a key would look as though it used ACS.
func (v Version) columns() []string {
	const (
		first   = "serviceendpointid,name,connectionmode,contract,solutionnamespace,path"
		address = first + ",namespaceformat,namespaceaddress"
		auth    = address + ",authtype"
		modern  = auth + ",usekeyvaultconfiguration,_managedidentityid_value"
	)
	switch {
	case v.AtLeast(9, 0):
		return []string{modern, auth}
	case v.AtLeast(8, 1):
		return []string{auth}
	default:
		return []string{address, first}
	}
}
