package rotation

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// strategyOf reads a strategy. Without one a rotation starts slowly.
func strategyOf(p *pb.Strategy) rollover.Strategy {
	s := rollover.Strategy{Start: rollover.SlowStart, Bake: p.GetBakeTime().AsDuration()}
	if p.GetStart() == pb.Strategy_START_FULL {
		s.Start = rollover.FullStart
	}
	for _, w := range p.GetWaves() {
		if size, ok := w.GetSize().(*pb.WaveSize_Percent); ok {
			s.Waves = append(s.Waves, rollover.WaveSize{Size: int(size.Percent), Percent: true})
			continue
		}
		s.Waves = append(s.Waves, rollover.WaveSize{Size: int(w.GetTasks())})
	}
	s.Order, s.Gates = orderOf(p.GetOrder()), gatesOf(p.GetGates())
	return s
}

// strategyProto is the way back; nothing for rotations that have no waves.
func strategyProto(s rollover.Strategy) *pb.Strategy {
	p := &pb.Strategy{}
	switch s.Start {
	case rollover.SlowStart:
		p.Start = pb.Strategy_START_SLOW
	case rollover.FullStart:
		p.Start = pb.Strategy_START_FULL
	default:
		return nil
	}
	if s.Bake > 0 {
		p.BakeTime = durationpb.New(s.Bake)
	}
	for _, w := range s.Waves {
		size := &pb.WaveSize{Size: &pb.WaveSize_Tasks{Tasks: int32(w.Size)}} //nolint:gosec // Bounded by Validate.
		if w.Percent {
			size.Size = &pb.WaveSize_Percent{Percent: int32(w.Size)} //nolint:gosec // As above.
		}
		p.Waves = append(p.Waves, size)
	}
	p.Order, p.Gates = orderProto(s.Order), gatesProto(s.Gates)
	return p
}

// wavesProto says which waves there are, and where the rotation stands in them.
func wavesProto(r rollover.Rotation, c rollover.Counts) ([]int64, *pb.WaveStatus) {
	if r.Spec.Strategy.Start == "" {
		return nil, nil
	}
	var sizes []int64
	for _, n := range r.Spec.Strategy.Sizes(c.Workable) {
		sizes = append(sizes, int64(n))
	}
	w, ok := r.Wave(c)
	if !ok {
		return sizes, nil
	}
	return sizes, &pb.WaveStatus{
		Number: int32(w.Number), Tasks: int64(w.Size), Done: int64(w.Done), //nolint:gosec // There are fewer waves than tasks.
		Failed: int64(w.Failed), Tolerated: int64(w.Allowed(w.Size)), BakeUntil: instant(w.Until),
	}
}
