// Package drivers is the list of the kinds of credential that Crossfade can
// replace. A new kind is a folder beside this file and one line in it.
package drivers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crossfade-project/crossfade/internal/drivers/acsx509"
	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// ErrUnknownKind says that no driver has this kind; the error's text names those
// that there are.
var ErrUnknownKind = errors.New("unknown kind of credential")

// list is every driver, one line a kind. Open functions take their own part of
// the configuration file, empty for the defaults.
func list() map[string]func(raw []byte, k kit.Kit) (rollover.Driver, error) {
	return map[string]func([]byte, kit.Kit) (rollover.Driver, error){
		acsx509.Kind: acsx509.Open,
	}
}

// Set holds the opened drivers by kind. It never changes and is safe for
// concurrent use.
type Set struct{ byKind map[string]rollover.Driver }

// Open opens every driver. config holds each one's part of the configuration
// file by kind, as YAML or JSON; a kind without one gets its defaults, a part
// without a kind is refused. All problems are reported together.
func Open(config map[string][]byte, k kit.Kit) (*Set, error) {
	var problems []error
	known := list()
	for _, kind := range slices.Sorted(maps.Keys(config)) {
		if known[kind] == nil {
			problems = append(problems, unknown(kind, slices.Sorted(maps.Keys(known))))
		}
	}
	s := &Set{byKind: map[string]rollover.Driver{}}
	for _, kind := range slices.Sorted(maps.Keys(known)) {
		d, err := known[kind](config[kind], k)
		if err != nil {
			problems = append(problems, fmt.Errorf("opening driver %s: %w", kind, err))
			continue
		}
		s.byKind[kind] = d
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return s, nil
}

// Driver returns the driver for a kind, or [ErrUnknownKind].
func (s *Set) Driver(kind string) (rollover.Driver, error) {
	d, ok := s.byKind[kind]
	if !ok {
		return nil, unknown(kind, s.Kinds())
	}
	return d, nil
}

// Kinds returns the known kinds, sorted.
func (s *Set) Kinds() []string { return slices.Sorted(maps.Keys(s.byKind)) }

// Kinds returns the kinds that [Open] opens, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(list())) }

func unknown(kind string, known []string) error {
	return fmt.Errorf("%w %q; there are %s", ErrUnknownKind, kind, strings.Join(known, ", "))
}
