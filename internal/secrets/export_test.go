package secrets

// Kept returns how many answers of stores are in a resolver's memory.
func Kept(r *Resolver) int { return r.cache.entries.Len() }
