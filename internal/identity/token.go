package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Issuer is one whose tokens are believed.
type Issuer struct {
	// Name is ours for it, and stands before the names of its subjects and groups:
	// 1 to 32 lower-case letters, digits and hyphens. Not "cert", not "person".
	Name string
	// URL is its own name, byte for byte as it stands in the tokens' iss.
	URL string
	// Audience is what the tokens' aud must have in it: us.
	Audience string
	// Algorithms are those with which it signs. Default RS256 and ES256.
	Algorithms []string
	// Keys is the address of its key set. Default: it is asked, by
	// OpenID Connect Discovery.
	Keys string
	// Subject is the claim that names the subject. Default "sub".
	Subject string
	// Groups is the claim that lists its groups. Default "groups".
	Groups string
}

// Algorithms returns those that an issuer may be configured with. Each has a public
// key: with a shared one, whoever can check tokens could make them.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// Config is what a [Verifier] is made of. All fields are required.
type Config struct {
	Issuers []Issuer
	HTTP    *http.Client
	Now     func() time.Time // the machine's: tokens count in its time
}

// leeway is how far the issuer's clock may be from ours.
const leeway = 30 * time.Second

// The bounds of the memory of tokens that were verified: checking a signature costs
// forty times as much as finding it there.
const (
	cachedTokens = 10_000
	cachedFor    = 5 * time.Minute
)

// Verifier judges bearer tokens.
type Verifier struct {
	c       Config
	issuers map[string]issuer // by URL
	seen    *lru.Cache[[sha256.Size]byte, believed]
	end     context.CancelFunc // of all that is asked of issuers
}

type issuer struct {
	Issuer
	keys   *keys
	parser *jwt.Parser
}

// believed is a token that was verified.
type believed struct {
	subject Subject
	until   time.Time
}

// NewVerifier returns a verifier. It asks no issuer before a token of it comes; Close
// ends what it asks. It returns an error if issuers are not as [Issuer] says, or two are
// one by name or URL: subjects of both would have the same names.
func NewVerifier(c Config) (*Verifier, error) {
	v := &Verifier{c: c, issuers: map[string]issuer{}}
	var err error
	if v.seen, err = lru.New[[sha256.Size]byte, believed](cachedTokens); err != nil {
		return nil, fmt.Errorf("making the memory of tokens: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	v.end = end
	named := map[string]bool{}
	for _, i := range c.Issuers {
		if len(i.Algorithms) == 0 {
			i.Algorithms = []string{"RS256", "ES256"}
		}
		if i.Subject == "" {
			i.Subject = "sub"
		}
		if i.Groups == "" {
			i.Groups = "groups"
		}
		for _, a := range i.Algorithms {
			if !slices.Contains(Algorithms(), a) {
				return nil, fmt.Errorf("issuer %s: algorithm %q is not one of %s", i.Name, a, strings.Join(Algorithms(), ", "))
			}
		}
		if i.Audience == "" || i.URL == "" || i.Name == "" {
			return nil, fmt.Errorf("issuer %q: want its name, its URL and the audience", i.Name)
		}
		if _, twice := v.issuers[i.URL]; twice {
			return nil, fmt.Errorf("issuer %s: %s is there twice", i.Name, i.URL)
		}
		if named[i.Name] {
			return nil, fmt.Errorf("issuer %s: there are two of this name", i.Name)
		}
		named[i.Name] = true
		v.issuers[i.URL] = issuer{
			Issuer: i, keys: &keys{issuer: i, http: c.HTTP, now: c.Now, life: life},
			parser: jwt.NewParser(
				jwt.WithValidMethods(i.Algorithms), jwt.WithIssuer(i.URL), jwt.WithAudience(i.Audience), jwt.WithExpirationRequired(),
				jwt.WithLeeway(leeway), jwt.WithIssuedAt(), jwt.WithTimeFunc(c.Now), jwt.WithJSONNumber(),
			),
		}
	}
	return v, nil
}

// Close ends what is being asked of issuers and waits for it. Tokens may still be judged
// after, by keys that are at hand.
func (v *Verifier) Close() {
	v.end()
	for _, i := range v.issuers {
		i.keys.close()
	}
}

// Token returns whose token it is. The error is [ErrInvalid] or [ErrUnavailable], says
// nothing of what is in the token but what was expected, and never quotes it.
func (v *Verifier) Token(ctx context.Context, raw string) (Subject, error) {
	if len(raw) > maxToken {
		return Subject{}, fmt.Errorf("the token is longer than %d bytes: %w", maxToken, ErrInvalid)
	}
	hash, now := sha256.Sum256([]byte(raw)), v.c.Now()
	if b, ok := v.seen.Get(hash); ok && now.Before(b.until) {
		return b.subject, nil
	}
	s, err := v.verify(ctx, raw)
	if err != nil {
		return Subject{}, err
	}
	until := now.Add(cachedFor)
	if s.Expires.Before(until) {
		until = s.Expires
	}
	v.seen.Add(hash, believed{s, until})
	return s, nil
}

func (v *Verifier) verify(ctx context.Context, raw string) (Subject, error) {
	// Whose it claims to be chooses whose keys are asked; only then is anything
	// believed.
	claimed := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, claimed); err != nil {
		return Subject{}, fmt.Errorf("the token is no signed JWT: %w", ErrInvalid)
	}
	iss, _ := claimed["iss"].(string)
	i, ok := v.issuers[iss]
	if !ok {
		return Subject{}, fmt.Errorf("the token is of an issuer that the configuration does not name: %w", ErrInvalid)
	}
	claims := jwt.MapClaims{}
	if _, err := i.parser.ParseWithClaims(raw, claims, i.keys.choose(ctx)); err != nil {
		return Subject{}, why(err)
	}
	return i.subject(claims)
}

// why says what is wrong with a token in words that quote nothing of it.
func why(err error) error {
	for _, l := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenExpired, "the token has expired; get a new one"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "the token is of the future"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "the token is of another issuer"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks a claim: want iss, aud and exp"},
	} {
		if errors.Is(err, l.is) {
			return fmt.Errorf("%s: %w", l.text, ErrInvalid)
		}
	}
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("the token's signature is not one of its issuer's, or its algorithm is not allowed: %w", ErrInvalid)
}

// subject reads the verified claims.
func (i issuer) subject(claims jwt.MapClaims) (Subject, error) {
	name, _ := claims[i.Subject].(string)
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return Subject{}, fmt.Errorf("the token says not when it ends: %w", ErrInvalid)
	}
	s := Subject{Name: i.Name + ":" + name, By: ByToken, Expires: expires.Time}
	if name == "" || !printable(s.Name) {
		return Subject{}, fmt.Errorf("the token's claim %s is no name: want 1 to %d printable ASCII characters: %w", i.Subject, maxName-len(i.Name)-1, ErrInvalid)
	}
	list, _ := claims[i.Groups].([]any)
	if len(list) > maxGroups {
		// To leave some out could only take rights away, but nobody would know why.
		return Subject{}, fmt.Errorf("the token has more than %d groups; have the issuer send those of this application: %w", maxGroups, ErrInvalid)
	}
	for _, g := range list {
		if text, ok := g.(string); ok && printable(i.Name+":"+text) && text != "" {
			s.Groups = append(s.Groups, i.Name+":"+text)
		}
	}
	return s, nil
}

// discoveryOf returns where an issuer says what it has.
func discoveryOf(url string) string {
	return strings.TrimSuffix(url, "/") + "/.well-known/openid-configuration"
}
