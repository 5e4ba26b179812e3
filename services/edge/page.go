package edge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// page is what a page token holds, within the seal of a [PageKey]. It authorises
// nothing: a token of another is shown what any caller may see.
type page struct {
	Position string `json:"p"` // where the next page begins
	Args     string `json:"a"` // digest of the arguments that must not change
}

// maxToken bounds what is decoded; a usual token has under 200 bytes. One of a list in
// the order of several texts may have up to half of this: see [sortable].
const maxToken = 8192

// PageToken returns the token of the page that begins at position in the list
// that args describe: method, parent, filter.
func PageToken(position string, args ...string) string {
	return compact(page{position, digestArgs(args)})
}

// compact returns v as JSON, without the six characters for each <, > and & that keep
// JSON from being taken for HTML. v must be of texts only, which cannot fail.
func compact(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}

// Position returns the position in a token, empty for an empty token. The error
// is a [Problem].
func Position(token string, args ...string) (string, error) {
	if token == "" {
		return "", nil
	}
	var p page
	if len(token) > maxToken || json.Unmarshal([]byte(token), &p) != nil || p.Position == "" {
		return "", badToken("is not one that was given out")
	}
	if p.Args != digestArgs(args) {
		return "", badToken("belongs to other arguments; keep all but page_size as they were")
	}
	return p.Position, nil
}

func badToken(why string) error {
	return InvalidFor(pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID, Violated("page_token", "FORMAT", why))
}

// PageSize returns how many to list: size, def if it is 0, or limit if it is
// more. Negative ones were refused before.
func PageSize(size int32, def, limit int) int {
	switch n := int(size); {
	case n <= 0:
		return def
	case n > limit:
		return limit
	default:
		return n
	}
}

// maxPage bounds the items of a page in bytes: callers take messages of 4 MiB unless they
// say otherwise, and one item alone may have thousands of parts.
const maxPage = 1 << 20

// perItem is what an item takes in a message besides itself: a tag and its length.
const perItem = 6

// Room is what still fits into a page: so many items, and 1 MiB of them. A page has one
// item at least, however large that is.
type Room struct{ items, bytes, taken int }

// NewRoom returns the room of a page of that many items.
func NewRoom(items int) *Room { return &Room{items: items, bytes: maxPage} }

// Takes reports whether the page takes one more item. The first that it does not take
// begins the next page.
func (r *Room) Takes(item proto.Message) bool {
	n := proto.Size(item) + perItem
	if r.taken == r.items || r.taken > 0 && n > r.bytes {
		return false
	}
	r.taken++
	r.bytes -= n
	return true
}

func digestArgs(args []string) string {
	b, _ := json.Marshal(args)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
