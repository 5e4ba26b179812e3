package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ObserveIdentity tells, in reg, whether what proves and allows is what its files say,
// and until when it holds. Either may be nil: then nothing is told of it.
func ObserveIdentity(reg prometheus.Registerer, listener *ServerTLS, rightsProblem func() error) {
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	if rightsProblem != nil {
		gauge("crossfade_rights_stale", "1 while the rights file cannot be read, so that the rights of before are in use.",
			func() float64 { return oneIf(rightsProblem() != nil) })
	}
	if listener == nil {
		return
	}
	gauge("crossfade_listener_files_stale", "1 while the files of the listener cannot be used, so that those of before are.",
		func() float64 { return oneIf(listener.Problem() != nil) })
	gauge("crossfade_listener_certificate_end_seconds", "When the listener's certificate ends, in seconds since 1970.",
		func() float64 { end, _ := listener.Ends(); return unix(end) })
	gauge("crossfade_revocation_lists_end_seconds", "When the first of the revocation lists ends, in seconds since 1970; 0: there is none.",
		func() float64 { _, end := listener.Ends(); return unix(end) })
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
