package jet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// minLevel is the JetStream API level of the nats-server 2.15 that this was
// written and tested against, and of 2.14, which cannot be told apart by it; atomic
// batches are synced once from 2.15 on.
const minLevel = 4

// Bounds of the work queue. It holds nudges in flight only.
const (
	maxNudges     = 50_000
	maxWorkBytes  = 32 << 20
	maxLeaseBytes = 8 << 20
)

// requestsTTL is how long a request_id is remembered.
const requestsTTL = 24 * time.Hour

// webhooksTTL is how long it is remembered what a webhook was told last of a
// rotation. Of one that nothing happened to for so long it is told from then on.
const webhooksTTL = 90 * 24 * time.Hour

// jobsTTL is how long it is remembered what became of an import.
const jobsTTL = 30 * 24 * time.Hour

// shares says which part of MaxStore, in thousandths, each stream may fill.
func shares() map[string]int64 {
	return map[string]int64{
		streamRotations: 270, streamState: 380, streamAudit: 90, streamCheckpoints: 10,
		bucketStream("tenants"): 60, bucketStream("endpoints"): 110, bucketStream("jobs"): 2, bucketStream("joberrors"): 8,
		bucketStream("certificates"): 15, bucketStream("requests"): 20, bucketStream("webhooks"): 9, bucketStream("pages"): 1,
		bucketStream("blocks"): 5, bucketStream("targetsets"): 5, bucketStream("targetrows"): 15,
	}
}

// lasting returns the streams whose content must never be lost.
func (b *Broker) lasting() []jetstream.StreamConfig {
	out := []jetstream.StreamConfig{
		{Name: streamRotations, Subjects: []string{recordPrefix + ".>", selectionPrefix + ".>", planPrefix + ".>"}, AllowAtomicPublish: true},
		{Name: streamState, Subjects: []string{statePrefix + ".>", findingPrefix + ".>", checkPrefix + ".>"}, AllowAtomicPublish: true},
	}
	for _, name := range BucketNames() {
		c := jetstream.StreamConfig{Name: bucketStream(name), Subjects: []string{keyPrefix + "." + name + ".*"}}
		if name == "requests" {
			c.MaxAge = requestsTTL
		}
		if name == "webhooks" {
			c.MaxAge = webhooksTTL
		}
		if name == "jobs" || name == "joberrors" {
			c.MaxAge = jobsTTL
		}
		out = append(out, c)
	}
	// The checkpoints come before what they are of: a back-up has all records that its
	// checkpoints were signed for, and perhaps some more.
	for _, c := range []jetstream.StreamConfig{
		{Name: streamCheckpoints, Subjects: []string{auditCheckpoint}},
		{Name: streamAudit, Subjects: []string{auditRecord}, AllowAtomicPublish: true, Duplicates: auditWindow},
	} {
		// Nothing of it is ever taken away or written over, not even by us.
		c.MaxMsgsPerSubject, c.DenyDelete, c.DenyPurge = -1, true, true
		out = append(out, c)
	}
	for i := range out {
		out[i].Retention = jetstream.LimitsPolicy
		out[i].Storage = jetstream.FileStorage
		// Not compressed: nats-server 2.15.2, killed and started again, has been seen
		// to append to blocks that it had compressed. Every replica then held a file
		// that none could read, and the stream stood still for good.
		out[i].Compression = jetstream.NoCompression
		if out[i].MaxMsgsPerSubject == 0 {
			out[i].MaxMsgsPerSubject = 1
		}
		out[i].Discard = jetstream.DiscardNew
		out[i].MaxBytes = max(1, b.maxStore()/1000*shares()[out[i].Name]+b.maxStore()%1000*shares()[out[i].Name]/1000)
	}
	return out
}

