package acs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These are in the package, since what they feed is not exported.

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"Name eq 'crm9.dynamics.com'", "ServiceIdentity/Name eq 'a''b' and Id gt 5L", "not (startswith(Usage,'S') or SystemReserved)",
		"EndDate lt datetime'2016-11-04T01:00:00Z'", "Value eq X'00ff'", "substring(Type,1,2) eq null", "((((", "-9223372036854775808 eq Id", "'", "tolower(",
	} {
		f.Add(s)
	}
	m := newModel()
	t := m.byName["ServiceIdentityKey"]
	st := new(state)
	r := blank(t)
	st.put(t, r)
	f.Fuzz(func(_ *testing.T, s string) {
		if match, bad := compileFilter(t, s, true); bad == nil {
			match(st, r)
		}
		_, _ = compileOrder(t, s)
	})
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{
		`<entry xmlns="http://www.w3.org/2005/Atom"/>`,
		`<entry xmlns="http://www.w3.org/2005/Atom" xmlns:m="` + nsMetadata + `" xmlns:d="` + nsData + `"><content><m:properties><d:Id>5</d:Id><d:Value m:null="true"/></m:properties></content></entry>`,
		`<entry xmlns="http://www.w3.org/2005/Atom" xmlns:m="` + nsMetadata + `"><link rel="` + nsRelated + `ServiceIdentity" href="x"><m:inline><entry/></m:inline></link></entry>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><entry/>`, "<", "", "\xef\xbb\xbf<entry/>", `{"Id":"5","ServiceIdentity":{"Name":"x"}}`,
	} {
		f.Add([]byte(s))
	}
	m := newModel()
	typ := m.byName["ServiceIdentityKey"]
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []func(*entityType, []byte) (*payload, *refusal){parseEntry, parseJSONEntry} {
			p, bad := parse(typ, body)
			if (p == nil) == (bad == nil) {
				t.Fatalf("parsing %q = %v, %v", body, p, bad)
			}
			if p == nil {
				continue
			}
			for i, v := range p.props {
				if v != nil && i >= len(typ.props) {
					t.Fatalf("parsing %q gives property %d", body, i)
				}
			}
		}
	})
}

func FuzzBatch(f *testing.F) {
	files, err := filepath.Glob("testdata/batch_*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		parts, bad := parseBatch("multipart/mixed; boundary=batch_8f1e", body)
		if bad == nil && len(parts) > maxBatchParts {
			t.Fatalf("%d parts", len(parts))
		}
	})
}

func FuzzSWT(f *testing.F) {
	key := bytes.Repeat([]byte{1}, 32)
	f.Add(SignSWT([]Pair{{"Issuer", "owner"}, {"a b", "ä&="}}, key))
	f.Add("Issuer=owner&HMACSHA256=")
	f.Add("&HMACSHA256=%zz")
	f.Fuzz(func(t *testing.T, s string) {
		if tok, err := parseSWT(s); err == nil && tok.verify(key) && !strings.Contains(s, swtSignature) {
			t.Fatalf("%q is taken", s)
		}
		signed := SignSWT([]Pair{{"n", s}}, key)
		tok, err := parseSWT(signed)
		if err != nil || !tok.verify(key) {
			t.Fatalf("SignSWT of %q gives %q: %v", s, signed, err)
		}
		if v, ok := tok.get("n"); !ok || v != s {
			t.Fatalf("the value %q reads %q", s, v)
		}
	})
}

func FuzzAssertion(f *testing.F) {
	f.Add(`<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="a" Version="2.0"><Issuer>x</Issuer></Assertion>`)
	f.Add(`<!DOCTYPE a><a/>`)
	s := New(Config{Now: func() time.Time { return time.Unix(1476532800, 0) }})
	if err := s.AddNamespace(Namespace{Host: "a.b", Identities: []Identity{{Name: "x"}}}); err != nil {
		f.Fatal(err)
	}
	x := &exchange{s: s, ns: s.namespace("a.b"), now: s.cfg.Now()}
	f.Fuzz(func(t *testing.T, text string) {
		if who, bad := x.admitSAML(x.ns.cur.Load(), text); bad == nil {
			t.Fatalf("%q lets %v in", text, who)
		}
	})
}
