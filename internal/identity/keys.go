package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// The bounds of what is read from an issuer.
const (
	fetchTimeout = 10 * time.Second
	maxDocument  = 1 << 20
	// patience is how long calls whose keys are due to be read anew wait for that, counted
	// from when it was begun. An issuer that hangs must not make everybody wait for all of
	// fetchTimeout while there are keys that will do.
	patience = time.Second
	// refreshEvery is how old keys may be. Those in use stay in use while the issuer
	// cannot be reached, for maxAge at most: a key that was taken back must not live
	// for ever in a process that is cut off.
	refreshEvery = time.Hour
	maxAge       = 24 * time.Hour
	// unknownEvery bounds how often a key that is not known makes us ask. Anybody can
	// send tokens with made-up key ids.
	unknownEvery = 10 * time.Second
)

// keys are an issuer's keys, read when they are needed.
//
// The library that reads key sets could fetch them too. It bounds the wait for its turn
// and the fetch itself by one time, which has to be short, and it reads answers of any
// size; so the fetching is ours.
type keys struct {
	issuer Issuer
	http   *http.Client
	now    func() time.Time

	life context.Context //nolint:containedctx // Its end is the signal that ends the asking.
	wg   sync.WaitGroup  // of the asking

	mu      sync.Mutex // guards all below; not held while the issuer is asked
	closed  bool
	flight  *fetching // that is under way, else nil
	set     keyfunc.Keyfunc
	ids     map[string]bool
	fetched time.Time // when set was read
	asked   time.Time // when it was last tried
	err     error     // of the last try
}

// choose returns the function that finds the key of a token.
func (k *keys) choose(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		set, err := k.with(ctx, id)
		if err != nil {
			return nil, err
		}
		return set.KeyfuncCtx(ctx)(t)
	}
}

// with returns keys among which is the one of that id, if the issuer has it.
func (k *keys) with(ctx context.Context, id string) (keyfunc.Keyfunc, error) {
	k.mu.Lock()
	now := k.now()
	age, since := now.Sub(k.fetched), now.Sub(k.asked)
	known := k.set != nil && (id == "" || k.ids[id])
	fresh := k.set != nil && age < refreshEvery
	// A clock that was put back must not keep us from asking.
	mayAsk := k.asked.IsZero() || since < 0 || since >= unknownEvery
	set, err := k.set, k.err
	k.mu.Unlock()
	switch {
	case known && fresh:
		return set, nil
	case mayAsk:
		return k.fetch(ctx, known && age < maxAge)
	case known && age < maxAge:
		return set, nil
	case set != nil && age < maxAge: // It was asked for a moment ago, and is not there.
		return set, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return nil, ErrUnavailable
	}
}

// fetching is one asking of the issuer, for all who wait for it.
type fetching struct {
	begun time.Time // by the machine's clock: it is a wait that is counted from it
	done  chan struct{}

	// Written before done is closed.
	set keyfunc.Keyfunc
	err error
}

// fetch reads the keys anew, once for all who wait for them. stale says that those of
// before will do where the issuer does not answer, or not soon.
func (k *keys) fetch(ctx context.Context, stale bool) (keyfunc.Keyfunc, error) {
	f, before := k.begin(ctx)
	var late <-chan time.Time
	if stale && before != nil {
		t := time.NewTimer(patience - time.Since(f.begun))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-late:
		return before, nil
	case <-f.done:
	}
	if f.err != nil && (!stale || f.set == nil) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, f.err)
	}
	return f.set, nil
}

// begin returns the asking that is under way, or begins one, and the keys of before.
func (k *keys) begin(ctx context.Context) (*fetching, keyfunc.Keyfunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight, k.set
	}
	f := &fetching{begun: time.Now(), done: make(chan struct{})}
	if k.closed { // Nobody would wait for it.
		f.set, f.err = k.set, context.Canceled
		close(f.done)
		return f, k.set
	}
	k.flight = f
	k.wg.Go(func() {
		defer close(f.done)
		// Others wait for it too: it does not end with the call that began it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		defer context.AfterFunc(k.life, cancel)()
		set, ids, err := k.read(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.flight, k.asked, k.err = nil, k.now(), err
		if err == nil {
			k.set, k.ids, k.fetched = set, ids, k.asked
		}
		f.set, f.err = k.set, err
	})
	return f, k.set
}

// close waits for what is asked, and lets nothing more be asked. The end of life comes
// before.
func (k *keys) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.wg.Wait()
}

// read asks the issuer for its keys.
func (k *keys) read(ctx context.Context) (keyfunc.Keyfunc, map[string]bool, error) {
	at := k.issuer.Keys
	if at == "" {
		var err error
		if at, err = k.discover(ctx); err != nil {
			return nil, nil, err
		}
	}
	var doc jwkset.JWKSMarshal
	if err := k.document(ctx, at, &doc); err != nil {
		return nil, nil, fmt.Errorf("reading the keys of issuer %s: %w", k.issuer.Name, err)
	}
	store := jwkset.NewMemoryStorage()
	ids := map[string]bool{}
	for _, m := range doc.Keys {
		// Keys for encryption, and such as we cannot use, are no reason to use none.
		if m.KTY != jwkset.KtyRSA && m.KTY != jwkset.KtyEC && m.KTY != jwkset.KtyOKP || m.USE != "" && m.USE != jwkset.UseSig {
			continue
		}
		key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		if err := store.KeyWrite(ctx, key); err != nil {
			return nil, nil, fmt.Errorf("keeping the keys of issuer %s: %w", k.issuer.Name, err)
		}
		ids[m.KID] = true
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("reading the keys of issuer %s: there is none for signatures", k.issuer.Name)
	}
	set, err := keyfunc.New(keyfunc.Options{Ctx: context.Background(), Storage: store})
	return set, ids, err
}

// discover asks the issuer where its keys are, by OpenID Connect Discovery 1.0 §4.
func (k *keys) discover(ctx context.Context) (string, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.document(ctx, discoveryOf(k.issuer.URL), &doc); err != nil {
		return "", fmt.Errorf("asking issuer %s where its keys are: %w", k.issuer.Name, err)
	}
	switch {
	case doc.Issuer != k.issuer.URL: // §4.3: must be identical.
		return "", fmt.Errorf("asking issuer %s where its keys are: it calls itself another than %s", k.issuer.Name, k.issuer.URL)
	case doc.Keys == "":
		return "", fmt.Errorf("asking issuer %s where its keys are: it does not say", k.issuer.Name)
	}
	return doc.Keys, nil
}

// document reads a JSON document.
func (k *keys) document(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := k.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // What was read of it was read.
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered with status %d", res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case len(b) > maxDocument:
		return fmt.Errorf("the answer is longer than %d bytes", maxDocument)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return errors.New("the answer is not what was asked for")
	}
	return nil
}
