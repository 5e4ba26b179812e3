package inventory_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/inventory"
)

// What broke an import off is in its job, in words for whoever sent it.
func TestImportInventory_TheJobSaysWhatBrokeItOff(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(s *sending, cut context.CancelFunc)
		want string
	}{
		"its caller went away": {func(_ *sending, cut context.CancelFunc) { cut() }, "the caller went away"},
		"a message that is too large": {func(s *sending, _ context.CancelFunc) {
			large := tenant("large")
			large.DisplayName = strings.Repeat("x", 5<<20)
			s.rows(large)
		}, "at most 4194304 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			noted := make(chan struct{}, 10)
			c, _, jobs := openWith(t, func(*inventory.Config) {})
			jobs.After = func(call, _ string) error {
				if call == "Update" {
					noted <- struct{}{}
				}
				return nil
			}
			ctx, cut := context.WithCancel(t.Context())
			defer cut()
			s := send(ctx, t, c, &pb.ImportHeader{RequestId: jobID})
			s.rows(tenant("a"))
			<-noted // The chunk.
			tt.then(s, cut)
			if _, err := s.done(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the import = %v", err)
			}
			<-noted // That it was cut off.
			got, err := c.GetInventoryJob(t.Context(), &pb.GetInventoryJobRequest{Name: "inventoryJobs/" + jobID})
			if j := got.GetJob(); err != nil || j.GetState() != pb.InventoryJob_STATE_FAILED || !strings.Contains(j.GetDetail(), tt.want) {
				t.Errorf("the job is %v, %v, want that %q", j, err, tt.want)
			}
		})
	}
}
