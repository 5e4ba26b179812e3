package kubernetes_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/jet"
)

// What KEDA goes by is a stream and a consumer that there are, and a lag that workers
// who have all their hands full pass.
func TestScaledObject_GoesByWhatThereIs(t *testing.T) {
	all := rendered(t, "overlays/example")
	o, ok := of(all, "ScaledObject")["crossfade-worker"]
	if !ok || len(o.Spec.Triggers) == 0 {
		t.Fatal("there is no ScaledObject with triggers")
	}
	d, ok := of(all, "Deployment")[o.Spec.ScaleTargetRef.Name]
	if !ok || d.Spec.Template.Spec.Containers[0].Args[0] != "work" {
		t.Errorf("it scales %s, want the workers", o.Spec.ScaleTargetRef.Name)
	}
	if d.Spec.Replicas != nil {
		t.Errorf("the deployment says %d replicas too", *d.Spec.Replicas)
	}
	if o.Spec.MinReplicaCount < 1 {
		t.Errorf("minReplicaCount is %d: without a worker nothing is sent, and there is no lag to begin from", o.Spec.MinReplicaCount)
	}
	cfg, err := daemon.Load(mounted(t, all, d.Spec.Template.Spec))
	if err != nil {
		t.Fatal(err)
	}
	hands := map[string]int{"tasks": cfg.Workers.TaskSlots, "plans": cfg.Workers.PlanSlots}

	b, err := jet.Open(t.Context(), jet.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	nc, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var consumers []string
	for _, tr := range o.Spec.Triggers {
		m := tr.Metadata
		if tr.Type != "nats-jetstream" || m["natsServerMonitoringEndpoint"] == "" || m["account"] == "" {
			t.Errorf("trigger %+v", tr)
		}
		if _, err := js.Consumer(t.Context(), m["stream"], m["consumer"]); err != nil {
			t.Errorf("stream %s has no consumer %s: %v", m["stream"], m["consumer"], err)
		}
		if lag, err := strconv.Atoi(m["lagThreshold"]); err != nil || lag < 1 || lag >= hands[m["consumer"]] {
			t.Errorf("lagThreshold of %s is %q, want less than the %d that a worker has in hand when it is busy", m["consumer"], m["lagThreshold"], hands[m["consumer"]])
		}
		consumers = append(consumers, m["consumer"])
	}
	if slices.Sort(consumers); !slices.Equal(consumers, []string{"plans", "tasks"}) {
		t.Errorf("it goes by %v, want tasks and plans", consumers)
	}
}
