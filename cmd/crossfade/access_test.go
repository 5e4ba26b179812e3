package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/crossfade-project/crossfade/internal/daemon"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// office signs certificates for one test.
type office struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newOffice(t *testing.T) *office {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "office"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &office{t, cert, key, 2}
}

// pair issues a certificate for a DNS name, and returns it with its serial number.
func (o *office) pair(name string) (tls.Certificate, int64) {
	o.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	serial := o.next
	o.next++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, o.cert, key.Public(), o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, serial
}

func (o *office) crl(serials ...int64) []byte {
	o.t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, o.cert, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func (o *office) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw})
}

func (o *office) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(o.cert)
	return p
}

// writePair writes a certificate and its key, and returns their paths.
func writePair(t *testing.T, dir, name string, p tls.Certificate) (cert, key string) {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(p.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate[0]}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	return cert, key
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// castle is a whole service that asks everybody who they are.
type castle struct {
	office *office
	issuer *provider
	addr   string
	web    string // address of the door for browsers
	rights string // file
	crl    string // file
	node   *node
}

const castleRights = `
grants:
  - {groups: ["corp:viewers"], role: viewer}
  - {groups: ["corp:operators"], role: operator}
  - {groups: ["corp:approvers"], role: approver}
  - {groups: ["corp:auditors"], role: auditor}
  - {groups: ["corp:admins"], role: admin}
  - {subjects: ["corp:emea"], role: admin, tenants: 'labels.region = "emea"'}
  - {subjects: ["corp:north"], role: admin, tenants: 'id >= "north-" AND id < "north." OR labels.region = "south"'}
  - {subjects: ["corp:emea-maker"], role: admin, tenants: 'id >= "emea-" AND id < "emea." OR labels.region = "emea"'}
  - {subjects: ["corp:emea-viewer"], role: viewer, tenants: 'labels.region = "emea"'}
  - {subjects: ["corp:emea-approver"], role: approver, tenants: 'labels.region = "emea"'}
  - {subjects: ["corp:apac-approver"], role: approver, tenants: 'labels.region = "apac"'}
  - {subjects: ["cert:portal.test", "cert:revoked.test"], role: operator}
`

func openCastle(t *testing.T, adjust ...func(*daemon.Config)) *castle {
	t.Helper()
	dir := t.TempDir()
	c := &castle{office: newOffice(t), rights: filepath.Join(dir, "rights.yaml"), crl: filepath.Join(dir, "clients.crl")}
	c.issuer = newIssuer(t, c.office)
	server, _ := c.office.pair("api.test")
	cert, key := writePair(t, dir, "api", server)
	write(t, filepath.Join(dir, "ca.pem"), c.office.pem())
	write(t, c.crl, c.office.crl(100))
	write(t, c.rights, []byte(castleRights))
	write(t, filepath.Join(dir, "crossfade.yaml"), fmt.Appendf(nil, `
data: data
listen: {grpc: "127.0.0.1:0", ops: "127.0.0.1:0"}
tls: {cert: %s, key: %s, client_ca: ca.pem, client_crl: clients.crl}
identity:
  rights: rights.yaml
  issuers:
    corp: {url: %s, audience: crossfade}
network: {ca_file: ca.pem, dial: {issuer.test: "%s"}}
reflection: true
`, cert, key, issuerURL, c.issuer.addr))
	cfg, err := daemon.Load(filepath.Join(dir, "crossfade.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range adjust {
		f(&cfg)
	}
	nc, err := newNodeConfig(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	asks := nc.identity
	nc.identity = func(client *http.Client) (*edge.Identity, func(), error) {
		id, stop, err := asks(client)
		if err == nil {
			id.AgainEvery = 200 * time.Millisecond // As seldom as people want it, no test would end.
		}
		return id, stop, err
	}
	if c.node, err = openNode(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr, c.web = lis.Addr().String(), web.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- all(ctx, c.node.mirror.Run, func(ctx context.Context) error { return c.node.api(ctx, lis, web) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the service = %v", err)
		}
		if err := c.node.close(context.Background()); err != nil {
			t.Errorf("closing = %v", err)
		}
	})
	return c
}

// conn connects with a client certificate, or without.
func (c *castle) conn(t *testing.T, pair *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.office.pool(), ServerName: "api.test"}
	if pair != nil {
		cfg.Certificates = []tls.Certificate{*pair}
	}
	conn, err := grpc.NewClient(c.addr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// methods returns all methods of the contract.
func methods() []protoreflect.MethodDescriptor {
	var out []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("crossfade.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			ms := f.Services().Get(i).Methods()
			for j := range ms.Len() {
				out = append(out, ms.Get(j))
			}
		}
		return true
	})
	return out
}

// call calls a method with an empty request and returns what came of it.
func call(ctx context.Context, conn *grpc.ClientConn, m protoreflect.MethodDescriptor) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	name := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	var req, resp proto.Message = dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingClient() && !m.IsStreamingServer() {
		return conn.Invoke(ctx, name, req, resp)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()}, name)
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil && err != io.EOF { //nolint:errorlint // SendMsg returns it bare; RecvMsg says why.
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(resp)
}

// mayCall says, written down once more and by hand, which methods each role may call.
func mayCall() map[string][]string {
	read := []string{
		"GetRotation", "ListRotations", "ListRotationTasks", "GetRotationTask", "WatchRotation", "WatchRotations", "ListDrifts", "ListDeadLetters", "SummarizeDeadLetters",
		"GetTenant", "ListTenants", "GetEndpoint", "ListEndpoints", "GetCertificate", "ListCertificates", "ListBlocks", "GetTargetSet", "ListTargetSets",
	}
	rotate := []string{
		"CreateRotation", "StartRotation", "PauseRotation", "ResumeRotation", "CancelRotation", "RetireRotation", "CheckRotation", "RetryRotationTasks",
		"UndoRotation", "DecideWave", "UploadCertificate", "CreateTargetSet", "AddTargets", "UploadTargets", "DeleteTargetSet",
	}
	manage := []string{
		"ImportTenants", "UpdateTenant", "DeleteTenant", "ImportInventory", "DiscoverEndpoints", "GetInventoryJob", "ListInventoryJobs", "ListInventoryJobErrors", "CancelInventoryJob",
		"BlockCertificate", "UnblockCertificate",
	}
	return map[string][]string{
		"viewers": read, "operators": slices.Concat(read, rotate), "approvers": append(slices.Clone(read), "ApproveRotation"),
		"auditors": read, "admins": slices.Concat(read, rotate, manage), "nobody": nil,
	}
}

// Every method, by everybody: nobody who is not proven gets anywhere, and each role gets
// where it may and nowhere else.
func TestAccess_EveryMethodByEverybody(t *testing.T) {
	c := openCastle(t)
	plain := c.conn(t, nil)
	other := newOffice(t)
	c.office.next = 100
	revoked, serial := c.office.pair("revoked.test")
	if serial != 100 {
		t.Fatalf("the serial number is %d", serial)
	}
	portal, _ := c.office.pair("portal.test")
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) jwt.MapClaims {
		m := c.issuer.claims("jane", "admins")
		m[key] = value
		return m
	}
	bearer := func(raw string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+raw)
	}
	good := c.issuer.token(t, "jane", "admins")
	withPortal := c.conn(t, &portal)
	refused := 0 // calls of nobody, and of those who may not
	for name, who := range map[string]struct {
		conn *grpc.ClientConn
		ctx  context.Context
	}{
		"nobody":              {plain, t.Context()},
		"a claim":             {plain, metadata.AppendToOutgoingContext(t.Context(), "crossfade-caller", "jane")},
		"an expired token":    {plain, bearer(token(t, c.issuer.key, jwt.SigningMethodES256, with("exp", time.Now().Add(-time.Minute).Unix())))},
		"a wrong audience":    {plain, bearer(token(t, c.issuer.key, jwt.SigningMethodES256, with("aud", "other")))},
		"alg none":            {plain, bearer(token(t, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone, with("x", 1)))},
		"another's key":       {plain, bearer(token(t, stranger, jwt.SigningMethodES256, with("x", 1)))},
		"a revoked cert":      {c.conn(t, &revoked), t.Context()},
		"rubbish with a cert": {withPortal, bearer("rubbish")},
		"no scheme":           {plain, metadata.AppendToOutgoingContext(t.Context(), "authorization", good)},
		"two tokens":          {plain, metadata.AppendToOutgoingContext(bearer(good), "authorization", "Bearer "+good)},
	} {
		for _, m := range methods() {
			refused++
			if got := status.Code(call(who.ctx, who.conn, m)); got != codes.Unauthenticated {
				t.Errorf("%s calls %s: %s, want Unauthenticated", name, m.FullName(), got)
			}
		}
	}
	strangers, _ := other.pair("portal.test")
	if err := call(t.Context(), c.conn(t, &strangers), methods()[0]); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate of another authority: %v, want no connection", err)
	}
	for role, allowed := range mayCall() {
		ctx := bearer(c.issuer.token(t, "x", role))
		for _, m := range methods() {
			got := status.Code(call(ctx, plain, m))
			if got == codes.PermissionDenied {
				refused++
			}
			if may := slices.Contains(allowed, string(m.Name())); may == (got == codes.PermissionDenied) || got == codes.Unauthenticated {
				t.Errorf("%s call %s: %s, want allowed %t", role, m.FullName(), got, may)
			}
		}
	}
	for _, m := range methods() { // The certificate works as a token does.
		got := status.Code(call(t.Context(), withPortal, m))
		if got == codes.PermissionDenied {
			refused++
		}
		if may := slices.Contains(mayCall()["operators"], string(m.Name())); may == (got == codes.PermissionDenied) || got == codes.Unauthenticated {
			t.Errorf("the portal's certificate calls %s: %s, want allowed %t", m.FullName(), got, may)
		}
	}
	if _, err := healthpb.NewHealthClient(plain).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health without proof = %v", err)
	}
	proven := metadata.AppendToOutgoingContext(bearer(good), "crossfade-caller", "boss")
	if _, err := crossfadev1.NewRotationServiceClient(plain).ListRotations(proven, &crossfadev1.ListRotationsRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a claim beside a proof = %v, want that it is refused", err)
	}
	if err := reflectionCall(t, plain, t.Context()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the contract for nobody = %v", err)
	}
	if err := reflectionCall(t, plain, bearer(good)); err != nil {
		t.Errorf("the contract for an admin = %v", err)
	}
	c.told(t, refused+1) // And the contract for nobody.
}

// reflectionCall asks for the list of services.
func reflectionCall(t *testing.T, conn *grpc.ClientConn, ctx context.Context) error { //nolint:revive // The test is the subject.
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	if err != nil {
		return err
	}
	_ = s.CloseSend() // What went wrong, RecvMsg says.
	err = s.RecvMsg(&healthpb.HealthCheckResponse{})
	if err == io.EOF { //nolint:errorlint // Bare, as documented.
		return nil
	}
	return err
}
