package acsx509

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// errAnswer says that an answer of status 200 is not what was asked for: cut
// off, a proxy's page, another document. It is never taken for an empty list.
var errAnswer = errors.New("answer is not the Atom document that was asked for")

// feed is one page of a listing. Elements are matched by their local names, so
// that prefixes, order and unknown elements do not matter.
type feed struct {
	Base    string  `xml:"http://www.w3.org/XML/1998/namespace base,attr"`
	Entries []entry `xml:"entry"`
	Links   []link  `xml:"link"`
}

// entry is one entity.
type entry struct {
	Base    string     `xml:"http://www.w3.org/XML/1998/namespace base,attr"`
	ETag    string     `xml:"etag,attr"`
	Links   []link     `xml:"link"`
	Content properties `xml:"content>properties"`
}

type link struct {
	Rel    string  `xml:"rel,attr"`
	Href   string  `xml:"href,attr"`
	Inline *inline `xml:"inline"`
}

// inline is what $expand puts into the link of a navigation property.
type inline struct {
	Feed *feed `xml:"feed"`
}

// next returns the address of the page that follows, "" on the last one.
func (f feed) next() string {
	for _, l := range f.Links {
		if l.Rel == "next" {
			return l.Href
		}
	}
	return ""
}

// properties are those of an entity that we look at. Value is kept for X.509
// keys alone.
type properties struct {
	ID, ServiceIdentityID int64
	Name, Usage, Type     string
	DisplayName           string
	Value                 []byte // DER; nil unless Type is X509Certificate
	SystemReserved        bool
	Start, End            time.Time
	Version               []byte
	HasID                 bool
}

// typeX509 is the ServiceIdentityKey.Type of certificates. Case matters.
const typeX509 = "X509Certificate"

// usageSigning is the ServiceIdentityKey.Usage of the keys that we add.
const usageSigning = "Signing"

// UnmarshalXML reads the properties and forgets the value of every key that is
// not a certificate, before anyone can see it: ACS gives passwords and symmetric
// keys back in clear.
func (p *properties) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	var value []byte
	defer func() { clear(value) }()
	for {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.EndElement:
			if p.Type == typeX509 {
				p.Value, err = decodeBinary(value)
			}
			return err
		case xml.StartElement:
			text, err := textOf(d)
			if err != nil {
				return err
			}
			if t.Name.Local == "Value" {
				value = text
				continue
			}
			if err := p.set(t.Name.Local, string(text)); err != nil {
				return fmt.Errorf("property %s in %s: %w", t.Name.Local, start.Name.Local, err)
			}
		}
	}
}

// set takes one property. Empty ones, which m:null is as well, keep their zero.
func (p *properties) set(name, v string) (err error) {
	trimmed := strings.TrimSpace(v)
	switch {
	case len(v) > maxText && known(name):
		err = fmt.Errorf("longer than %d bytes: %w", maxText, errAnswer)
	case name == "Name":
		p.Name = v
	case name == "DisplayName":
		p.DisplayName = v
	case trimmed == "":
	case name == "Id":
		p.HasID = true
		p.ID, err = parseInt(trimmed)
	case name == "ServiceIdentityId":
		p.ServiceIdentityID, err = parseInt(trimmed)
	case name == "Usage":
		p.Usage = trimmed
	case name == "Type":
		p.Type = trimmed
	case name == "SystemReserved":
		p.SystemReserved = strings.EqualFold(trimmed, "true") || trimmed == "1"
	case name == "StartDate":
		p.Start, err = parseDate(trimmed)
	case name == "EndDate":
		p.End, err = parseDate(trimmed)
	case name == "Version":
		p.Version, err = decodeBinary([]byte(trimmed))
	}
	return err
}

// known reports whether a property is one of those that are kept.
func known(name string) bool {
	switch name {
	case "Name", "DisplayName", "Id", "ServiceIdentityId", "Usage", "Type", "SystemReserved", "StartDate", "EndDate", "Version":
		return true
	default:
		return false
	}
}

// parseInt is strconv.ParseInt without the text in its error.
func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("no Int64: %w", errAnswer)
	}
	return n, nil
}

// textOf reads the text of an element whose start was just read, and its end.
func textOf(d *xml.Decoder) ([]byte, error) {
	var text []byte
	for depth := 1; ; {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			if depth--; depth == 0 {
				return text, nil
			}
		case xml.CharData:
			text = append(text, t...)
		}
	}
}

// decodeBinary reads Edm.Binary as Atom writes it: base64, white space ignored.
func decodeBinary(s []byte) ([]byte, error) {
	clean := make([]byte, 0, len(s))
	for _, c := range s {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			clean = append(clean, c)
		}
	}
	defer clear(clean)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(clean)))
	n, err := base64.StdEncoding.Decode(out, clean)
	if err != nil {
		return nil, fmt.Errorf("no base64: %w", errAnswer)
	}
	return out[:n], nil
}

