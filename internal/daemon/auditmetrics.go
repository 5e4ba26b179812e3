package daemon

import "github.com/prometheus/client_golang/prometheus"

// auditing are the metrics of the audit log's keeper.
type auditing struct{ signed, tampered prometheus.Gauge }

func newAuditing(reg prometheus.Registerer) auditing {
	a := auditing{
		signed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crossfade_audit_signed_records", Help: "Records of the audit log that a signed checkpoint covers, as this process knows; 0 where another signs.",
		}),
		tampered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crossfade_audit_tampered", Help: "1 if this process found that the audit log is not as it was signed.",
		}),
	}
	reg.MustRegister(a.signed, a.tampered)
	return a
}

// AuditSigned takes in how many records are covered by a signed checkpoint.
func (m *Metrics) AuditSigned(records int64) {
	m.audit.signed.Set(float64(records))
	m.audit.tampered.Set(0)
}

// AuditTampered takes in whether the log was found changed.
func (m *Metrics) AuditTampered(is bool) {
	if is {
		m.audit.tampered.Set(1)
	}
}
