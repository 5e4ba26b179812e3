package dataverse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// fail writes the error envelope of the Web API.
func fail(w http.ResponseWriter, status int, code, message string) {
	give(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// codeOf is the Dataverse code that goes with an injected status.
func codeOf(status int) string {
	if status == http.StatusTooManyRequests {
		return "0x80072322" // number of requests exceeded the limit over 300 seconds
	}
	return "0x80040216" // unexpected error
}

// give writes body as the Web API does.
func give(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; odata.metadata=minimal")
	h.Set("OData-Version", "4.0")
	h.Set("Cache-Control", "no-cache")
	h.Set("x-ms-service-request-id", uuid.NewString())
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // The client has gone if this fails; nobody is left to tell.
}

// root is the address of the API in the version of the call.
func (c *call) root() string {
	return fmt.Sprintf("https://%s/api/data/v%d.%d/", c.r.Host, c.path.major, c.path.minor)
}

func (s *Server) retrieveVersion(c *call) {
	give(c.w, http.StatusOK, map[string]any{
		"@odata.context": c.root() + "$metadata#Microsoft.Dynamics.CRM.RetrieveVersionResponse",
		"Version":        c.org.Version,
	})
}

func (s *Server) whoAmI(c *call) {
	give(c.w, http.StatusOK, map[string]any{
		"@odata.context": c.root() + "$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
		"BusinessUnitId": derived(c.org.ID, "business unit"),
		"UserId":         derived(c.org.ID, strings.ToLower(c.caller.ClientID)),
		"OrganizationId": c.org.ID,
	})
}

// derived makes a stable id within an organisation.
func derived(org, what string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(org+"/"+what)).String()
}

// mayRead reports whether the caller may read service endpoints, and answers if
// not.
func (s *Server) mayRead(c *call) bool {
	powerless := slices.ContainsFunc(c.org.Powerless, func(u string) bool { return strings.EqualFold(u, c.caller.ClientID) })
	if powerless {
		s.count(func(n *Counters) { n.Refusals++ })
		fail(c.w, http.StatusForbidden, "0x80040220", "Principal user is missing prvReadServiceEndpoint privilege.")
	}
	return !powerless
}

// segment answers for what has its key in the path: one endpoint, or what
// Dataverse would say about a table that it does not have.
func (s *Server) segment(c *call) {
	name := c.r.PathValue("segment")
	id, ok := keyed(name, "serviceendpoints")
	if !ok {
		fail(c.w, http.StatusNotFound, "0x8006088a", "Resource not found for the segment '"+name+"'.")
		return
	}
	if !s.mayRead(c) {
		return
	}
	q, err := parseQuery(c.r.URL.RawQuery, c.path)
	if err != nil {
		fail(c.w, http.StatusBadRequest, "0x80060888", err.Error())
		return
	}
	for i := range c.org.rows {
		if c.org.rows[i].ID == strings.ToLower(id) {
			row := c.org.rows[i].render(c.path, q.selected)
			row["@odata.context"] = c.root() + "$metadata#serviceendpoints/$entity"
			give(c.w, http.StatusOK, row)
			return
		}
	}
	fail(c.w, http.StatusNotFound, "0x80040217", "Entity 'ServiceEndpoint' With Id = "+id+" Does Not Exist")
}

// attributes serves the columns of the table, so that a client can ask what
// there is instead of guessing from the version.
func (s *Server) attributes(c *call) {
	name, ok := keyed(c.r.PathValue("segment"), "EntityDefinitions")
	if !ok || name != "LogicalName='serviceendpoint'" {
		fail(c.w, http.StatusNotFound, "0x80060888", "Entity definition not found.")
		return
	}
	cols := known(c.path)
	rows := []map[string]any{}
	for _, col := range columns() {
		if _, has := cols[col.name]; has {
			logical := strings.TrimSuffix(strings.TrimPrefix(col.name, "_"), "_value")
			rows = append(rows, map[string]any{"LogicalName": logical, "IsValidForRead": true})
		}
	}
	if !c.path.less(version{8, 1}) {
		rows = append(rows, map[string]any{"LogicalName": "saskey", "IsValidForRead": false},
			map[string]any{"LogicalName": "sastoken", "IsValidForRead": false})
	}
	give(c.w, http.StatusOK, map[string]any{
		"@odata.context": c.root() + "$metadata#EntityDefinitions('serviceendpoint')/Attributes", "value": rows,
	})
}

// keyed splits set(key).
func keyed(segment, set string) (string, bool) {
	rest, ok := strings.CutPrefix(segment, set+"(")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ")")
}
