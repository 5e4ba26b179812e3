package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator/issuer"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/ownca"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// demoAudience is what the demo's service is called at its issuer of tokens.
const demoAudience = "api://crossfade-demo"

// The people and portals of a demo in which callers prove who they are.
const (
	demoAdmin    = "jane"    // client certificate; brings the tenants in
	demoApprover = "maria"   // client certificate; the second person
	demoRevoked  = "mallory" // client certificate, revoked; she was an admin too
	demoPortal   = "portal"  // token; asks for the rotation, and may approve that of others
	demoViewer   = "vic"     // token; may only look
	demoLimited  = "nora"    // token; may rotate one tenant
)

// secureDemo is what a demo has besides, in which callers prove who they are.
type secureDemo struct {
	*demo
	first  string // the tenant that demoLimited may rotate
	tokens map[string]string
	spans  io.Writer // where traces are written down

	trusted  []byte            // the authorities of the emulated cloud and of our own listeners
	dial     map[string]string // where hosts are, the emulated and the receiver's
	receiver *demoReceiver     // is told by webhook
	web      net.Listener      // for pages
	pages    io.Writer         // where what pages are answered is written down
	closers  []io.Closer

	refused    int      // calls that were refused as they should be
	told       int      // of them that the audit log must tell
	unexpected []string // what was not
}

// own is the folder of the demo's own keys and tokens, for its user alone.
func (s *secureDemo) own(name string) string { return filepath.Join(s.f.dir, "own", name) }

// secureAt makes certificates, rights and the configuration of a service at addr, and
// whatever is around it. What it returns is to be closed, also with an error.
func (d *demo) secureAt(ctx context.Context, addr string) (*secureDemo, error) {
	s := &secureDemo{demo: d, first: d.cloud.World().Tenants[0].ID, tokens: map[string]string{}}
	now := time.Now()
	err := ownca.Write(s.own(""), ownca.Config{
		APINames: []string{"127.0.0.1", demoReceiverHost}, Callers: []string{demoAdmin, demoApprover, demoRevoked}, Life: 24 * time.Hour, Now: now,
	})
	if err != nil {
		return s, fmt.Errorf("making certificates: %w", err)
	}
	if err := ownca.Revoke(s.own(""), []string{demoRevoked}, now, 24*time.Hour); err != nil {
		return s, err
	}
	if err := s.open(ctx); err != nil {
		return s, err
	}
	// What demoRevoked may do is what her certificate would let her do.
	err = s.write("rights.yaml", map[string]any{"grants": []map[string]any{
		{"subjects": []string{"cert:" + demoAdmin, "cert:" + demoRevoked}, "role": "admin"},
		{"subjects": []string{"cert:" + demoApprover}, "role": "approver"},
		{"groups": []string{"corp:rotators"}, "role": "operator"},
		{"groups": []string{"corp:rotators"}, "role": "approver"},
		{"subjects": []string{"corp:" + demoViewer}, "role": "viewer"},
		{"subjects": []string{"corp:" + demoLimited}, "role": "operator", "tenants": fmt.Sprintf("id = %q", s.first)},
	}})
	if err != nil {
		return s, err
	}
	err = s.write("crossfade.yaml", map[string]any{
		"data":   "data",
		"listen": map[string]any{"grpc": addr, "web": s.web.Addr().String(), "ops": "127.0.0.1:0"},
		"tls":    map[string]any{"cert": "own/" + ownca.API + ".pem", "key": "own/" + ownca.API + ".key", "client_ca": "own/" + ownca.Callers + ".pem", "client_crl": "own/" + ownca.RevokedFile},
		"identity": map[string]any{
			"rights":  "rights.yaml",
			"issuers": map[string]any{"corp": map[string]any{"url": issuer.URL, "audience": demoAudience, "algorithms": "ES256"}},
		},
		"approvals": map[string]any{"rules": map[string]any{"every-start": map[string]any{"approvers": 1, "acts": "start"}}},
		"secrets":   map[string]any{"dir": "emulated/secrets"},
		"network":   map[string]any{"ca_file": demoTrusted, "dial": s.dial},
		"webhooks":  map[string]any{demoPortal: map[string]any{"url": "https://" + demoReceiverHost + "/hooks/crossfade", "secret": "file:" + demoHookKey}},
		"log":       map[string]any{"format": "json", "level": "debug"},
	})
	if err != nil {
		return s, err
	}
	for name, groups := range map[string][]string{demoPortal: {"rotators"}, demoViewer: {}, demoLimited: {}} {
		if err := s.signIn(ctx, name, groups); err != nil {
			return s, err
		}
	}
	d.caFile = s.own(ownca.AuthorityFile)
	return s, nil
}

