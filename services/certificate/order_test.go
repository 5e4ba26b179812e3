package certificate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge/edgetest"
)

// An order changes how a list is told, and never what a filter means.
func TestLists_OrderChangesNoSet(t *testing.T) {
	c, _ := open(t)
	for i, subject := range []string{"CN=b.example", "CN=a.example", "CN=c.other"} {
		cred, _ := rollovertest.Certificate(t, subject, rollovertest.Epoch.AddDate(-1, 0, 0), rollovertest.Epoch.AddDate(1, 0, i))
		if _, err := c.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: cred.DER}); err != nil {
			t.Fatal(err)
		}
		_, err := c.BlockCertificate(t.Context(), &pb.BlockCertificateRequest{
			Subject: &pb.BlockCertificateRequest_Sha256{Sha256: strings.Repeat(fmt.Sprint(3-i), 64)}, Reason: "leaked by " + subject,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("certificates", func(t *testing.T) {
		edgetest.OrderChangesNoSet(t, "subject", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListCertificates(t.Context(), &pb.ListCertificatesRequest{Filter: `subject:"example"`, OrderBy: order, PageToken: token, PageSize: 1})
			for _, n := range list.GetCertificates() {
				out = append(out, edgetest.Item{Name: n.GetName(), By: n.GetSubject()})
			}
			return out, list.GetNextPageToken(), err
		})
	})
	t.Run("blocks", func(t *testing.T) {
		edgetest.OrderChangesNoSet(t, "create_time", 2, func(order, token string) (out []edgetest.Item, next string, err error) {
			list, err := c.ListBlocks(t.Context(), &pb.ListBlocksRequest{Filter: `reason:"example"`, OrderBy: order, PageToken: token, PageSize: 1})
			for _, b := range list.GetBlocks() {
				out = append(out, edgetest.Item{Name: b.GetName(), By: b.GetCreateTime().AsTime().Format(edgetest.Instant)})
			}
			return out, list.GetNextPageToken(), err
		})
	})
}
