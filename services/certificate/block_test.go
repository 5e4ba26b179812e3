package certificate_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

const (
	request1 = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37"
	request2 = "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a38"
)

func TestBlockCertificate_IsListedFoundAndRemoved(t *testing.T) {
	c, _ := open(t)
	cred, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch.AddDate(-1, 0, 0), rollovertest.Epoch.AddDate(1, 0, 0))
	key, err := rollover.KeyHash(cred.DER)
	if err != nil {
		t.Fatal(err)
	}
	for want, req := range map[string]*pb.BlockCertificateRequest{
		"blocks/sha256." + cred.SHA256:              {Subject: &pb.BlockCertificateRequest_Sha256{Sha256: strings.ToUpper(cred.SHA256)}},
		"blocks/sha1." + strings.ToLower(cred.SHA1): {Subject: &pb.BlockCertificateRequest_Sha1{Sha1: cred.SHA1}},
		"blocks/key_hash." + key:                    {Subject: &pb.BlockCertificateRequest_KeyHash{KeyHash: key}},
	} {
		req.Reason = " leaked "
		got, err := c.BlockCertificate(t.Context(), req)
		if err != nil || got.GetBlock().GetName() != want || got.GetBlock().GetReason() != "leaked" || got.GetBlock().GetCreator() == "" || got.GetBlock().GetCreateTime() == nil {
			t.Fatalf("BlockCertificate = %v, %v, want %s", got, err, want)
		}
		up, err := c.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: append([]byte{}, cred.DER...)})
		if err != nil || len(up.GetFindings()) == 0 || up.GetFindings()[0].GetCode() != "blocked" || up.GetFindings()[0].GetSeverity() != pb.CertificateFinding_SEVERITY_ERROR {
			t.Errorf("%s: UploadCertificate = %v, %v, want it found to be blocked", want, up.GetFindings(), err)
		}
		list, err := c.ListBlocks(t.Context(), &pb.ListBlocksRequest{})
		if err != nil || len(list.GetBlocks()) != 1 || list.GetBlocks()[0].GetName() != want {
			t.Errorf("ListBlocks = %v, %v, want %s", list, err, want)
		}
		if _, err := c.UnblockCertificate(t.Context(), &pb.UnblockCertificateRequest{Name: want}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("UnblockCertificate without a reason = %v, want INVALID_ARGUMENT", err)
		}
		if _, err := c.UnblockCertificate(t.Context(), &pb.UnblockCertificateRequest{Name: want, Reason: "mistaken"}); err != nil {
			t.Fatalf("UnblockCertificate = %v", err)
		}
		if _, err := c.UnblockCertificate(t.Context(), &pb.UnblockCertificateRequest{Name: want, Reason: "mistaken"}); status.Code(err) != codes.NotFound {
			t.Errorf("UnblockCertificate again = %v, want NOT_FOUND", err)
		}
		get, err := c.GetCertificate(t.Context(), &pb.GetCertificateRequest{Name: "certificates/" + cred.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range get.GetFindings() {
			if f.GetCode() == "blocked" {
				t.Errorf("%s: removed, and still found: %v", want, f)
			}
		}
	}
}

func TestBlockCertificate_IsIdempotentByRequestID(t *testing.T) {
	c, _ := open(t)
	cred, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	block := &pb.BlockCertificateRequest{Subject: &pb.BlockCertificateRequest_Sha1{Sha1: cred.SHA1}, Reason: "leaked", RequestId: request1}
	first, err := c.BlockCertificate(t.Context(), block)
	if err != nil {
		t.Fatal(err)
	}
	unblock := &pb.UnblockCertificateRequest{Name: first.GetBlock().GetName(), Reason: "mistaken", RequestId: request2}
	for range 2 {
		if _, err := c.UnblockCertificate(t.Context(), unblock); err != nil {
			t.Fatalf("UnblockCertificate = %v", err)
		}
	}
	if _, err := c.BlockCertificate(t.Context(), block); err != nil { // A late repeat.
		t.Fatal(err)
	}
	if list, err := c.ListBlocks(t.Context(), &pb.ListBlocksRequest{}); err != nil || len(list.GetBlocks()) != 0 {
		t.Errorf("ListBlocks after a late repeat = %v, %v, want none", list, err)
	}
	block.Reason = "another"
	if _, err := c.BlockCertificate(t.Context(), block); reason(err) != "REQUEST_ID_REUSED" {
		t.Errorf("another request under the same id = %v, want REQUEST_ID_REUSED", err)
	}
}

func TestBlockCertificate_RefusesWhatIsNoHash(t *testing.T) {
	c, _ := open(t)
	for name, req := range map[string]*pb.BlockCertificateRequest{
		"nothing":       {Reason: "r"},
		"short":         {Reason: "r", Subject: &pb.BlockCertificateRequest_Sha1{Sha1: "abc"}},
		"sort confused": {Reason: "r", Subject: &pb.BlockCertificateRequest_Sha256{Sha256: strings.Repeat("a", 40)}},
		"no reason":     {Subject: &pb.BlockCertificateRequest_Sha1{Sha1: strings.Repeat("a", 40)}},
	} {
		if _, err := c.BlockCertificate(t.Context(), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: BlockCertificate = %v, want INVALID_ARGUMENT", name, err)
		}
	}
	if _, err := c.UnblockCertificate(t.Context(), &pb.UnblockCertificateRequest{Name: "blocks/sha1.x", Reason: "r"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("UnblockCertificate of no name = %v, want INVALID_ARGUMENT", err)
	}
}

func TestListBlocks_Pages(t *testing.T) {
	c, _ := open(t)
	for _, d := range "abc" {
		_, err := c.BlockCertificate(t.Context(), &pb.BlockCertificateRequest{Reason: "r", Subject: &pb.BlockCertificateRequest_Sha1{Sha1: strings.Repeat(string(d), 40)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	req := &pb.ListBlocksRequest{PageSize: 2}
	for {
		page, err := c.ListBlocks(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.GetBlocks() {
			got = append(got, strings.TrimPrefix(b.GetName(), "blocks/sha1.")[:1])
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if strings.Join(got, "") != "abc" {
		t.Errorf("pages = %q, want a, b, c", got)
	}
}
