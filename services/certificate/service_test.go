package certificate_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/certificate"
	"github.com/crossfade-project/crossfade/services/edge"
)

// open runs a server without certificates until the test ends.
func open(t *testing.T) (pb.CertificateServiceClient, *certificate.Service) {
	t.Helper()
	s := edge.NewServer(edge.Config{Log: slog.New(slog.DiscardHandler), Health: func(context.Context) error { return nil }})
	svc := certificate.New(certificate.Config{
		Store: certs.NewStore(tenantstest.NewBucket()), Blocks: certs.NewBlocks(tenantstest.NewBucket(), time.Now),
		Requests: tenantstest.NewBucket(), Now: rollovertest.Epoch.Local,
	})
	svc.Register(s)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewCertificateServiceClient(conn), svc
}

func TestUploadCertificate_InspectsStoresAndFindsAgain(t *testing.T) {
	c, _ := open(t)
	cred, _ := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch.AddDate(-2, 0, 0), rollovertest.Epoch.AddDate(-1, 0, 0))
	req := &pb.UploadCertificateRequest{Content: cred.DER, ValidateOnly: true}
	name := "certificates/" + cred.SHA256

	inspected, err := c.UploadCertificate(t.Context(), req)
	if err != nil || inspected.GetCertificate().GetName() != name || inspected.GetCertificate().GetSha1Thumbprint() != cred.SHA1 {
		t.Fatalf("UploadCertificate(validate_only) = %v, %v, want %s", inspected, err, name)
	}
	if !slices.ContainsFunc(inspected.GetFindings(), func(f *pb.CertificateFinding) bool {
		return f.GetCode() == "expired" && f.GetSeverity() == pb.CertificateFinding_SEVERITY_ERROR && f.GetMessage() != ""
	}) {
		t.Errorf("findings = %v, want that it has expired", inspected.GetFindings())
	}
	if _, err := c.GetCertificate(t.Context(), &pb.GetCertificateRequest{Name: name}); status.Code(err) != codes.NotFound {
		t.Errorf("GetCertificate after validate_only = %v, want NOT_FOUND", err)
	}
	req.ValidateOnly = false
	for range 2 {
		if got, err := c.UploadCertificate(t.Context(), req); err != nil || !proto.Equal(got, inspected) {
			t.Errorf("UploadCertificate = %v, %v, want %v", got, err, inspected)
		}
	}
	if got, err := c.GetCertificate(t.Context(), &pb.GetCertificateRequest{Name: name}); err != nil || !proto.Equal(got.GetCertificate(), inspected.GetCertificate()) {
		t.Errorf("GetCertificate = %v, %v, want %v", got, err, inspected.GetCertificate())
	}
}

func TestUploadCertificate_RefusesAndWipesAPrivateKey(t *testing.T) {
	c, svc := open(t)
	cred, key := rollovertest.Certificate(t, "CN=x", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cred.DER})
	file = append(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	_, err = c.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: file})
	if info := reason(err); status.Code(err) != codes.InvalidArgument || info != "PRIVATE_KEY_REJECTED" {
		t.Errorf("UploadCertificate = %v %s, want INVALID_ARGUMENT PRIVATE_KEY_REJECTED", err, info)
	}
	if line := strings.Split(string(file), "\n")[len(strings.Split(string(file), "\n"))-3]; strings.Contains(fmt.Sprint(status.Convert(err).Proto()), line) {
		t.Errorf("the error repeats the key: %v", err)
	}
	for name, content := range map[string][]byte{"a key": slices.Clone(file), "a certificate": slices.Clone(cred.DER)} {
		_, _ = svc.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: content})
		if slices.ContainsFunc(content, func(b byte) bool { return b != 0 }) {
			t.Errorf("the request with %s was not wiped", name)
		}
	}
}

func TestUploadCertificate_RefusesRubbish(t *testing.T) {
	c, _ := open(t)
	for name, w := range map[string]struct {
		content []byte
		reason  string
	}{
		"rubbish":   {[]byte("hello"), "CERTIFICATE_UNREADABLE"},
		"nothing":   {nil, "INVALID_FIELDS"},
		"too large": {make([]byte, certs.MaxFile+1), "INVALID_FIELDS"},
	} {
		_, err := c.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: w.content})
		if got := reason(err); status.Code(err) != codes.InvalidArgument || got != w.reason {
			t.Errorf("%s: UploadCertificate = %v %s, want INVALID_ARGUMENT %s", name, err, got, w.reason)
		}
	}
}

func TestListCertificates_Pages(t *testing.T) {
	c, _ := open(t)
	want := []string{}
	for range 5 {
		cred, _ := rollovertest.Certificate(t, "CN=x", rollovertest.Epoch, rollovertest.Epoch.AddDate(1, 0, 0))
		if _, err := c.UploadCertificate(t.Context(), &pb.UploadCertificateRequest{Content: cred.DER}); err != nil {
			t.Fatal(err)
		}
		want = append(want, "certificates/"+cred.SHA256)
	}
	slices.Sort(want)
	var got []string
	req := &pb.ListCertificatesRequest{PageSize: 2}
	for {
		resp, err := c.ListCertificates(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range resp.GetCertificates() {
			got = append(got, k.GetName())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages = %q\nwant %q", got, want)
	}
}

// reason returns the reason of an error's ErrorInfo.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