// volatile returns the streams that can be made anew at any time. With one
// replica they live in memory.
func (b *Broker) volatile() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: streamWork, Subjects: []string{workPrefix + ".>"}, Retention: jetstream.WorkQueuePolicy,
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
			MaxMsgs: maxNudges, MaxBytes: maxWorkBytes,
		},
		{
			Name: streamLeases, Subjects: []string{leasePrefix + ".>"}, Retention: jetstream.LimitsPolicy,
			MaxMsgsPerSubject: 1, AllowMsgTTL: true, MaxBytes: maxLeaseBytes, Discard: jetstream.DiscardNew,
		},
	}
}

func (b *Broker) maxStore() int64 {
	if b.c.MaxStore == 0 {
		return defaultMaxStore
	}
	return b.c.MaxStore
}

// checkLevel refuses servers that are too old for what we rest on.
func (b *Broker) checkLevel(ctx context.Context) error {
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("reading the account: %w", err)
	}
	if info.API.Level < minLevel {
		return refuse("its JetStream has API level %d, at least %d is needed (nats-server 2.15)", info.API.Level, minLevel)
	}
	return nil
}

// ensure makes or updates all streams and consumers.
func (b *Broker) ensure(ctx context.Context) error {
	if err := again(ctx, b.notRestoring); err != nil {
		return err
	}
	b.names.shards = b.c.Shards
	for _, want := range b.lasting() {
		if err := again(ctx, func(ctx context.Context) error { return b.ensureStream(ctx, want) }); err != nil {
			return fmt.Errorf("setting up stream %s: %w", want.Name, err)
		}
	}
	return again(ctx, b.ensureVolatile)
}

// ensureVolatile makes the work queue, its consumers and the leases if they are
// not there: at the start, and after a server with one replica restarted.
func (b *Broker) ensureVolatile(ctx context.Context) error {
	b.ensuring.Lock()
	defer b.ensuring.Unlock()
	for _, want := range b.volatile() {
		err := b.ensureStream(ctx, want)
		if judge(err) == refused {
			// What cannot be changed is made anew: nothing in it is a record.
			b.c.Log.Warn("stream is made anew", "stream", want.Name, "err", err)
			if err := b.js.DeleteStream(ctx, want.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("deleting stream %s: %w", want.Name, err)
			}
			err = b.ensureStream(ctx, want)
		}
		if err != nil {
			return fmt.Errorf("setting up stream %s: %w", want.Name, err)
		}
	}
	for _, q := range queues() {
		if _, err := b.consumer(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// consumer makes or updates the consumer that all workers of a queue share.
func (b *Broker) consumer(ctx context.Context, q Queue) (jetstream.Consumer, error) {
	c, err := b.js.CreateOrUpdateConsumer(ctx, streamWork, jetstream.ConsumerConfig{
		Durable: q.durable(), FilterSubject: workPrefix + "." + string(q) + ".>",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: b.c.AckWait, MaxDeliver: -1,
		MaxAckPending: maxNudges, MaxWaiting: 4096,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up consumer %s: %w", q.durable(), err)
	}
	return c, nil
}

// makeTimeout is how long the making of a stream may take before it is looked up whether
// it is there. Of two who make one at once, a cluster answers one only.
const makeTimeout = 500 * time.Millisecond

// ensureStream makes want, or updates what is there to it. What the
// configuration leaves open stays as it is.
func (b *Broker) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	asked := want
	want.Replicas = max(1, b.c.Replicas)
	made := ""
	var have *jetstream.StreamConfig
	s, err := b.js.Stream(ctx, want.Name)
	missing := errors.Is(err, jetstream.ErrStreamNotFound)
	switch {
	case err == nil:
		have = &s.CachedInfo().Config
		// A client that was configured carelessly must not take replicas away.
		want.Replicas = max(want.Replicas, have.Replicas)
		want.AllowDirect = have.AllowDirect
		made = have.Metadata[metaMade]
		// A newer program may have added subjects that this one does not know.
		for _, subject := range have.Subjects {
			if !slices.Contains(want.Subjects, subject) {
				want.Subjects = append(want.Subjects, subject)
			}
		}
		if _, sized := shares()[want.Name]; sized && b.c.MaxStore == 0 {
			want.MaxBytes = have.MaxBytes
		}
		if want.Name == streamRotations {
			if err := b.adopt(have.Metadata); err != nil {
				return err
			}
		}
	case !missing:
		return fmt.Errorf("looking it up: %w", err)
	}
	want.AllowDirect = want.AllowDirect || b.direct(want.Name)
	if want.Name == streamRotations {
		b.names.shards = max(1, b.names.shards)
		want.Metadata = map[string]string{metaShards: strconv.Itoa(b.names.shards), metaSchema: schemaNumber}
	}
	if made != "" {
		want.Metadata = maps.Clone(want.Metadata)
		if want.Metadata == nil {
			want.Metadata = map[string]string{}
		}
		want.Metadata[metaMade] = made
	}
	if want.Name == streamWork || want.Name == streamLeases {
		if want.Storage = jetstream.FileStorage; want.Replicas == 1 {
			want.Storage = jetstream.MemoryStorage
		}
	}
	if missing {
		// Another process may have made it since it was looked for. An update would then
		// take away what that one set and this one leaves open: replicas, direct gets.
		cctx, cancel := context.WithTimeout(ctx, makeTimeout)
		defer cancel()
		_, err := b.js.CreateStream(cctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return b.ensureStream(ctx, asked)
		}
		if err != nil {
			return fmt.Errorf("making it: %w", err)
		}
		return nil
	}
	if fits(*have, want) {
		return nil
	}
	if _, err := b.js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("updating it: %w", err)
	}
	return nil
}

// fits reports whether a stream that the server has is as want says, so that it needs no
// update. An update of many processes at once is one that a cluster does not answer to
// all. What want leaves at zero is as it is by the server's default.
func fits(have, want jetstream.StreamConfig) bool {
	h, w := reflect.ValueOf(have), reflect.ValueOf(want)
	for i := range w.NumField() {
		h, w := h.Field(i), w.Field(i)
		switch name := reflect.TypeFor[jetstream.StreamConfig]().Field(i).Name; {
		case name == "Subjects", name == "Metadata": // Below.
		case name == "Duplicates" && w.IsZero(): // The server's own is not zero.
		case w.Kind() == reflect.Int, w.Kind() == reflect.Int32, w.Kind() == reflect.Int64:
			if h.Int() != w.Int() && (w.Int() != 0 || h.Int() > 0) {
				return false
			}
		case !reflect.DeepEqual(h.Interface(), w.Interface()):
			return false
		}
	}
	for k, v := range want.Metadata {
		if have.Metadata[k] != v {
			return false
		}
	}
	return slices.Equal(slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects)))
}

