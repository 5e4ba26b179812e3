package rotation_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/crossfade-project/crossfade/internal/certs"
	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
	"github.com/crossfade-project/crossfade/internal/tenants"
	"github.com/crossfade-project/crossfade/internal/tenants/tenantstest"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// store is the store in memory with a name, and with answers that tests lose.
type store struct {
	*rollovertest.Memory
	mu     sync.Mutex
	lose   int // answers of CreateRotation and SaveRotation to be lost, though it was done
	before func()

	inCreate    func()      // called before a rotation is created
	noSelection atomic.Bool // selections cannot be read
}

func (s *store) SelectedTenants(ctx context.Context, id string) ([]string, error) {
	if s.noSelection.Load() {
		return nil, rollover.ErrUnavailable
	}
	return s.Memory.SelectedTenants(ctx, id)
}

func (*store) Epoch(context.Context) (string, error) { return "e1", nil }

func (s *store) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose > 0 {
		s.lose--
		return fmt.Errorf("the answer was lost: %w", rollover.ErrUnavailable)
	}
	return nil
}

func (s *store) loseNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = n
}

func (s *store) CreateRotation(ctx context.Context, r rollover.Rotation, ids []string) (rollover.Rotation, error) {
	if s.inCreate != nil {
		s.inCreate()
	}
	got, err := s.Memory.CreateRotation(ctx, r, ids)
	return got, errors.Join(err, s.lost())
}

