package entra

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// problem is a refusal as Entra words it.
type problem struct {
	status int
	code   int    // the number after AADSTS; 0: none
	name   string // OAuth error
	text   string
}

// The codes are those of Microsoft's list of AADSTS errors.
func tenantUnknown(tenant string) *problem {
	return &problem{http.StatusBadRequest, 90002, "invalid_request", fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)}
}

func appUnknown(client, tenant string) *problem {
	return &problem{http.StatusBadRequest, 700016, "unauthorized_client", fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'.", client, tenant)}
}

func resourceUnknown(resource, tenant string) *problem {
	return &problem{http.StatusBadRequest, 500011, "invalid_resource", fmt.Sprintf("The resource principal named %s was not found in the tenant named %s.", resource, tenant)}
}

func scopeInvalid(scope string) *problem {
	return &problem{http.StatusBadRequest, 1002012, "invalid_scope", fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.", scope)}
}

func parameterMissing(name string) *problem {
	return &problem{http.StatusBadRequest, 900144, "invalid_request", fmt.Sprintf("The request body must contain the following parameter: '%s'.", name)}
}

func grantUnsupported() *problem {
	return &problem{http.StatusBadRequest, 70003, "unsupported_grant_type", "The app requested an unsupported grant type."}
}

func credentialMissing() *problem {
	return &problem{http.StatusUnauthorized, 7000218, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
}

func secretWrong(client string) *problem {
	return &problem{http.StatusUnauthorized, 7000215, "invalid_client", fmt.Sprintf("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", client)}
}

func secretExpired(client string) *problem {
	return &problem{http.StatusUnauthorized, 7000222, "invalid_client", fmt.Sprintf("The provided client secret keys for app '%s' are expired.", client)}
}

func assertionUnsigned(why string) *problem {
	return &problem{http.StatusUnauthorized, 700027, "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application, or the signature is invalid. [Reason - " + why + "]"}
}

func assertionTime() *problem {
	return &problem{http.StatusUnauthorized, 700024, "invalid_client", "Client assertion is not within its valid time range."}
}

func assertionClaim(which string) *problem {
	return &problem{http.StatusUnauthorized, 700023, "invalid_client", fmt.Sprintf("Client assertion's claim '%s' does not match what is expected.", which)}
}

func busy(status int) *problem {
	return &problem{status, 90033, "temporarily_unavailable", "A transient error has occurred. Please try again."}
}

// refuse writes p in Entra's envelope. It never repeats what the client sent as
// a credential.
func refuse(w http.ResponseWriter, p *problem, now time.Time) {
	trace, correlation := uuid.NewString(), uuid.NewString()
	stamp := now.UTC().Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error":             p.name,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", p.code, p.text, trace, correlation, stamp),
		"error_codes":       []int{p.code},
		"timestamp":         stamp,
		"trace_id":          trace,
		"correlation_id":    correlation,
		"error_uri":         fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", p.code),
	}
	write(w, p.status, body)
}

// write sends body as JSON that nobody may keep.
func write(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("x-ms-request-id", uuid.NewString())
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // The client has gone if this fails; nobody is left to tell.
}
