package handover

import (
	"strings"
	"time"
	"unicode"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// explain says why a person is asked, what comes first, and whether the steps
// for adding the certificate follow. The identity is a code span or empty.
func explain(r rollover.Reason, identity string) (why, do string, steps bool) {
	named := "of the name that we looked for"
	if identity != "" {
		named = "named " + identity
	}
	switch r {
	case rollover.NoAccess:
		return "We have no access to this namespace.", "Please add the certificate yourself.", true
	case rollover.IdentityMissing:
		return "The namespace has no service identity " + named + ".", "Find out which service identity Dynamics CRM signs in with, tell us its name, and use that one in the steps.", true
	case rollover.IdentityAmbiguous:
		return "The namespace has several service identities " + named + ".", "Find out which of them Dynamics CRM uses, tell us, and change only that one.", true
	case rollover.NamespaceUnknown:
		return "This address does not exist, or is not one that we may call.", "Check the namespace that the endpoint names and tell us the right one. Change nothing before that.", false
	case rollover.FederatedHalfMissing:
		return "The endpoint is federated and needs two namespaces, with and without `-sb`; we did not find this one.", "If it has another address, tell us. If it is there, add the certificate yourself: it must stand in both.", true
	case rollover.ChangedSincePlan:
		return "Somebody changed the service identity after we had looked at it, so we wrote nothing.", "Look whether the change was meant, and add the certificate if it is not there.", true
	case rollover.NewMissing:
		return "The new certificate stood there and was removed by somebody.", "Find out why before you add it again. Keep the old one.", true
	case rollover.InventoryUnreadable:
		return "We could not list the service endpoints of your organisation.", "Check our login and the organisation's address, and tell us. We do not know your namespaces before that.", false
	case rollover.VerificationFailed:
		return "What the namespace shows is not what we wrote.", "Compare the thumbprints and tell us what you see. Remove nothing.", false
	case rollover.TriesUsedUp, rollover.Refused:
		return "The namespace did not accept our change.", "See whether the certificate is there already, and add it if it is not.", true
	case rollover.OutOfReach:
		return "Others use this service identity too, and whoever asked for the change may not change it for them.", "Nothing yet: somebody of ours with rights to all who use it has to. Write to us.", false
	default:
		return "We could not finish this namespace.", "Write to us before you change anything.", false
	}
}

// address returns where a host is managed, or nothing for what is no host name.
func address(host string) string {
	if host == "" || !hostOnly(host) {
		return ""
	}
	return "https://" + host + "/"
}

func hostOnly(host string) bool {
	for _, r := range host {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
			return false
		}
	}
	return true
}

// code returns s as a code span that nothing inside it can end. Control and
// format characters become spaces.
func code(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s))
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if fence == "`" {
		return fence + s + fence
	}
	return fence + " " + s + " " + fence
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
