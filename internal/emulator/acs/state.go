package acs

import (
	"encoding/binary"
	"sort"
	"time"
)

// row is one entity. Rows are never changed once they are in a state: an
// update puts another row in its place, so that readers need no lock.
type row struct {
	id   int64
	vals []any // by property index: nil, string, int64, int32, bool, []byte or time.Time
}

func (r *row) version() uint64 {
	b, _ := r.vals[len(r.vals)-1].([]byte) // Version is the last property of every type.
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *row) str(p int) string   { s, _ := r.vals[p].(string); return s }
func (r *row) num(p int) int64    { n, _ := r.vals[p].(int64); return n }
func (r *row) bytes(p int) []byte { b, _ := r.vals[p].([]byte); return b }
func (r *row) when(p int) time.Time {
	t, _ := r.vals[p].(time.Time)
	return t
}
func (r *row) yes(p int) bool { b, _ := r.vals[p].(bool); return b }

// state is everything that stands in a namespace at one moment. It is never
// changed after it was published; a change makes another one that shares the
// sets it does not touch.
type state struct {
	sets [typeCount][]*row // ascending by Id
}

func (st *state) find(t *entityType, id int64) *row {
	rows := st.sets[t.index]
	i := sort.Search(len(rows), func(i int) bool { return rows[i].id >= id })
	if i < len(rows) && rows[i].id == id {
		return rows[i]
	}
	return nil
}

// children returns the entities at the many end of nav from the parent id.
func (st *state) children(nav *navigation, id int64) []*row {
	var out []*row
	for _, r := range st.sets[nav.target.index] {
		if r.num(nav.fk) == id {
			out = append(out, r)
		}
	}
	return out
}

// parent returns the entity at the single end of nav, or nil.
func (st *state) parent(nav *navigation, child *row) *row {
	return st.find(nav.target, child.num(nav.fk))
}

func (st *state) byName(t *entityType, name string, same func(a, b string) bool) *row {
	p := t.at("Name")
	for _, r := range st.sets[t.index] {
		if s, ok := r.vals[p].(string); ok && same(s, name) {
			return r
		}
	}
	return nil
}

// put adds r, or replaces the row of the same Id, in a set of its own.
func (st *state) put(t *entityType, r *row) {
	old := st.sets[t.index]
	i := sort.Search(len(old), func(i int) bool { return old[i].id >= r.id })
	rows := make([]*row, 0, len(old)+1)
	rows = append(append(rows, old[:i]...), r)
	if i < len(old) && old[i].id == r.id {
		i++
	}
	st.sets[t.index] = append(rows, old[i:]...)
}

func (st *state) remove(t *entityType, id int64) {
	old := st.sets[t.index]
	rows := make([]*row, 0, len(old))
	for _, r := range old {
		if r.id != id {
			rows = append(rows, r)
		}
	}
	st.sets[t.index] = rows
}

func versionBytes(v uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, v)
}

func (r *row) clone() *row {
	return &row{id: r.id, vals: append([]any(nil), r.vals...)}
}

// blank is an entity with every property at its default: null where it may be
// null, else zero.
func blank(t *entityType) *row {
	r := &row{vals: make([]any, len(t.props))}
	for i, p := range t.props {
		if !p.nullable {
			r.vals[i] = zero(p.kind)
		}
	}
	return r
}

func zero(k edm) any {
	switch k {
	case edmInt64:
		return int64(0)
	case edmInt32:
		return int32(0)
	case edmBool:
		return false
	case edmDateTime:
		return time.Time{}
	}
	return nil
}
