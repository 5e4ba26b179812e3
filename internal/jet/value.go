package jet

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// cut returns the writes of a value that must not exist yet: one message, or
// several if it is larger than one may be. The head comes last, so that whoever
// sees it can read the rest.
func cut(stream, subject string, data []byte) []write {
	n := max(1, (len(data)+maxPart-1)/maxPart)
	out := make([]write, 0, n)
	for i := n - 1; i >= 0; i-- {
		w := write{stream: stream, subject: part(subject, i), data: data[i*maxPart : min(len(data), (i+1)*maxPart)]}
		if i == 0 {
			w.parts = n
		}
		out = append(out, w)
	}
	return out
}

// whole reads a value that cut wrote, from the leader; nil if there is none.
func (b *Broker) whole(ctx context.Context, stream, subject string) ([]byte, error) {
	head, err := b.last(ctx, stream, subject)
	if err != nil || head == nil {
		return nil, err
	}
	n, err := head.parts()
	if err != nil {
		return nil, err
	}
	data := head.Data
	for i := 1; i < n; i++ {
		m, err := b.last(ctx, stream, part(subject, i))
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, fmt.Errorf("part %d of %d of %s is gone: %w", i, n, subject, rollover.ErrNotFound)
		}
		data = append(data, m.Data...)
	}
	return data, nil
}

// planRecord is a message of the plan as stored.
type planRecord struct {
	V     int             `json:"v"`
	Items []rollover.Item `json:"items"`
}

// selectionRecord is a message of the selection as stored.
type selectionRecord struct {
	V       int      `json:"v"`
	Tenants []string `json:"tenants"`
}

// encode returns the stored form of a record.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return data, nil
}

// decode reads a record of a version that this program knows.
func decode[T any](data []byte) (T, error) {
	var out T
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return out, fmt.Errorf("decoding %T: %w", out, err)
	}
	if head.V > rollover.LatestVersion || head.V < rollover.RecordVersion {
		return out, fmt.Errorf("decoding %T: its version is %d, this program knows %d to %d and leaves it alone; run the program that wrote it, or a newer one",
			out, head.V, rollover.RecordVersion, rollover.LatestVersion)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("decoding %T: %w", out, err)
	}
	return out, nil
}
