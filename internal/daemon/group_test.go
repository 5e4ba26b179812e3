package daemon_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

// diary keeps what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// part runs until it is told to end, and says so.
func (d *diary) part(name string, started *sync.WaitGroup) func(context.Context) error {
	return func(ctx context.Context) error {
		started.Done()
		<-ctx.Done()
		d.write(name)
		return ctx.Err()
	}
}

func TestGroup_StopsInTheReverseOrder(t *testing.T) {
	var d diary
	var started sync.WaitGroup
	started.Add(3)
	g := &daemon.Group{}
	g.OnStop("broker", func(ctx context.Context) error {
		if ctx.Err() != nil {
			t.Error("closing the broker has no time left, want some")
		}
		d.write("broker")
		return nil
	})
	for _, name := range []string{"mirror", "workers", "api"} {
		g.Add(name, d.part(name, &started))
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { started.Wait(); stop() }()
	if err := g.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil after a stop that was asked for", err)
	}
	if want := []string{"api", "workers", "mirror", "broker"}; !reflect.DeepEqual(d.lines, want) {
		t.Errorf("stopped in the order %v, want %v", d.lines, want)
	}
}

func TestGroup_OneThatEndsTakesTheOthersAlong(t *testing.T) {
	broken := errors.New("broken")
	cases := []struct {
		name string
		err  error
		want string
	}{
		{"with an error", broken, "mirror: broken"},
		{"without one", nil, "mirror: ended by itself"},
		{"as if it had been told to", context.Canceled, "mirror: ended by itself"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var d diary
			var started sync.WaitGroup
			started.Add(1)
			g := &daemon.Group{}
			g.Add("api", d.part("api", &started))
			g.Add("mirror", func(context.Context) error { started.Wait(); return c.err })
			err := g.Run(t.Context())
			if err == nil || err.Error() != c.want {
				t.Errorf("Run = %v, want %s", err, c.want)
			}
			if errors.Is(c.err, broken) && !errors.Is(err, broken) {
				t.Errorf("Run = %v, which is not the error of the part", err)
			}
			if !reflect.DeepEqual(d.lines, []string{"api"}) {
				t.Errorf("stopped %v, want the api", d.lines)
			}
		})
	}
}

func TestGroup_TellsWhatFailsWhileStopping(t *testing.T) {
	g := &daemon.Group{}
	g.OnStop("broker", func(context.Context) error { return errors.New("disk full") })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := g.Run(ctx); err == nil || err.Error() != "broker: disk full" {
		t.Errorf("Run = %v, want broker: disk full", err)
	}
}

func TestGroup_LeavesBehindWhatDoesNotEnd(t *testing.T) {
	var d diary
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	g := &daemon.Group{StopTimeout: time.Millisecond}
	g.OnStop("broker", func(context.Context) error { d.write("broker"); return nil })
	g.Add("stubborn", func(context.Context) error { <-release; return nil })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := g.Run(ctx)
	if !errors.Is(err, daemon.ErrStuck) || !strings.HasPrefix(err.Error(), "stubborn") {
		t.Errorf("Run = %v, want stubborn as ErrStuck", err)
	}
	if !reflect.DeepEqual(d.lines, []string{"broker"}) {
		t.Errorf("stopped %v, want the broker all the same", d.lines)
	}
}

// All together end in the time that one is given: a process manager counts from the
// signal, not from part to part.
func TestGroup_AllStopInOneTime(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	g := &daemon.Group{StopTimeout: time.Second}
	for _, name := range []string{"broker", "mirror", "workers", "api"} {
		g.Add(name, func(context.Context) error { <-release; return nil })
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	begun := time.Now()
	err := g.Run(ctx)
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("four parts that do not end took %s to be left behind, want about one second and a little for each", took)
	}
	for _, name := range []string{"broker", "mirror", "workers", "api"} {
		if !strings.Contains(err.Error(), name+": "+daemon.ErrStuck.Error()) {
			t.Errorf("Run = %v, want %s named", err, name)
		}
	}
}
