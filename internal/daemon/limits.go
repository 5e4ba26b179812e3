package daemon

// Limits is what one caller may take of a process. A person is one caller, however they
// prove who they are; whoever names nobody is one for each address.
type Limits struct {
	// CallsPerSecond is how many calls a caller may make in the long run, and twice as
	// many at once, 1 to 100000; 0: as many as they like. Default 200.
	CallsPerSecond float64 `yaml:"calls_per_second"`
	// Watches is how many watches a caller may have open, 1 to 4096; 0: as many as the
	// process takes. Default 64.
	Watches int `yaml:"watches"`
	// Uploads is how many imports and uploads of target sets a caller may have under way
	// at once, 1 to 1000; 0: as many as they like. Default 8: each makes the store work.
	Uploads int `yaml:"uploads"`
	// Rotations is how many rotations that have not ended a caller may have asked for, of
	// all processes together, 1 to 10000; 0: as many as they like. Default 100.
	Rotations int `yaml:"rotations"`
}

// limits checks what one caller may take.
func (k *checker) limits(l Limits) {
	if l.CallsPerSecond != 0 && !(l.CallsPerSecond >= 1 && l.CallsPerSecond <= 100_000) {
		k.fail("limits.calls_per_second", "want 1 to 100000, or 0 for no limit")
	}
	if l.Watches < 0 || l.Watches > 4096 {
		k.fail("limits.watches", "want 1 to 4096, or 0 for no limit")
	}
	if l.Uploads < 0 || l.Uploads > 1000 {
		k.fail("limits.uploads", "want 1 to 1000, or 0 for no limit")
	}
	if l.Rotations < 0 || l.Rotations > 10_000 {
		k.fail("limits.rotations", "want 1 to 10000, or 0 for no limit")
	}
}