// parseDate reads Edm.DateTime in every form that ACS and its clients have been
// seen to write: with Z, with an offset, without either (which means UTC), with
// up to seven digits of a second or without seconds, and JSON's /Date(ms+hhmm)/.
func parseDate(s string) (time.Time, error) {
	if ms, ok := strings.CutPrefix(s, "/Date("); ok {
		ms, ok = strings.CutSuffix(ms, ")/")
		if i := strings.LastIndexAny(ms, "+-"); i > 0 {
			ms = ms[:i] // The offset is for showing; the number is UTC already.
		}
		n, err := strconv.ParseInt(ms, 10, 64)
		if ok && err == nil {
			return time.UnixMilli(n).UTC(), nil
		}
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("no date: %w", errAnswer)
}

// parseFeed reads a whole page from r.
func parseFeed(r io.Reader) (feed, error) {
	var f feed
	if err := parseRoot(r, "feed", &f); err != nil {
		return feed{}, err
	}
	for _, e := range f.Entries {
		if err := e.check(); err != nil {
			return feed{}, err
		}
	}
	return f, nil
}

// check refuses an entity that nothing can be done with.
func (e entry) check() error {
	if !e.Content.HasID {
		return fmt.Errorf("entry without an Id: %w", errAnswer)
	}
	return nil
}

// parseRoot decodes the document in r, whose root has to have that local name.
func parseRoot(r io.Reader, root string, into any) error {
	d := xml.NewTokenDecoder(&sizedTokens{in: xml.NewDecoder(&tags{in: r})})
	for {
		tok, err := d.Token()
		if err != nil {
			return unreadable(root, err)
		}
		s, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if s.Name.Local != root {
			return fmt.Errorf("the root is no %s: %w", root, errAnswer)
		}
		if err := d.DecodeElement(into, &s); err != nil {
			return unreadable(root, err)
		}
		return nil
	}
}

// unreadable says that a document could not be read, without the parser's own
// words: they quote the document, which may not be the one that was asked for.
func unreadable(root string, err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("reading %s, line %d: %w", root, syntax.Line, errAnswer)
	}
	return fmt.Errorf("reading %s: %w: %w", root, errAnswer, err)
}

// version returns what If-Match needs to name the entity as it was read: its
// ETag, or what the ETag of its Version would be. Empty: the answer had neither.
func (e entry) version() string {
	if e.ETag != "" || len(e.Content.Version) == 0 {
		return e.ETag
	}
	return `W/"X'` + strings.ToUpper(hex.EncodeToString(e.Content.Version)) + `'"`
}

// key returns the entity as a key of a service identity.
func (e entry) key() Key {
	p := e.Content
	k := Key{ID: p.ID, IdentityID: p.ServiceIdentityID, Version: e.version(), X509: p.Type == typeX509}
	if !k.X509 {
		return k
	}
	// A value that is no certificate is named by its hash and not kept: it may be
	// a container with a private key.
	c, err := rollover.FromDER(p.Value)
	if err != nil {
		c.DER = nil
	}
	k.Standing = rollover.Standing{Credential: c, Start: p.Start, End: p.End, Reserved: p.SystemReserved, Mark: markIn(p.DisplayName), Name: p.DisplayName, Usage: p.Usage}
	return k
}

// newKey returns the Atom entry that adds a certificate, in the manner of the WCF
// client: properties in alphabetical order, Id 0, dates in UTC.
// What is put back may have dates with fractions of a second.
func newKey(s rollover.Standing, now time.Time) []byte {
	const date = "2006-01-02T15:04:05.9999999Z"
	var name, usage strings.Builder
	_ = xml.EscapeText(&name, []byte(s.Name)) // A strings.Builder does not fail.
	_ = xml.EscapeText(&usage, []byte(s.Usage))
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<entry xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom">
  <category scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" term="Microsoft.Cloud.AccessControl.Management.ServiceIdentityKey" />
  <title />
  <author><name /></author>
  <updated>%s</updated>
  <id />
  <content type="application/xml"><m:properties>
    <d:DisplayName>%s</d:DisplayName>
    <d:EndDate m:type="Edm.DateTime">%s</d:EndDate>
    <d:Id m:type="Edm.Int64">0</d:Id>
    <d:ServiceIdentityId m:type="Edm.Int64">0</d:ServiceIdentityId>
    <d:StartDate m:type="Edm.DateTime">%s</d:StartDate>
    <d:SystemReserved m:type="Edm.Boolean">false</d:SystemReserved>
    <d:Type>%s</d:Type>
    <d:Usage>%s</d:Usage>
    <d:Value m:type="Edm.Binary">%s</d:Value>
    <d:Version m:type="Edm.Binary" m:null="true" />
  </m:properties></content>
</entry>
`, now.UTC().Truncate(time.Second).Format(date), name.String(), s.End.UTC().Format(date), s.Start.UTC().Format(date),
		typeX509, usage.String(), base64.StdEncoding.EncodeToString(s.DER))
}
