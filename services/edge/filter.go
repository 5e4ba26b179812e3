package edge

import (
	"errors"

	"github.com/crossfade-project/crossfade/internal/filter"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// FilterFields are the fields over which a list may be filtered.
type FilterFields = filter.Fields

// Filter is a filter that was read and checked. The nil Filter matches all.
type Filter = filter.Filter

// ParseFilter reads the AIP-160 filter of a list. The empty text gives the nil
// Filter. The error is a [Problem] with the field "filter".
func ParseFilter(text string, fields FilterFields) (*Filter, error) {
	return ParseFilterAt("filter", text, fields)
}

// ParseFilterAt is [ParseFilter] for a filter that stands at another path.
func ParseFilterAt(path, text string, fields FilterFields) (*Filter, error) {
	f, err := filter.Parse(text, fields)
	var wrong *filter.Error
	if errors.As(err, &wrong) {
		return nil, InvalidFor(pb.ErrorReason_ERROR_REASON_FILTER_INVALID, Violated(path, "FORMAT", wrong.Why))
	}
	return f, err
}
