package edge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"go.einride.tech/aip/ordering"
	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// maxOrder bounds how many fields a list is ordered by.
const maxOrder = 4

// Order is how a list is ordered: by fields, and by its key where they are equal.
type Order[T any] struct {
	fields []ordering.Field
	key    func(T) string
	value  func(T, string) any
}

// ParseOrder reads the order_by of a list as AIP-132 has it, such as
// "create_time desc, name"; def is what an absent one means. key is the same for no two
// of the list; value returns a text, a time or an int of a field among paths. The error
// is a [Problem] with the field "order_by".
func ParseOrder[T any](text, def string, key func(T) string, value func(T, string) any, paths ...string) (*Order[T], error) {
	if strings.TrimSpace(text) == "" {
		text = def
	}
	var by ordering.OrderBy
	err := by.UnmarshalString(text)
	if err == nil {
		err = by.ValidateForPaths(paths...)
	}
	seen := map[string]bool{}
	for _, f := range by.Fields {
		if seen[f.Path] && err == nil {
			err = fmt.Errorf("%s is there twice", f.Path)
		}
		seen[f.Path] = true
	}
	if err == nil && len(by.Fields) > maxOrder {
		err = fmt.Errorf("more than %d fields", maxOrder)
	}
	if err != nil {
		return nil, Invalid(Violated("order_by", "FORMAT", fmt.Sprintf("want fields among %s, each once and with desc behind it or not, and commas between them; at most %d", strings.Join(paths, ", "), maxOrder)))
	}
	return &Order[T]{by.Fields, key, value}, nil
}

// place is where an item stands in the order: its values, and its key.
func (o *Order[T]) place(item T) []string {
	out := make([]string, 0, len(o.fields)+1)
	for _, f := range o.fields {
		out = append(out, sortable(o.value(item, f.Path)))
	}
	return append(out, o.key(item))
}

// sortable returns a text that sorts as v does. Of a long text the beginning decides.
func sortable(v any) string {
	const most = 128
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000000000Z")
	case int:
		return fmt.Sprintf("%020d", v)
	case string:
		if len(v) > most {
			v = strings.ToValidUTF8(v[:most], "")
		}
		return v
	}
	return ""
}

func (o *Order[T]) compare(a, b []string) int {
	for i, f := range o.fields {
		c := strings.Compare(a[i], b[i])
		if f.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a[len(o.fields)], b[len(o.fields)])
}

// Page returns the first size of seq in the order that come after position, which is what
// [Position] said of the page token, and the position of the next page, "" if this is
// the last. It holds no more than two pages at once, however long seq is.
func (o *Order[T]) Page(seq iter.Seq2[T, error], position string, size int) (page []T, next string, err error) {
	type placed struct {
		item T
		at   []string
	}
	var after []string
	if position != "" {
		if err := json.Unmarshal([]byte(position), &after); err != nil || len(after) != len(o.fields)+1 {
			return nil, "", InvalidFor(pb.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID, Violated("page_token", "FORMAT", "is not one that was given out"))
		}
	}
	var best []placed
	shrink := func() {
		slices.SortFunc(best, func(a, b placed) int { return o.compare(a.at, b.at) })
		best = best[:min(len(best), size+1)]
	}
	for item, err := range seq {
		if err != nil {
			return nil, "", err
		}
		p := placed{item, o.place(item)}
		if after != nil && o.compare(p.at, after) <= 0 {
			continue
		}
		if best = append(best, p); len(best) >= 2*(size+1) {
			shrink()
		}
	}
	shrink()
	if len(best) > size {
		best, next = best[:size], o.Position(best[size-1].item)
	}
	for _, p := range best {
		page = append(page, p.item)
	}
	return page, next, nil
}

// Position returns where an item stands, for a page that ends with it.
func (o *Order[T]) Position(item T) string {
	return compact(o.place(item))
}

// Each returns all that is a list already.
func Each[T any](all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range all {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Query is what the request of a list has.
type Query interface {
	GetPageSize() int32
	GetPageToken() string
	GetFilter() string
	GetOrderBy() string
}

// Listing is how a list that is at hand is told.
type Listing[T any, M proto.Message] struct {
	Order  *Order[T]
	Fields FilterFields // that its filter may name
	// Value returns the value of one of Fields. What a field means to a filter is not
	// always what a list is ordered by under that name.
	Value         func(item T, field string) any
	Show          func(item T) M // the item as it is told
	Default, Most int            // items of a page
	Args          []string       // of the request that must not change between pages, besides filter and order_by
}

// List returns one page of a list: those of seq that match the request's filter, in its
// order and as far as there is [Room], and the token of the next page.
func List[T any, M proto.Message](req Query, l Listing[T, M], seq iter.Seq2[T, error]) (page []M, token string, err error) {
	f, err := ParseFilter(req.GetFilter(), l.Fields)
	if err != nil {
		return nil, "", err
	}
	args := append(slices.Clone(l.Args), req.GetFilter(), req.GetOrderBy())
	after, err := Position(req.GetPageToken(), args...)
	if err != nil {
		return nil, "", err
	}
	matching := func(yield func(T, error) bool) {
		for item, err := range seq {
			if err == nil && !f.Match(func(field string) any { return l.Value(item, field) }) {
				continue
			}
			if !yield(item, err) {
				return
			}
		}
	}
	size := PageSize(req.GetPageSize(), l.Default, l.Most)
	items, next, err := l.Order.Page(matching, after, size)
	if err != nil {
		return nil, "", err
	}
	room := NewRoom(size)
	for i, item := range items {
		m := l.Show(item)
		if !room.Takes(m) {
			next = l.Order.Position(items[i-1]) // The first was taken.
			break
		}
		page = append(page, m)
	}
	if next != "" {
		token = PageToken(next, args...)
	}
	return page, token, nil
}
