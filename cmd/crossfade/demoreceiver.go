package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crossfade-project/crossfade/internal/ownca"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

// The receiver of a secure demo's webhooks, and the file of the key that signs to it.
const (
	demoReceiverHost = "portal.example.com"
	demoHookKey      = "webhook-portal"
)

// demoPatience is for what takes a second or two, in real time.
const demoPatience = 30 * time.Second

// demoReceiver is a portal's server that is told by webhook how the rotation stands. It
// writes down all that comes, and believes only what is signed.
type demoReceiver struct {
	lis    net.Listener
	srv    *http.Server
	key    []byte
	to     io.Writer
	served chan struct{} // closed when it takes no more

	came map[string]chan struct{} // by type of event: closed when the first came

	mu    sync.Mutex
	wrong []string // what came that should not
}

// receive starts a receiver with the certificate of our own listeners, and keeps its key
// where the service finds its secrets.
func (s *secureDemo) receive(ctx context.Context, to io.Writer) (*demoReceiver, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // It does not fail: crypto/rand ends the process first.
	text := "whsec_" + base64.StdEncoding.EncodeToString(raw)
	if err := os.WriteFile(s.path("emulated/secrets/"+demoHookKey), []byte(text+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keeping the key of webhooks: %w", err)
	}
	key, err := webhooks.Key(secrets.NewSecret(text))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(s.own(ownca.API+".pem"), s.own(ownca.API+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the receiver's certificate: %w", err)
	}
	var listens net.ListenConfig
	lis, err := listens.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	r := &demoReceiver{lis: lis, key: key, to: to, came: map[string]chan struct{}{}, served: make(chan struct{})}
	for _, kind := range webhooks.Types() {
		r.came[kind] = make(chan struct{})
	}
	r.srv = &http.Server{
		Handler: r, ReadTimeout: demoPatience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}},
	}
	go func() {
		defer close(r.served)
		_ = r.srv.ServeTLS(lis, "", "") // It ends when it is closed; what does not arrive is noticed.
	}()
	return r, nil
}

// Close ends the receiver.
func (r *demoReceiver) Close() error {
	err := r.srv.Close()
	<-r.served
	return err
}

// ServeHTTP takes in one event.
func (r *demoReceiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	dump, err := httputil.DumpRequest(q, true) // It leaves the body to be read.
	if err != nil {
		http.Error(w, "cut off", http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, werr := fmt.Fprintf(r.to, "%s\n\n", dump)
	var m struct {
		Type string `json:"type"`
	}
	if err = errors.Join(err, werr, json.Unmarshal(body, &m), r.signed(q.Header, body)); err != nil {
		r.wrong = append(r.wrong, "a webhook: "+err.Error())
		http.Error(w, "not taken", http.StatusBadRequest)
		return
	}
	if came, ok := r.came[m.Type]; ok && !closed(came) {
		close(came)
	}
	w.WriteHeader(http.StatusNoContent)
}

// signed returns an error unless the event is signed with our key.
func (r *demoReceiver) signed(h http.Header, body []byte) error {
	at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return fmt.Errorf("reading its time: %w", err)
	}
	if !slices.Contains(strings.Fields(h.Get("webhook-signature")), webhooks.Sign(r.key, h.Get("webhook-id"), time.Unix(at, 0), body)) {
		return errors.New("it is not signed by the service")
	}
	return nil
}

// closed reports whether what is waited for has come.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// waitFor waits until the portal was told of an event, and notes it if it never was.
func (r *demoReceiver) waitFor(ctx context.Context, kind string) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	select {
	case <-r.came[kind]:
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wrong = append(r.wrong, "the portal was not told of "+kind)
	}
}

// unexpected returns what did not come as it should.
func (r *demoReceiver) unexpected() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wrong)
}