// making identifies the making of a stream: in another one a sequence number is another
// message. The servers of a cluster do not agree on when a stream was made that was
// restored (nats-server 2.15.2: the one that took it in says another instant than the
// others, until it is started again), so that one has a mark.
func making(s *jetstream.StreamInfo) string {
	if mark := s.Config.Metadata[metaMade]; mark != "" {
		return mark
	}
	return strconv.FormatInt(s.Created.UnixNano(), 16)
}

// adopt takes over what the stored subjects were made with, or refuses to work
// with something else.
func (b *Broker) adopt(meta map[string]string) error {
	if s, ok := meta[metaSchema]; ok && s != schemaNumber {
		return refuse("the stored subjects are of schema %s, this program writes %s", s, schemaNumber)
	}
	n, err := strconv.Atoi(meta[metaShards])
	if err != nil {
		return nil //nolint:nilerr // A stream without the mark is one that is being made.
	}
	if b.c.Shards != 0 && b.c.Shards != n {
		return refuse("shards is %d, what is stored has %d", b.c.Shards, n)
	}
	b.names.shards = n
	return nil
}

// Bucket returns one of the buckets of [BucketNames], or [rollover.ErrNotFound].
func (b *Broker) Bucket(name string) (*Bucket, error) {
	for _, n := range BucketNames() {
		if n == name {
			return &Bucket{b: b, name: name}, nil
		}
	}
	return nil, fmt.Errorf("bucket %q: %w", name, rollover.ErrNotFound)
}
