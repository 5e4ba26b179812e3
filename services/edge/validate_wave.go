package edge

import (
	"fmt"
	"regexp"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of orders and gates, as the contract states them.
const (
	maxOrderKeys   = 8
	maxOrderValues = 100
	maxOrderValue  = 128
	maxGates       = 8
)

// checkName is the form of the name of a check in the configuration; see
// package gates.
var checkName = regexp.MustCompile("^[a-z][a-z0-9-]{0,62}$")

func (v *violations) order(path string, keys []*pb.OrderKey) {
	v.count(path, len(keys), 0, maxOrderKeys)
	for i, k := range keys[:min(len(keys), maxOrderKeys)] {
		at := fmt.Sprintf("%s[%d]", path, i)
		said := false
		switch key := k.GetKey().(type) {
		case *pb.OrderKey_Label:
			said = true
			v.text(at+".label", key.Label, maxLabelKey)
			if key.Label == "" {
				v.add(at+".label", "REQUIRED", "must name a label")
			}
		case *pb.OrderKey_Region:
			said = key.Region
		case *pb.OrderKey_Cloud:
			said = key.Cloud
		case *pb.OrderKey_Tier:
			said = key.Tier
		}
		if !said {
			v.add(at, "REQUIRED", "must say label, region, cloud or tier")
		}
		v.count(at+".values", len(k.GetValues()), 0, maxOrderValues)
		seen := map[string]bool{}
		for j, value := range k.GetValues()[:min(len(k.GetValues()), maxOrderValues)] {
			switch {
			case value == "" || len(value) > maxOrderValue:
				v.add(fmt.Sprintf("%s.values[%d]", at, j), "LENGTH", "must have 1 to 128 bytes")
			case seen[value]:
				v.add(fmt.Sprintf("%s.values[%d]", at, j), "CONFLICT", "is there twice")
			}
			seen[value] = true
		}
	}
}

func (v *violations) gates(path string, gates []*pb.Gate) {
	v.count(path, len(gates), 0, maxGates)
	for i, g := range gates[:min(len(gates), maxGates)] {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch gate := g.GetGate().(type) {
		case *pb.Gate_Manual:
			if !gate.Manual {
				v.add(at+".manual", "RANGE", "must be true, or check be set instead")
			}
		case *pb.Gate_Check:
			if !checkName.MatchString(gate.Check) {
				v.add(at+".check", "FORMAT", "must be the name of a check: 1 to 63 lower-case letters, digits and hyphens, beginning with a letter")
			}
		default:
			v.add(at, "REQUIRED", "must say manual or check")
		}
	}
}

func (v *violations) decision(m *pb.DecideWaveRequest) {
	v.reason(m.GetReason())
	if m.GetWave() < 1 {
		v.add("wave", "RANGE", "must be the number of a wave, from 1")
	}
	switch m.GetResult() {
	case pb.GateResult_GATE_RESULT_PASS, pb.GateResult_GATE_RESULT_FAIL, pb.GateResult_GATE_RESULT_INCONCLUSIVE:
	default:
		v.add("result", "REQUIRED", "must be PASS, FAIL or INCONCLUSIVE")
	}
}