func (s *store) SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error) {
	if s.before != nil {
		s.before()
	}
	got, err := s.Memory.SaveRotation(ctx, r)
	return got, errors.Join(err, s.lost())
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// house is two servers over one store.
type house struct {
	store   *store
	clock   *clock
	certs   *certs.Store
	blocks  *certs.Blocks
	cert    certs.Certificate
	clients [2]pb.RotationServiceClient
	desks   [2]pb.DeskServiceClient
	stop    func() // the first server
}

func (h *house) client() pb.RotationServiceClient { return h.clients[0] }

// rsaKey is made once: RSA keys are slow to make.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// certificate returns a certificate with an RSA key, as ACS wants it.
func certificate(t *testing.T, from, to time.Time) certs.Certificate {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(from.Unix()), NotBefore: from, NotAfter: to,
		Subject: pkix.Name{CommonName: "crm.dynamics.com"}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := certs.FromDER(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, adjust func(*rotation.Config)) *house {
	t.Helper()
	h := &house{clock: &clock{now: rollovertest.Epoch}, certs: certs.NewStore(tenantstest.NewBucket())}
	h.blocks = certs.NewBlocks(tenantstest.NewBucket(), time.Now)
	h.cert = certificate(t, rollovertest.Epoch.Add(72*time.Hour), rollovertest.Epoch.AddDate(2, 0, 0))
	if _, err := h.certs.Add(t.Context(), h.cert); err != nil {
		t.Fatal(err)
	}
	h.store = &store{Memory: rollovertest.NewMemory(h.cert.Credential)}
	inventory := tenants.New(tenantstest.NewBucket(), tenantstest.NewBucket())
	for _, id := range []string{"adatum", "contoso", "fabrikam"} {
		if _, _, err := inventory.Put(t.Context(), tenant(id)); err != nil {
			t.Fatal(err)
		}
	}
	requests := tenantstest.NewBucket()
	for i := range h.clients {
		c := rotation.Config{
			Store: h.store, Mirror: follow(t, h.store), Requests: requests, Certificates: h.certs, Tenants: inventory,
			Blocks: h.blocks, Kinds: []string{"acs-x509"}, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
		}
		if adjust != nil {
			adjust(&c)
		}
		conn, stop := serve(t, rotation.New(c))
		h.clients[i], h.desks[i] = pb.NewRotationServiceClient(conn), pb.NewDeskServiceClient(conn)
		if i == 0 {
			h.stop = stop
		}
	}
	return h
}

func tenant(id string) tenants.Tenant {
	return tenants.Tenant{
		ID: id, Organization: "https://" + id + ".crm.dynamics.com", EntraTenant: id + ".example.com",
		Login: tenants.Login{ClientID: "0190f3a2-7c1e-7b44-9d0a-2f5c8e6b1a37", Secret: "env:SECRET"},
	}
}

// follow runs a mirror of the store until the test ends.
func follow(t *testing.T, s mirror.Store) *mirror.Mirror {
	t.Helper()
	m := mirror.New(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

// serve runs a server with the service until the test ends or stop is called.
func serve(t *testing.T, svc *rotation.Service) (conn *grpc.ClientConn, stop func()) {
	t.Helper()
	s := edge.NewServer(edge.Config{
		Log: slog.New(slog.DiscardHandler), Health: func(context.Context) error { return nil }, StopTimeout: 2 * time.Second,
	})
	svc.Register(s)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, lis) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	conn, err = grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, stop
}

// request returns a request for all tenants that replaces by subject.
func (h *house) request() *pb.CreateRotationRequest {
	return &pb.CreateRotationRequest{Rotation: &pb.Rotation{
		DisplayName: "November", Labels: map[string]string{"wave": "1"},
		Spec: &pb.RotationSpec{
			Kind: "acs-x509", Certificate: "certificates/" + h.cert.SHA256, ReplacesSameSubject: true,
			Target: &pb.TargetSelector{Selection: &pb.TargetSelector_AllTenants{AllTenants: true}},
		},
	}}
}

func (h *house) create(t *testing.T) *pb.Rotation {
	t.Helper()
	resp, err := h.client().CreateRotation(t.Context(), h.request())
	if err != nil {
		t.Fatalf("CreateRotation = %v", err)
	}
	return resp.GetRotation()
}

// plan freezes a plan of n tasks, as the conductor does, and returns the rotation
// as the API shows it.
func (h *house) plan(t *testing.T, name string, n int) *pb.Rotation {
	t.Helper()
	id, _ := edge.ParseRotation(name)
	r, err := h.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	items := rollovertest.Plan(n)
	if r, err = r.Freeze(items, h.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.FreezePlan(t.Context(), r, items); err != nil {
		t.Fatal(err)
	}
	return h.get(t, name)
}

// get reads a rotation. The server waits for its live copy for a while and then has the
// caller ask again, which on a busy machine a large plan may need.
func (h *house) get(t *testing.T, name string) *pb.Rotation {
	t.Helper()
	resp, err := h.client().GetRotation(t.Context(), &pb.GetRotationRequest{Name: name})
	for again := 0; status.Code(err) == codes.Unavailable && again < 5; again++ {
		resp, err = h.client().GetRotation(t.Context(), &pb.GetRotationRequest{Name: name})
	}
	if err != nil {
		t.Fatalf("GetRotation(%s) = %v", name, err)
	}
	return resp.GetRotation()
}

// save stores the progress of a task, as a rotator does.
func (h *house) save(t *testing.T, name string, ord int, p rollover.Phase, o rollover.Outcome) {
	t.Helper()
	id, _ := edge.ParseRotation(name)
	k, err := h.store.Task(t.Context(), rollover.TaskID{Rotation: id, Ord: ord})
	if err != nil {
		t.Fatal(err)
	}
	k.Phase, k.Outcome = p, o
	if _, err := h.store.SaveTask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// write changes the rotation's record behind the API, as the conductor does.
func (h *house) write(t *testing.T, name string, f func(*rollover.Rotation)) {
	t.Helper()
	id, _ := edge.ParseRotation(name)
	r, err := h.store.Rotation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	f(&r)
	if _, err := h.store.Memory.SaveRotation(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// refused checks the code and reason of an error and returns its info.
func refused(t *testing.T, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && status.Code(err) == code && info.GetReason() == reason {
			return info
		}
	}
	t.Fatalf("got %v with %v, want %s %s", err, status.Convert(err).Details(), code, reason)
	return nil
}
