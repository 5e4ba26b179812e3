package jet

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The streams.
const (
	streamRotations   = "ROT"    // r.<shard>.<rot>, sel.<shard>.<rot>.<n>, m.<shard>.<rot>.<n>
	streamState       = "STATE"  // s.<shard>.<rot>.<ord>, f.<shard>.<rot>.<ord>, d.<shard>.<rot>.<n>
	streamWork        = "WORK"   // w.t.<host>, w.p.<tenant>, w.c.<rot>/<n>
	streamLeases      = "LEASE"  // l.<key>
	streamAudit       = "AUDIT"  // a.r: who did what, in order
	streamCheckpoints = "AUDITC" // a.c: signed checkpoints of AUDIT
	bucketPrefix      = "B_"     // stream of a bucket; subjects b.<bucket>.<key>
)

// The first tokens of subjects.
const (
	recordPrefix    = "r"
	selectionPrefix = "sel"
	planPrefix      = "m"
	statePrefix     = "s"
	findingPrefix   = "f"
	checkPrefix     = "d"
	workPrefix      = "w"
	leasePrefix     = "l"
	keyPrefix       = "b"
	beatPrefix      = "hands" // of what workers say of themselves
)

// The subjects of the audit log.
const (
	auditRecord     = "a.r"
	auditCheckpoint = "a.c"
)

// The headers that we write ourselves.
const (
	headerParts  = "Crossfade-Parts" // of a value cut into several messages: how many
	metaShards   = "crossfade.shards"
	metaSchema   = "crossfade.schema"
	metaMade     = "crossfade.made" // of a stream that was restored: which making it is
	schemaNumber = "1"
)

// Sizes of chunks. They are part of the stored format: changing one makes old
// plans unreadable.
const (
	planChunk      = 256  // items in a message of the plan
	selectionChunk = 4096 // tenants in a message of the selection
)

// BucketNames lists the buckets that exist.
func BucketNames() []string {
	return []string{"tenants", "endpoints", "certificates", "requests", "blocks", "targetsets", "targetrows", "webhooks", "jobs", "joberrors", "pages"}
}

// Queue names one of the kinds of work.
type Queue string

// The queues: tasks are keyed by ACS host, plans by tenant, checks by rotation and
// part.
const (
	Tasks  Queue = "t"
	Plans  Queue = "p"
	Checks Queue = "c"
)

// queues lists them.
func queues() []Queue { return []Queue{Tasks, Plans, Checks} }

// durable returns the name of the consumer that all workers of a queue share.
func (q Queue) durable() string {
	return map[Queue]string{Tasks: "tasks", Plans: "plans", Checks: "checks"}[q]
}

// valid reports whether q is one of the queues.
func (q Queue) valid() bool { return slices.Contains(queues(), q) }

// names makes the subjects of one deployment.
type names struct{ shards int }

// shard returns the token that a rotation's subjects carry.
func (n names) shard(rotation string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(rotation))                               // A hash never fails to write.
	return strconv.Itoa(int(h.Sum32() % uint32(max(1, n.shards)))) //nolint:gosec // Shards are few.
}

func (n names) of(prefix, rotation string) string {
	return prefix + "." + n.shard(rotation) + "." + escape(rotation)
}

func (n names) record(rotation string) string { return n.of(recordPrefix, rotation) }

func (n names) selection(rotation string, chunk int) string {
	return n.of(selectionPrefix, rotation) + "." + strconv.Itoa(chunk)
}

func (n names) plan(rotation string, chunk int) string {
	return n.of(planPrefix, rotation) + "." + strconv.Itoa(chunk)
}

func (n names) state(id rollover.TaskID) string {
	return n.of(statePrefix, id.Rotation) + "." + strconv.Itoa(id.Ord)
}

func (n names) finding(rotation string, ord int) string {
	return n.of(findingPrefix, rotation) + "." + strconv.Itoa(ord)
}

// beats returns the subject on which the workers of a queue say what room they
// have. No stream keeps it.
func beats(q Queue) string { return beatPrefix + "." + string(q) }

// asks returns the subject on which they are asked to say it now.
func asks(q Queue) string { return beatPrefix + ".ask." + string(q) }

func (n names) check(rotation string, part int) string {
	return n.of(checkPrefix, rotation) + "." + strconv.Itoa(part)
}

// slot returns the subject of a queue's slot. It has no shard and no lane: two
// rotations that touch one host must meet in the same slot.
func slot(q Queue, key string) string { return workPrefix + "." + string(q) + "." + escape(key) }

func lease(key string) string { return leasePrefix + "." + escape(key) }

func bucketStream(name string) string { return bucketPrefix + strings.ToUpper(name) }

func bucketKey(bucket, key string) string { return keyPrefix + "." + bucket + "." + escape(key) }

// address is what a subject of ROT or STATE says.
type address struct {
	prefix   string
	rotation string
	n        int // ordinal or chunk; -1 where the subject has none
	part     int // of a value cut into several messages; 0: its head
}

// parseAddress is the inverse of the methods of names.
func parseAddress(subject string) (address, error) {
	tok := strings.Split(subject, ".")
	if len(tok) < 3 || len(tok) > 5 {
		return address{}, fmt.Errorf("subject %q has %d tokens", subject, len(tok))
	}
	a := address{prefix: tok[0], n: -1}
	var err error
	if a.rotation, err = unescape(tok[2]); err != nil {
		return address{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	for i, p := range []*int{&a.n, &a.part} {
		if len(tok) <= 3+i {
			break
		}
		if *p, err = ordinal(tok[3+i]); err != nil {
			return address{}, fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return a, nil
}

// ordinal reads a number as we write it: no sign, no leading zero.
func ordinal(tok string) (int, error) {
	n, err := strconv.Atoi(tok)
	if err != nil || n < 0 || strconv.Itoa(n) != tok {
		return 0, fmt.Errorf("%q is no ordinal", tok)
	}
	return n, nil
}

// parseSlot is the inverse of slot.
func parseSlot(subject string) (Queue, string, error) {
	tok := strings.Split(subject, ".")
	if len(tok) != 3 || tok[0] != workPrefix || !Queue(tok[1]).valid() {
		return "", "", fmt.Errorf("subject %q is no slot", subject)
	}
	key, err := unescape(tok[2])
	if err != nil {
		return "", "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return Queue(tok[1]), key, nil
}

// part returns the subject of the n-th message of a value; 0 is its head.
func part(subject string, n int) string {
	if n == 0 {
		return subject
	}
	return subject + "." + strconv.Itoa(n)
}

// bucketKeys returns the filter for all keys of a bucket.
func bucketKeys(bucket string) string { return keyPrefix + "." + bucket + ".*" }

// parseBucketKey is the inverse of bucketKey.
func parseBucketKey(subject string) (string, error) {
	tok := strings.Split(subject, ".")
	if len(tok) != 3 || tok[0] != keyPrefix {
		return "", fmt.Errorf("subject %q is no key", subject)
	}
	key, err := unescape(tok[2])
	if err != nil {
		return "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return key, nil
}
