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

// operator is a server in operator mode with one account.
type operator struct {
	url string

	server         *server.Server
	key, account   nkeys.KeyPair
	claims         *jwt.AccountClaims
	accountID, dir string
}

// signed returns what was encoded, or ends the test.
func signed(t *testing.T) func(string, error) string {
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// operated runs a server in operator mode.
func operated(t *testing.T) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir()}
	var operatorID string
	o.key, operatorID = pair(t, nkeys.CreateOperator)
	o.account, o.accountID = pair(t, nkeys.CreateAccount)
	_, systemID := pair(t, nkeys.CreateAccount) // JetStream wants one beside the accounts that use it.
	oc := jwt.NewOperatorClaims(operatorID)
	o.claims = jwt.NewAccountClaims(o.accountID)
	o.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	oc.SystemAccount = systemID
	signed(t)(oc.Encode(o.key))
	resolver := &server.MemAccResolver{}
	for id, c := range map[string]*jwt.AccountClaims{o.accountID: o.claims, systemID: jwt.NewAccountClaims(systemID)} {
		if err := resolver.Store(id, signed(t)(c.Encode(o.key))); err != nil {
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
	o.url, o.server = s.ClientURL(), s
	return o
}

// user makes a user of the account and puts its credentials in the place of those
// of before.
func (o *operator) user(t *testing.T) (creds, id string) {
	t.Helper()
	user, id := pair(t, nkeys.CreateUser)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(signed(t)(jwt.NewUserClaims(id).Encode(o.account)), seed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(o.dir, "crossfade.creds")
	if err := os.WriteFile(creds+".next", file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(creds+".next", creds); err != nil {
		t.Fatal(err)
	}
	return creds, id
}

// revoke has the server believe the user no more.
func (o *operator) revoke(t *testing.T, user string) {
	t.Helper()
	o.claims.Revoke(user)
	signed(t)(o.claims.Encode(o.key))
	account, err := o.server.LookupAccount(o.accountID)
	if err != nil {
		t.Fatal(err)
	}
	o.server.UpdateAccountClaims(account, o.claims)
}

// connections says how many there were since the server started.
func (o *operator) connections(t *testing.T) uint64 {
	t.Helper()
	v, err := o.server.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}

func TestOpen_LogsInWithACredentialsFile(t *testing.T) {
	o := operated(t)
	creds, _ := o.user(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.URL, c.MaxStore = "", o.url, 64<<20
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

// Whoever revokes the old user before the new file is in its place has locked the
// process out. It must come back by the new file, without being started again.
func TestCreds_ARevokedUserComesBackByTheNewFile(t *testing.T) {
	o := operated(t)
	creds, first := o.user(t)
	cert := newCert(t)
	c := config(t, cert)
	c.Dir, c.URL, c.MaxStore, c.Creds = "", o.url, 64<<20, creds
	b := open(t, c)
	o.revoke(t, first)
	tries := o.connections(t)
	eventually(t, "being refused more than twice", func() bool { return o.connections(t) >= tries+5 })
	if b.Ready(t.Context()) == nil {
		t.Error("Ready of a revoked user = nil, want an error")
	}
	_, second := o.user(t)
	eventually(t, "being let in again", func() bool { return b.Ready(t.Context()) == nil })

	o.user(t) // In its place before the other is revoked.
	o.revoke(t, second)
	eventually(t, "the third user", func() bool { return b.Ready(t.Context()) == nil })
	planned(t, b, cert, "r1", 3)
}