// write writes a file of the service's into the demo's folder.
func (s *secureDemo) write(name string, v any) error {
	b, err := yaml.Marshal(v)
	if err == nil {
		err = os.WriteFile(s.path(name), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// nodeConfig is the configuration file's, on the demo's clock.
func (s *secureDemo) nodeConfig(log *slog.Logger) (nodeConfig, error) {
	c, err := daemon.Load(s.path("crossfade.yaml"))
	if err != nil {
		return nodeConfig{}, err
	}
	n, err := newNodeConfig(c, log)
	if err != nil {
		return n, err
	}
	n.traces, n.ratio = s.traces, 1
	n.clock = s.clock
	n.outbound = outbound.Config{CAPEM: s.trusted, Dial: s.dial}
	return n, nil
}

// traces writes spans down instead of sending them.
func (s *secureDemo) traces(*secrets.Resolver) (sdktrace.SpanExporter, error) {
	to, err := stdouttrace.New(stdouttrace.WithWriter(s.spans))
	if err != nil {
		return nil, fmt.Errorf("opening the traces: %w", err)
	}
	return to, nil
}

// signIn has a portal log in at the issuer, as portals do, and keeps its token.
func (s *secureDemo) signIn(ctx context.Context, name string, groups []string) error {
	secret := uuid.NewString()
	if err := os.WriteFile(s.own(name+".secret"), []byte(secret), 0o600); err != nil {
		return fmt.Errorf("keeping the secret of %s: %w", name, err)
	}
	s.cloud.Issuer().Register(issuer.Application{ID: name, Secret: secret, Groups: groups})
	ctx, cancel := bounded(ctx)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {demoAudience}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	r.SetBasicAuth(name, secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := s.cloud.Client().Do(r)
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // Read to its end below.
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxTokenFile)).Decode(&body); err != nil || body.Token == "" {
		return fmt.Errorf("asking for a token for %s: %s: %w", name, answer.Status, errors.Join(err, errors.New("there is none in the answer")))
	}
	return s.keep(name, body.Token)
}

// keep writes a token where the command line reads it.
func (s *secureDemo) keep(name, token string) error {
	if err := os.WriteFile(s.own(name+".token"), []byte(token), 0o600); err != nil {
		return fmt.Errorf("keeping the token of %s: %w", name, err)
	}
	s.tokens[name] = token
	return nil
}

// by returns the command line in somebody's hands.
func (s *secureDemo) by(name string) *app {
	a := *s.app
	a.as = ""
	if _, ok := s.tokens[name]; ok {
		a.proof = proof{tokenFile: s.own(name + ".token")}
	} else {
		a.proof = proof{certFile: s.own(name + ".pem"), keyFile: s.own(name + ".key")}
	}
	return &a
}

// approve tries what must be refused, and then has the second person approve the plan,
// once they were told that it waits for them.
func (s *secureDemo) approve(ctx context.Context, portal *client, r *crossfadev1.Rotation) error {
	s.tryAgainstThePlan(ctx, portal, r)
	s.receiver.waitFor(ctx, webhooks.NeedsApproval)
	return s.by(demoApprover).with(func(cl *client) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		_, err := cl.rotations.ApproveRotation(ctx, &crossfadev1.ApproveRotationRequest{
			Name: r.GetName(), PlanDigest: r.GetPlanDigest(), Act: crossfadev1.ApprovalAct_APPROVAL_ACT_START,
			Reason: "seen with " + demoPortal, RequestId: uuid.NewString(),
		})
		if err != nil {
			return err
		}
		s.say("%s has approved the plan that %s asked for", demoApprover, demoPortal)
		return nil
	})
}
