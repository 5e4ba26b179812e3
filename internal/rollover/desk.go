package rollover

// NeedsPerson reports whether a task that ended so is left for a person: it used up
// its tries, its target changed, or only its owner can go on.
func (o Outcome) NeedsPerson() bool { return o == Failed || o == Conflict || o == HandedOver }

// NeedPerson returns up to limit tasks from position from on that need a person, in
// plan order.
func (b *Board) NeedPerson(from, limit int) []int {
	if b.c.Outcomes[Failed]+b.c.Outcomes[Conflict]+b.c.Outcomes[HandedOver] == 0 {
		return nil
	}
	var out []int
	for i := max(0, from); i < len(b.rows) && len(out) < limit; i++ {
		if b.rows[i].Outcome.NeedsPerson() {
			out = append(out, i)
		}
	}
	return out
}
