package edge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

func labelKey(name string, values ...string) *pb.OrderKey {
	return &pb.OrderKey{Key: &pb.OrderKey_Label{Label: name}, Values: values}
}

func checkGate(name string) *pb.Gate { return &pb.Gate{Gate: &pb.Gate_Check{Check: name}} }

// ordered returns a request with these keys, gated one with these gates.
func ordered(keys ...*pb.OrderKey) proto.Message {
	m := fine()
	m.Rotation.Spec.Strategy = &pb.Strategy{Order: keys}
	return m
}

func gated(gates ...*pb.Gate) proto.Message {
	m := fine()
	m.Rotation.Spec.Strategy = &pb.Strategy{Gates: gates}
	return m
}

// tolerant returns a request with a tolerance of the rotation's mode, and another
// for each tenant.
func tolerant(mode pb.Tolerance_Mode, tenant *pb.Tolerance) proto.Message {
	m := fine()
	m.Rotation.Spec.Tolerance = &pb.Tolerance{Mode: mode, Limit: &pb.Tolerance_Percent{Percent: 10}}
	m.Rotation.Spec.TenantTolerance = tenant
	return m
}

func decision(f func(*pb.DecideWaveRequest)) proto.Message {
	m := &pb.DecideWaveRequest{Name: "rotations/" + id, Wave: 1, Result: pb.GateResult_GATE_RESULT_PASS, Reason: "x", RequestId: id}
	f(m)
	return m
}

func TestValidate_OrderGatesAndTenantTolerance(t *testing.T) {
	const order, gates, tenant = "rotation.spec.strategy.order", "rotation.spec.strategy.gates", "rotation.spec.tenant_tolerance"
	region := &pb.OrderKey{Key: &pb.OrderKey_Region{Region: true}}
	manual := &pb.Gate{Gate: &pb.Gate_Manual{Manual: true}}
	var values []string
	for i := range 101 {
		values = append(values, fmt.Sprint(i))
	}
	failures := func(n int32, m pb.Tolerance_Mode) *pb.Tolerance {
		return &pb.Tolerance{Mode: m, Limit: &pb.Tolerance_Failures{Failures: n}}
	}
	percent := func(n int32) *pb.Tolerance {
		return &pb.Tolerance{Limit: &pb.Tolerance_Percent{Percent: n}}
	}
	const strict, soft = pb.Tolerance_MODE_STRICT, pb.Tolerance_MODE_SOFT
	for _, c := range []struct {
		path string // empty: nothing is wrong
		m    proto.Message
	}{
		{"", ordered(labelKey("tier", values[:100]...), region, &pb.OrderKey{Key: &pb.OrderKey_Cloud{Cloud: true}}, &pb.OrderKey{Key: &pb.OrderKey_Tier{Tier: true}})},
		{"", ordered(slices.Repeat([]*pb.OrderKey{region}, 8)...)},
		{order, ordered(slices.Repeat([]*pb.OrderKey{region}, 9)...)},
		{order + "[1]", ordered(region, &pb.OrderKey{})},
		{order + "[0]", ordered(&pb.OrderKey{Key: &pb.OrderKey_Region{}})},
		{order + "[0]", ordered(&pb.OrderKey{Key: &pb.OrderKey_Cloud{}})},
		{order + "[0]", ordered(&pb.OrderKey{Key: &pb.OrderKey_Tier{}})},
		{order + "[0].label", ordered(labelKey(""))},
		{order + "[0].label", ordered(labelKey(strings.Repeat("x", 1000)))},
		{order + "[0].values", ordered(labelKey("ring", values...))},
		{order + "[0].values[1]", ordered(labelKey("ring", "a", ""))},
		{order + "[0].values[0]", ordered(labelKey("ring", strings.Repeat("x", 129)))},
		{order + "[0].values[2]", ordered(labelKey("ring", "a", "b", "a"))},
		{"", gated(manual, checkGate("a"), checkGate("a-9"), checkGate("x"+strings.Repeat("y", 62)))},
		{gates, gated(slices.Repeat([]*pb.Gate{manual}, 9)...)},
		{gates + "[0]", gated(&pb.Gate{})},
		{gates + "[1].manual", gated(manual, &pb.Gate{Gate: &pb.Gate_Manual{}})},
		{gates + "[0].check", gated(checkGate(""))},
		{gates + "[0].check", gated(checkGate("Health"))},
		{gates + "[0].check", gated(checkGate("9lives"))},
		{gates + "[0].check", gated(checkGate("health\n"))},
		{gates + "[0].check", gated(checkGate("../health"))},
		{gates + "[0].check", gated(checkGate("x" + strings.Repeat("y", 63)))},
		{"", tolerant(strict, nil)},
		{"", tolerant(strict, failures(0, 0))},
		{"", tolerant(strict, percent(100))},
		{"", tolerant(soft, failures(2, soft))},
		{"", tolerant(soft, failures(2, strict))},
		{tenant + ".mode", tolerant(strict, failures(2, soft))},
		{tenant + ".mode", tolerant(0, failures(2, soft))},
		{tenant + ".mode", tolerant(strict, failures(2, 9))},
		{tenant, tolerant(strict, &pb.Tolerance{})},
		{tenant + ".failures", tolerant(strict, failures(-1, strict))},
		{tenant + ".percent", tolerant(strict, percent(101))},
		{tenant + ".percent", tolerant(strict, percent(-1))},
	} {
		judge(t, c.path, c.m)
	}
}

func TestValidate_DecideWave(t *testing.T) {
	for path, f := range map[string]func(*pb.DecideWaveRequest){
		"":           func(m *pb.DecideWaveRequest) { m.RequestId, m.Reason = "", strings.Repeat("ü", 500) },
		"name":       func(m *pb.DecideWaveRequest) { m.Name = "waves/1" },
		"wave":       func(m *pb.DecideWaveRequest) { m.Wave = 0 },
		"result":     func(m *pb.DecideWaveRequest) { m.Result = 0 },
		"reason":     func(m *pb.DecideWaveRequest) { m.Reason = " " },
		"request_id": func(m *pb.DecideWaveRequest) { m.RequestId = "1" },
	} {
		judge(t, path, decision(f))
	}
	judge(t, "wave", decision(func(m *pb.DecideWaveRequest) { m.Wave = -1 }))
	judge(t, "result", decision(func(m *pb.DecideWaveRequest) { m.Result = 77 }))
	judge(t, "reason", decision(func(m *pb.DecideWaveRequest) { m.Reason = strings.Repeat("x", 1001) }))
}

// judge says what is wrong with what Validate says of m: it should complain of path,
// or of nothing where that is empty.
func judge(t *testing.T, path string, m proto.Message) {
	t.Helper()
	vs := edge.Validate(m)
	if path == "" && len(vs) > 0 {
		t.Errorf("Validate(%v) = %v, want nothing", m, vs)
	}
	if path != "" && !slices.ContainsFunc(vs, func(v *edge.Violation) bool { return v.GetField() == path }) {
		t.Errorf("Validate(%v) has nothing against %s: %v", m, path, vs)
	}
}
