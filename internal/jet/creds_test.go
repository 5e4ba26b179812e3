package jet_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/crossfade-project/crossfade/internal/jet"
)

// pair makes a key of one of the three kinds and returns it with its public half.
func pair(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

// operated runs a server in operator mode with one account, and returns its URL
// and a credentials file for a user of that account.
func operated(t *testing.T) (url, creds string) {
	t.Helper()
	operator, operatorID := pair(t, nkeys.CreateOperator)
	account, accountID := pair(t, nkeys.CreateAccount)
	_, systemID := pair(t, nkeys.CreateAccount) // JetStream wants one beside the accounts that use it.
	user, userID := pair(t, nkeys.CreateUser)
	sign := func(s string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	oc := jwt.NewOperatorClaims(operatorID)
	ac := jwt.NewAccountClaims(accountID)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	oc.SystemAccount = systemID
	sign(oc.Encode(operator))
	resolver := &server.MemAccResolver{}
	for id, c := range map[string]*jwt.AccountClaims{accountID: ac, systemID: jwt.NewAccountClaims(systemID)} {
		if err := resolver.Store(id, sign(c.Encode(operator))); err != nil {
			t.Fatal(err)
		}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		TrustedOperators: []*jwt.OperatorClaims{oc}, AccountResolver: resolver, SystemAccount: systemID,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server is not ready")
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(sign(jwt.NewUserClaims(userID).Encode(account)), seed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(t.TempDir(), "crossfade.creds")
	if err := os.WriteFile(creds, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), creds
}

func TestOpen_LogsInWithACredentialsFile(t *testing.T) {
	url, creds := operated(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.URL, c.MaxStore = "", url, 64<<20
	if b, err := jet.Open(t.Context(), c); err == nil {
		shut(t, b)
		t.Fatal("Open without credentials = nil, want an error")
	}
	c.Creds = creds
	b := open(t, c)
	planned(t, b, cert, "r1", 3)
	if err := b.Ready(t.Context()); err != nil {
		t.Errorf("Ready = %v", err)
	}
}
