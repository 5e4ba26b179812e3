package acs_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

func TestSignSWT_GivesTheKnownAnswers(t *testing.T) {
	third, err := base64.StdEncoding.DecodeString("GnxQQPqX2xwy72BE2Kmb/RvD58R1p7/NqVL9v8bmqC0=")
	if err != nil {
		t.Fatal(err)
	}
	own := make([]byte, 32)
	for i := range own {
		own[i] = byte(i)
	}
	const at = "https://contoso-sb.accesscontrol.windows.net/"
	for _, tt := range []struct {
		name  string
		key   []byte
		pairs []acs.Pair
		want  string
	}{
		{"the vector of the Notification Hubs SDK", third, []acs.Pair{{Name: "Issuer", Value: "owner"}},
			"Issuer=owner&HMACSHA256=" + acs.Escape("je1Q5mR/mLmbz+io5k/uuJ8l4CM5EIb9uN73iZfCHgk=")},
		{"a management token", own, []acs.Pair{
			{Name: "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", Value: "SBManagementClient"},
			{Name: "http://schemas.microsoft.com/accesscontrolservice/2010/07/claims/identityprovider", Value: at},
			{Name: "Audience", Value: at + "v2/mgmt/service/"}, {Name: "ExpiresOn", Value: "1478228400"}, {Name: "Issuer", Value: at}},
			"http%3a%2f%2fschemas.xmlsoap.org%2fws%2f2005%2f05%2fidentity%2fclaims%2fnameidentifier=SBManagementClient&http%3a%2f%2fschemas.microsoft.com%2faccesscontrolservice%2f2010%2f07%2fclaims%2fidentityprovider=https%3a%2f%2fcontoso-sb.accesscontrol.windows.net%2f&Audience=https%3a%2f%2fcontoso-sb.accesscontrol.windows.net%2fv2%2fmgmt%2fservice%2f&ExpiresOn=1478228400&Issuer=https%3a%2f%2fcontoso-sb.accesscontrol.windows.net%2f&HMACSHA256=tRmiJGLc8XO%2bIudv4njV3IJ2Dsbf%2bQT215BzU8PYQZc%3d"},
	} {
		if got := acs.SignSWT(tt.pairs, tt.key); got != tt.want {
			t.Errorf("SignSWT of %s =\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestEscape_IsDotNets(t *testing.T) {
	if got, want := acs.Escape("a b:/ä-_.!*()~'+"), "a+b%3a%2f%c3%a4-_.!*()%7e%27%2b"; got != want {
		t.Errorf("Escape = %s, want %s", got, want)
	}
	if got := acs.Escape("x"); strings.ToUpper(got) != "X" {
		t.Errorf("Escape(x) = %s", got)
	}
}
