package secrets_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

const value = "hunter2+/=="

// holder has a secret where fmt may call methods and where it may not.
type holder struct {
	Name   string
	Open   secrets.Secret
	hidden secrets.Secret
	Many   []secrets.Secret
	By     map[string]secrets.Secret
	Ptr    *secrets.Secret
}

// wire is what encoders are given, with a name since XML wants one.
type wire struct{ S secrets.Secret }

func newHolder() holder {
	s := secrets.NewSecret(value)
	return holder{"x", s, s, []secrets.Secret{s}, map[string]secrets.Secret{"k": s}, &s}
}

// leaked reports whether text has the value in it, plainly or as fmt may write
// its bytes.
func leaked(text string) bool {
	for _, f := range []string{"%s", "%x", "%X", "% x", "%v", "%d", "%#v", "%q"} {
		for _, form := range []any{value, []byte(value)} {
			if s := strings.Trim(fmt.Sprintf(f, form), "[]\""); len(s) > 4 && strings.Contains(text, s) {
				return true
			}
		}
	}
	return false
}

func TestSecret_PrintsAsRedactedByEveryVerb(t *testing.T) {
	s := secrets.NewSecret(value)
	for _, flags := range []string{"", "+", "#", " ", "-20", "020", "+#.3"} {
		for _, verb := range "vsqxXdobcUteEfFgGpTw" {
			format := "%" + flags + string(verb)
			for _, v := range []any{s, &s, newHolder(), []any{s}, fmt.Errorf("wrapped: "+format, s)} {
				if got := fmt.Sprintf(format, v); leaked(got) {
					t.Errorf("Sprintf(%q, %T) shows the value: %s", format, v, got)
				}
			}
			// %w outside of Errorf is a mistake that asks no method; what is
			// shown then is an address.
			if got := fmt.Sprintf(format, s); verb != 'w' && verb != 'T' && verb != 'p' && got != "[redacted]" {
				t.Errorf("Sprintf(%q) = %q, want [redacted]", format, got)
			}
		}
	}
	if got := s.String() + s.GoString() + fmt.Sprint(s, &s); leaked(got) {
		t.Errorf("String and GoString show the value: %s", got)
	}
}

func TestSecret_EncodesAsRedacted(t *testing.T) {
	s := secrets.NewSecret(value)
	var buf bytes.Buffer
	encoders := map[string]func(v any) ([]byte, error){
		"json": json.Marshal,
		"xml":  xml.Marshal,
		"yaml": yaml.Marshal,
		"gob": func(v any) ([]byte, error) {
			err := gob.NewEncoder(&buf).Encode(v)
			return buf.Bytes(), err
		},
	}
	for name, encode := range encoders {
		got, err := encode(wire{s})
		if err != nil || leaked(string(got)) || !strings.Contains(string(got), "[redacted]") {
			t.Errorf("%s = %s, %v, want [redacted]", name, got, err)
		}
	}
	got, err := json.Marshal(newHolder())
	if err != nil || leaked(string(got)) {
		t.Errorf("json of a holder = %s, %v", got, err)
	}
}

func TestSecret_LogsAsRedacted(t *testing.T) {
	s := secrets.NewSecret(value)
	for name, h := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var buf bytes.Buffer
		slog.New(h(&buf)).InfoContext(t.Context(), "signing in", "secret", s, "ptr", &s, "all", newHolder(), "err", fmt.Errorf("with %v", s))
		if got := buf.String(); leaked(got) || !strings.Contains(got, "[redacted]") {
			t.Errorf("%s log = %s, want [redacted]", name, got)
		}
	}
}

func TestSecret_ZeroIsEmpty(t *testing.T) {
	var s secrets.Secret
	if s.Reveal() != "" || !s.IsZero() || fmt.Sprint(s) != "[redacted]" {
		t.Errorf("zero Secret = %q, %v, %v, want empty, true, [redacted]", s.Reveal(), s.IsZero(), s)
	}
	if s := secrets.NewSecret(value); s.Reveal() != value || s.IsZero() {
		t.Errorf("NewSecret = %q, %v, want what was given", s.Reveal(), s.IsZero())
	}
	if err := json.Unmarshal([]byte(`"x"`), &s); err == nil {
		t.Errorf("a Secret was decoded from JSON, want an error")
	}
}

func TestParseRef_TakesAllSchemes(t *testing.T) {
	for _, in := range []string{"env:CROSSFADE_SECRET_A1", "env:_X", "file:a", "file:a/b.c/d-e", "file:.hidden", "file:..a",
		"azkv://contoso.vault.azure.net/acs-key", "azkv://contoso.vault.azure.net/a/0123456789abcdef0123456789abcdef",
		"vault://kv/crossfade/contoso#acs_key", "vault://secret/a#b.c"} {
		if got, err := secrets.ParseRef(in); err != nil || string(got) != in || !got.Valid() {
			t.Errorf("ParseRef(%q) = %q, %v, want it as it is", in, got, err)
		}
	}
}

func TestParseRef_RefusesTheRestAndDoesNotRepeatIt(t *testing.T) {
	for _, in := range []string{
		"", "hunter2", "hunter2:x", "Zm9vYmFyaHVudGVyMg==", "vault:hunter2", "ENV:HUNTER2", "env:", "env:hunter2", "env:1HUNTER2", "env:HUNTER-2", "file:",
		"file:/etc/hunter2", "file:../hunter2", "file:a/../hunter2", "file:a//hunter2", "file:./hunter2", "file:hunter2/", "file:.", "file:..",
		`file:a\hunter2`, "file:C:hunter2", "file:hunter2\x00", "file:hunter2\n", "azkv:hunter2", "azkv://hunter2/a", "azkv://HUNTER2.vault.azure.net/a", "azkv://v.azure.net/hunter2_x", "azkv://v.azure.net/a/hunter2",
		"azkv://u:hunter2@v.azure.net/a", "azkv://v.azure.net:443/hunter2", "vault://kv/hunter2", "vault://kv/../hunter2#f", "vault://kv/a//hunter2#f", "vault:///hunter2#f", "vault://kv/hunter2#", "vault://kv/hunter2?#f", "file:" + strings.Repeat("hunter2", 100),
	} {
		got, err := secrets.ParseRef(in)
		if !errors.Is(err, secrets.ErrRef) || got != "" || secrets.Ref(in).Valid() {
			t.Errorf("ParseRef(%q) = %q, %v, want ErrRef", in, got, err)
			continue
		}
		if strings.Contains(strings.ToLower(err.Error()), "hunter2") || strings.Contains(err.Error(), "Zm9v") {
			t.Errorf("ParseRef(%q) repeats what it was given: %v", in, err)
		}
	}
	if _, err := secrets.ParseRef("keepass:x"); err == nil || !strings.Contains(err.Error(), "env:") || !strings.Contains(err.Error(), "vault:") {
		t.Errorf("ParseRef(keepass:x) = %v, want the known schemes named", err)
	}
}
