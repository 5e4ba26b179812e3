package acsx509

import (
	"encoding/xml"
	"fmt"
)

// Bounds on what an answer may be made of. Its bytes are bounded by [maxAnswer], but
// an entry of eight bytes takes hundreds in memory: a page of nothing but entries
// would grow to a hundred times its length.
const (
	maxEntries = 3000    // of a page, those within other entries included: 50 identities with 50 keys each, and room
	maxTags    = 100_000 // elements of a page; an entry of ACS has about 20
	maxAttrs   = 100     // attributes of an element; those of ACS have at most 5
	maxDepth   = 32      // of elements; an expanded listing of ACS has 10
	maxListed  = 10_000  // entries of a listing, over all its pages
)

// sizedTokens passes on the tokens of a document until there are more than an answer
// of ACS has.
type sizedTokens struct {
	in                   *xml.Decoder
	depth, tags, entries int
}

// Token implements [xml.TokenReader]. What is around it translates name spaces and
// looks whether elements are closed.
func (s *sizedTokens) Token() (xml.Token, error) {
	tok, err := s.in.RawToken()
	switch t := tok.(type) {
	case xml.StartElement:
		s.depth++
		s.tags++
		if t.Name.Local == "entry" {
			s.entries++
		}
		if s.depth > maxDepth || s.tags > maxTags || s.entries > maxEntries || len(t.Attr) > maxAttrs {
			return nil, fmt.Errorf("more than %d entries, %d elements, %d attributes or %d levels: %w", maxEntries, maxTags, maxAttrs, maxDepth, errAnswer)
		}
	case xml.EndElement:
		s.depth--
	}
	return tok, err
}
