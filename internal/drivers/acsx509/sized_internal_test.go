package acsx509

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/crossfade-project/crossfade/internal/outbound"
)

func TestParseFeed_BoundsWhatAPageIsMadeOf(t *testing.T) {
	entry := `<entry><content><properties><Id>1</Id></properties></content></entry>`
	key := func(name, value string) string {
		return `<feed><entry><content><properties><Id>1</Id><` + name + `>` + value + `</` + name + `></properties></content></entry></feed>`
	}
	for _, k := range []struct {
		name, page string
		entries    int // -1: refused
	}{
		{"as many entries as are read", "<feed>" + strings.Repeat(entry, maxEntries) + "</feed>", maxEntries},
		{"one more", "<feed>" + strings.Repeat(entry, maxEntries+1) + "</feed>", -1},
		{"entries within entries", "<feed>" + strings.Repeat("<entry><link><inline><feed>"+strings.Repeat(entry, 99)+"</feed></inline></link></entry>", 31) + "</feed>", -1},
		{"as deep as is read", "<feed>" + strings.Repeat("<a>", maxDepth-1) + strings.Repeat("</a>", maxDepth-1) + entry + "</feed>", 1},
		{"deeper", "<feed>" + strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth) + entry + "</feed>", -1},
		{"too many elements", "<feed>" + strings.Repeat("<a/>", maxTags) + "</feed>", -1},
		{"a tag that is long", `<feed a="` + strings.Repeat("<", maxTag-100) + `">` + entry + "</feed>", -1}, // No XML, whatever its length.
		{"a tag that is long in quotes", `<feed a="` + strings.Repeat(">", maxTag-100) + `" b='"'>` + entry + "</feed>", 1},
		{"a tag that is too long", `<feed a="` + strings.Repeat(">", maxTag) + `">` + entry + "</feed>", -1},
		{"too many attributes", "<feed " + strings.Repeat(`a="" `, maxAttrs+1) + ">" + entry + "</feed>", -1},
		{"a comment that is long", "<feed><!-- it's " + strings.Repeat("x", 2*maxTag) + "-->" + entry + "</feed>", 1},
		{"a name that is long", key("Name", strings.Repeat("x", maxText)), 1},
		{"a name that is too long", key("Name", strings.Repeat("x", maxText+1)), -1},
		{"a property of no concern that is long", key("Description", strings.Repeat("x", 2*maxText)), 1},
	} {
		for _, r := range []string{"whole", "byte by byte"} {
			in := iotest.DataErrReader(strings.NewReader(k.page))
			if r != "whole" {
				in = iotest.OneByteReader(strings.NewReader(k.page))
			}
			page, err := parseFeed(in)
			if k.entries < 0 && (!errors.Is(err, errAnswer) || len(page.Entries) != 0) || k.entries >= 0 && (err != nil || len(page.Entries) != k.entries) {
				t.Errorf("%s, %s: parseFeed = %d entries, %v, want %d", k.name, r, len(page.Entries), err, k.entries)
			}
		}
	}
	if _, err := parseFeed(outbound.LimitBody(strings.NewReader("<feed>"+entry+"</feed>"), 20)); !errors.Is(err, outbound.ErrTooLarge) {
		t.Errorf("parseFeed of a page beyond its bound = %v, want %v", err, outbound.ErrTooLarge)
	}
}

// Prefixes and default name spaces mean the same through the bounds as without them.
func TestParseFeed_KeepsNameSpaces(t *testing.T) {
	page := fmt.Sprintf(`<a:feed xmlns:a="http://www.w3.org/2005/Atom" xmlns:m="m" xml:base="https://x/"><a:entry m:etag="W/&quot;1&quot;"><a:content><m:properties xmlns="d"><Id>%d</Id></m:properties></a:content></a:entry></a:feed>`, 7)
	got, err := parseFeed(strings.NewReader(page))
	if err != nil || got.Base != "https://x/" || len(got.Entries) != 1 || got.Entries[0].ETag != `W/"1"` || got.Entries[0].Content.ID != 7 {
		t.Errorf("parseFeed = %+v, %v", got, err)
	}
	if _, err := parseFeed(strings.NewReader("<feed><entry></feed></entry>")); !errors.Is(err, errAnswer) {
		t.Errorf("parseFeed of elements that cross = %v, want %v", err, errAnswer)
	}
	if _, err := parseFeed(strings.NewReader("<feed><entry>")); !errors.Is(err, errAnswer) {
		t.Errorf("parseFeed of half a page = %v, want %v", err, errAnswer)
	}
}
