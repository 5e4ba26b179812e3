package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crossfade-project/crossfade/internal/jet"
)

// The broker is asked at most once in gaugesEvery, however many scrape, and is given
// gaugesTimeout to answer.
const (
	gaugesEvery   = 5 * time.Second
	gaugesTimeout = 2 * time.Second
)

// NewQueues returns gauges of what the broker holds, asked for by each scrape:
//
//	crossfade_broker_up                     0 while it does not answer; then the rest is not there
//	crossfade_stream_bytes{stream}          and crossfade_stream_max_bytes, crossfade_stream_messages
//	crossfade_queue_waiting{queue}          nudges that no worker has
//	crossfade_queue_in_hand{queue}          nudges with workers
//	crossfade_queue_redelivered{queue}      of those, how many another worker had before
//	crossfade_mirror_behind_changes         changes of states that this process has not taken in
//	crossfade_rotations_unread              rotations whose plan this process cannot read
//
// m tells the last two, which are of this process alone. The others are the same in
// every process, so take the greatest and not the sum.
func NewQueues(read func(context.Context) (jet.Gauges, error), m Copy) prometheus.Collector {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &queueGauges{
		read: read, m: m,
		up:          gauge("crossfade_broker_up", "1 if the broker answers this process."),
		bytes:       gauge("crossfade_stream_bytes", "What a stream holds, in bytes.", "stream"),
		most:        gauge("crossfade_stream_max_bytes", "What a stream may hold, in bytes; it is not there where nothing bounds it.", "stream"),
		messages:    gauge("crossfade_stream_messages", "Messages that a stream holds.", "stream"),
		waiting:     gauge("crossfade_queue_waiting", "Nudges that no worker has, by queue.", "queue"),
		inHand:      gauge("crossfade_queue_in_hand", "Nudges that workers have in hand, by queue.", "queue"),
		redelivered: gauge("crossfade_queue_redelivered", "Nudges in hand that another worker had before, by queue.", "queue"),
		behind:      gauge("crossfade_mirror_behind_changes", "Changes of states that this process has not taken in yet."),
		unread:      gauge("crossfade_rotations_unread", "Rotations that are not listed because this process cannot read their plans."),
	}
}

// Copy is a process' own copy of what is stored.
type Copy interface {
	// Folded returns the version of the state that was taken in last.
	Folded() uint64
	// Unread returns how many rotations could not be taken in.
	Unread() int
}

type queueGauges struct {
	read func(context.Context) (jet.Gauges, error)
	m    Copy

	up, bytes, most, messages, waiting, inHand, redelivered, behind, unread *prometheus.Desc

	mu   sync.Mutex
	at   time.Time
	last jet.Gauges
	err  error
}

// Describe sends what there is to measure.
func (g *queueGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.up, g.bytes, g.most, g.messages, g.waiting, g.inHand, g.redelivered, g.behind, g.unread} {
		ch <- d
	}
}

// ask returns what the broker said last, or says now.
func (g *queueGauges) ask() (jet.Gauges, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at.IsZero() || time.Since(g.at) >= gaugesEvery {
		ctx, cancel := context.WithTimeout(context.Background(), gaugesTimeout)
		defer cancel()
		g.last, g.err = g.read(ctx)
		g.at = time.Now()
	}
	return g.last, g.err
}

// Collect sends what the broker says.
func (g *queueGauges) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	folded := g.m.Folded() // Before the broker is asked: behind is never more than it was.
	now, err := g.ask()
	send(g.up, oneIf(err == nil))
	if err != nil {
		return
	}
	send(g.unread, float64(g.m.Unread()))
	for name, s := range now.Streams {
		send(g.bytes, float64(s.Bytes), name)
		send(g.messages, float64(s.Messages), name)
		if s.Max > 0 {
			send(g.most, float64(s.Max), name)
		}
		if name == jet.States {
			send(g.behind, float64(s.Last-min(s.Last, folded)))
		}
	}
	for name, q := range now.Queues {
		send(g.waiting, float64(q.Waiting), name)
		send(g.inHand, float64(q.InHand), name)
		send(g.redelivered, float64(q.Redelivered), name)
	}
}
