package acs

import "strings"

// branch is a tree of navigations, for $expand, and of properties, for $select.
type branch struct {
	all   bool
	props map[string]bool
	kids  map[string]*branch
}

func newBranch() *branch {
	return &branch{props: make(map[string]bool), kids: make(map[string]*branch)}
}

// shows says whether a property is to be written.
func (b *branch) shows(prop string) bool { return b == nil || b.all || b.props[prop] }

// leads says whether a navigation is to be written, and what of its target.
func (b *branch) leads(nav string) (*branch, bool) {
	if b == nil {
		return nil, true
	}
	if kid, ok := b.kids[nav]; ok {
		return kid, true
	}
	return nil, b.all
}

func compileExpand(t *entityType, text string) (*branch, *refusal) {
	root := newBranch()
	for _, path := range strings.Split(text, ",") {
		at, b := t, root
		for _, name := range strings.Split(strings.TrimSpace(path), "/") {
			nav := at.nav(name)
			if nav == nil {
				return nil, badRequest("No navigation property '%s' exists in type '%s'", name, at.full())
			}
			if b.kids[name] == nil {
				b.kids[name] = newBranch()
			}
			at, b = nav.target, b.kids[name]
		}
	}
	return root, nil
}

// compileSelect makes the tree of what is to be written. A path into a
// navigation needs that this be expanded.
func compileSelect(t *entityType, text string, expand *branch) (*branch, *refusal) {
	root := newBranch()
	for _, path := range strings.Split(text, ",") {
		at, b, e := t, root, expand
		names := strings.Split(strings.TrimSpace(path), "/")
		for i, name := range names {
			last := i == len(names)-1
			_, isProp := at.byName[name]
			switch nav := at.nav(name); {
			case name == "*" && last:
				b.all = true
			case isProp && last:
				b.props[name] = true
			case nav != nil && last:
				b.kids[name] = nil
			case nav != nil && e != nil && e.kids[name] != nil:
				if b.kids[name] == nil {
					b.kids[name] = newBranch()
				}
				at, b, e = nav.target, b.kids[name], e.kids[name]
			default:
				return nil, badRequest("No property '%s' that could be selected exists in type '%s'", name, at.full())
			}
		}
	}
	return root, nil
}
