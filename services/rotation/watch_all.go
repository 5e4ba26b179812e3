package rotation

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/mirror"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// The bounds of one part of a snapshot of rotations.
const (
	snapshotRotations = 100
	snapshotBytes     = 1 << 20
)

// panorama is all rotations as they were at one instant, made once for all who watch.
type panorama struct {
	mu      sync.Mutex
	made    time.Time
	version uint64
	views   []mirror.View
}

// panoramaAge is how old what watchers of many rotations are told may be.
const panoramaAge = time.Second

// look returns all rotations, newest first, and a number that changes with them.
func (p *panorama) look(m Mirror) ([]mirror.View, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.made) < panoramaAge && p.views != nil {
		return p.views, p.version
	}
	if v := m.Version(); p.views == nil || v != p.version {
		p.version, p.views = v, m.Rotations()
	}
	p.made = time.Now()
	return p.views, p.version
}

// WatchRotations tells how rotations stand until its reader goes away.
func (s *Service) WatchRotations(req *pb.WatchRotationsRequest, stream grpc.ServerStreamingServer[pb.WatchRotationsResponse]) error {
	filter, err := edge.ParseFilter(req.GetFilter(), rotationFields())
	if err != nil {
		return err
	}
	ctx := stream.Context()
	if err := s.ready(ctx); err != nil {
		return err
	}
	w := &watchAll{s: s, filter: filter, ended: req.GetIncludeEnded(), told: map[string]shown{}, out: newOutlet(stream, s.c.SlowAfter)}
	if err := w.snapshot(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(panoramaAge)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		n, err := w.changes(ctx)
		if err != nil {
			return err
		}
		if n == 0 && time.Since(last) >= s.c.Checkpoint {
			if err := w.send(ctx, &pb.WatchRotationsResponse{Event: &pb.WatchRotationsResponse_Checkpoint{Checkpoint: &pb.Checkpoint{}}}); err != nil {
				return err
			}
			n = 1
		}
		if n > 0 {
			last = time.Now()
		}
	}
}

// watchAll is one watch of many rotations. It is for one goroutine.
type watchAll struct {
	s      *Service
	filter *edge.Filter
	ended  bool // those too that had ended before
	out    *outlet

	told    map[string]shown // as it was told last, by id
	looked  uint64           // number of the panorama that was told
	checked time.Time        // when it was looked at last whose tenants the caller sees
}

// shown is what of a rotation was told: that the same was, without keeping it. There is
// one for each rotation of each watch.
type shown struct {
	from version
	hash [sha256.Size]byte // of the rotation as shown, without the forecast
}

// version is all that a rotation as shown is made from. Where it is the same, so is what
// would be shown, and nothing is made.
type version struct {
	rev, seq uint64
	slowed   int // the pace of everything, which is in the throttle of each
	extent   extent
}

func versionOf(v mirror.View, e extent) version {
	return version{v.Rotation.Rev, v.Seq, v.Counts.Slowed, e}
}

// showing returns what is to be remembered of a rotation: without the forecast, which is
// new each time and no news.
func showing(v mirror.View, l lens) (shown, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.rotation(rotationProto(v.Rotation, v.Counts)))
	if err != nil {
		return shown{}, fmt.Errorf("encoding rotation %s: %w", v.Rotation.ID, err)
	}
	return shown{versionOf(v, l.extent), sha256.Sum256(b)}, nil
}

// sightEvery is how often it is looked again at which tenants the caller sees, though no
// rotation changed.
const sightEvery = 10 * time.Second

// visit calls see for every rotation that matches. One that had ended before, and was
// never told, is left out unless those are asked for. For a caller who may not see all, it
// looks at the newest listLook rotations: so many selections are read at most.
func (w *watchAll) visit(ctx context.Context, views []mirror.View, see func(v mirror.View, l lens) error) error {
	in, err := w.s.sights.Of(ctx)
	if err != nil {
		return err
	}
	looked := 0
	for _, v := range views {
		if _, known := w.told[v.Rotation.ID]; !known && v.Rotation.State.Ended() && !w.ended {
			continue
		}
		if looked++; looked > listLook && !in.All() {
			return nil
		}
		e, err := w.s.extent(ctx, in, v.Rotation.ID)
		if err != nil {
			return err
		}
		if e == unseen || !w.filter.Match(rotationValue(visible(v.Rotation, e))) {
			continue
		}
		if err := see(v, lens{in, e}); err != nil {
			return err
		}
	}
	return nil
}

// snapshot tells all that match, in parts.
func (w *watchAll) snapshot(ctx context.Context) error {
	var views []mirror.View
	views, w.looked = w.s.panorama.look(w.s.c.Mirror)
	w.checked = time.Now()
	part, bytes := &pb.RotationsSnapshot{}, 0
	flush := func(more bool) error {
		part.More = more
		err := w.send(ctx, &pb.WatchRotationsResponse{Event: &pb.WatchRotationsResponse_Snapshot{Snapshot: part}})
		part, bytes = &pb.RotationsSnapshot{}, 0
		return err
	}
	err := w.visit(ctx, views, func(v mirror.View, l lens) error {
		now, err := showing(v, l)
		if err != nil {
			return err
		}
		p := l.rotation(w.s.show(ctx, v))
		size := proto.Size(p)
		if n := len(part.GetRotations()); n == snapshotRotations || n > 0 && bytes+size > snapshotBytes {
			if err := flush(true); err != nil {
				return err
			}
		}
		part.Rotations, bytes = append(part.Rotations, p), bytes+size
		w.told[v.Rotation.ID] = now
		return nil
	})
	if err != nil {
		return err
	}
	return flush(false)
}

// changes tells what is other than it was told, and returns how much that was.
func (w *watchAll) changes(ctx context.Context) (n int, err error) {
	views, version := w.s.panorama.look(w.s.c.Mirror)
	if version == w.looked && time.Since(w.checked) < sightEvery {
		return 0, nil
	}
	w.looked, w.checked = version, time.Now()
	there := make(map[string]bool, len(w.told))
	err = w.visit(ctx, views, func(v mirror.View, l lens) error {
		id := v.Rotation.ID
		there[id] = true
		before, known := w.told[id]
		if known && before.from == versionOf(v, l.extent) {
			return nil
		}
		now, err := showing(v, l)
		if err != nil {
			return err
		}
		w.told[id] = now
		if known && before.hash == now.hash {
			return nil
		}
		n++
		return w.send(ctx, &pb.WatchRotationsResponse{Event: &pb.WatchRotationsResponse_Rotation{Rotation: l.rotation(w.s.show(ctx, v))}})
	})
	if err != nil {
		return n, err
	}
	for id := range w.told {
		if there[id] {
			continue
		}
		delete(w.told, id)
		n++
		if err := w.send(ctx, &pb.WatchRotationsResponse{Event: &pb.WatchRotationsResponse_Gone{Gone: edge.RotationName(id)}}); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *watchAll) send(ctx context.Context, m *pb.WatchRotationsResponse) error {
	m.EventTime = timestamppb.New(w.s.c.Now())
	e, err := edge.Encode(m)
	if err != nil {
		return err
	}
	return w.out.send(ctx, e)
}
