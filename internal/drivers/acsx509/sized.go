package acsx509

import (
	"encoding/xml"
	"fmt"
	"io"
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

	maxTag     = 16 << 10 // bytes of a tag with its attributes; the longest of ACS has the address of a next page
	maxListing = 16 << 20 // bytes of a listing, over all its pages
	maxText    = 4 << 10  // bytes of a name or another short property; ACS takes fewer
)

// tags passes on a document until a tag in it is longer than [maxTag]: the parser
// gathers all attributes of an element before anyone can count them, at ten times
// their length.
type tags struct {
	in    io.Reader
	n     int  // bytes of the tag so far; 0: not in a tag
	quote byte // that ends the value of an attribute; 0: not in one
}

// Read implements [io.Reader].
func (t *tags) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	for _, c := range p[:n] {
		switch {
		case t.n == 0:
			if c == '<' {
				t.n = 1
			}
			continue
		case t.n == 1 && (c == '!' || c == '?'): // No element: it has no attributes.
			t.n = 0
			continue
		case t.quote != 0:
			if c == t.quote {
				t.quote = 0
			}
		case c == '"' || c == '\'':
			t.quote = c
		case c == '>':
			t.n = 0
			continue
		}
		if t.n++; t.n > maxTag {
			return 0, fmt.Errorf("a tag of more than %d bytes: %w", maxTag, errAnswer)
		}
	}
	return n, err
}

// tally counts what is read.
type tally struct {
	in io.Reader
	n  int64
}

// Read implements [io.Reader].
func (t *tally) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	t.n += int64(n)
	return n, err
}

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
