package dataverse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// session is the reading of one organisation, by one goroutine.
type session struct {
	c     *Client
	base  *url.URL
	cloud Cloud
	login Login
	path  string // version of the Web API in use; empty until it is known
	left  int64  // bytes of answers that may still be read
}

// version asks for the version and chooses the path.
func (s *session) version(ctx context.Context, org *Org) error {
	var answer struct{ Version string }
	var err error
	for _, p := range probes() {
		s.path = p
		if err = s.read(ctx, s.address("RetrieveVersion()", ""), &answer); !isStatus(err, http.StatusNotFound) {
			break
		}
	}
	if err != nil {
		return err
	}
	if org.At, err = ParseVersion(answer.Version); err != nil {
		return err
	}
	org.Version = clip(answer.Version, 40)
	paths := org.At.paths()
	if len(paths) == 0 {
		return rollover.Permanent(rollover.InventoryUnreadable, fmt.Errorf("version %s has no Web API", org.Version))
	}
	s.path = paths[0]
	return nil
}

// whoAmI asks which organisation this is, and so whether we are let in. It falls
// back to an older path where the organisation lacks the newest.
func (s *session) whoAmI(ctx context.Context, org *Org) error {
	var answer struct{ OrganizationID string }
	var err error
	for _, p := range org.At.paths() {
		s.path = p
		if err = s.read(ctx, s.address("WhoAmI()", ""), &answer); !isStatus(err, http.StatusNotFound) {
			break
		}
	}
	if err != nil {
		return err
	}
	id, err := uuid.Parse(answer.OrganizationID)
	if err != nil {
		return fmt.Errorf("answer of WhoAmI names no organisation")
	}
	org.ID = id.String()
	return nil
}

// endpoints lists all rows, with the widest column set that the organisation
// knows.
func (s *session) endpoints(ctx context.Context, org *Org) error {
	var err error
	for _, columns := range org.At.columns() {
		q := "$select=" + columns + "&$orderby=serviceendpointid"
		org.Endpoints, err = s.list(ctx, s.address("serviceendpoints", q))
		if !isStatus(err, http.StatusBadRequest) {
			return err
		}
	}
	return err
}

// list reads all pages from the first one on.
func (s *session) list(ctx context.Context, at *url.URL) ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	asked := map[string]bool{}
	for range s.c.c.MaxPages {
		asked[at.String()] = true
		var page page
		if err := s.read(ctx, at, &page); err != nil {
			return nil, err
		}
		if page.Value == nil {
			return nil, errors.New("answer has no value: it is not a list")
		}
		for _, w := range *page.Value {
			r, err := w.row()
			if err != nil {
				return nil, err
			}
			// A row that comes twice says that the list moved while it was read,
			// and another row may have been missed.
			if seen[r.ID] {
				return nil, fmt.Errorf("row %s came twice: the list is not whole", r.ID)
			}
			seen[r.ID] = true
			rows = append(rows, r)
		}
		if len(rows) > maxRows {
			return nil, rollover.Permanent(rollover.InventoryUnreadable, fmt.Errorf("more than %d service endpoints", maxRows))
		}
		if page.Next == "" {
			slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
			return rows, nil
		}
		next, err := s.follow(page.Next)
		if err != nil {
			return nil, rollover.Permanent(rollover.InventoryUnreadable, err)
		}
		if asked[next.String()] {
			return nil, rollover.Permanent(rollover.InventoryUnreadable, errors.New("the pages go in a circle"))
		}
		at = next
	}
	return nil, rollover.Permanent(rollover.InventoryUnreadable, fmt.Errorf("more than %d pages", s.c.c.MaxPages))
}

// address returns the address of a resource in the version in use.
func (s *session) address(resource, query string) *url.URL {
	return &url.URL{Scheme: s.base.Scheme, Host: s.base.Host, Path: "/api/data/" + s.path + "/" + resource, RawQuery: query}
}

// follow checks the address of the next page, which is used as it is. It may
// lead nowhere but to the organisation's own Web API: the token goes with it.
func (s *session) follow(link string) (*url.URL, error) {
	u, err := url.Parse(link)
	if err != nil || len(link) > maxPageLink {
		return nil, errors.New("the address of the next page cannot be read")
	}
	same := u.Scheme == s.base.Scheme && u.User == nil && (u.Port() == "" || u.Port() == "443") &&
		strings.EqualFold(u.Hostname(), s.base.Host)
	if !same || !strings.HasPrefix(u.Path, "/api/data/") || slices.Contains(strings.Split(u.Path, "/"), "..") {
		return nil, fmt.Errorf("the next page is said to be at %q; the token is not sent there", clip(u.Scheme+"://"+u.Host, 100))
	}
	return u, nil
}

// wireRow is a row as it comes. Columns that are null or missing stay zero.
type wireRow struct {
	ID              string  `json:"serviceendpointid"`
	Name            *string `json:"name"`
	AuthType        option  `json:"authtype"`
	Connection      option  `json:"connectionmode"`
	Contract        option  `json:"contract"`
	Format          option  `json:"namespaceformat"`
	Address         *string `json:"namespaceaddress"`
	Namespace       *string `json:"solutionnamespace"`
	Path            *string `json:"path"`
	KeyVault        *bool   `json:"usekeyvaultconfiguration"`
	ManagedIdentity *string `json:"_managedidentityid_value"`
}

// option is a value of an option set: a number, null, or a number as text.
type option int

// UnmarshalJSON reads the number.
func (o *option) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("option is not a number")
	}
	if n == "" {
		return nil
	}
	v, err := strconv.ParseInt(n.String(), 10, 32)
	*o = option(v)
	return err
}

// row checks a row and gives it its normal form.
func (w wireRow) row() (Row, error) {
	id, err := uuid.Parse(w.ID)
	if err != nil {
		return Row{}, fmt.Errorf("row has the id %q, which is no GUID", clip(w.ID, 40))
	}
	r := Row{
		ID: id.String(), Name: deref(w.Name), AuthType: int(w.AuthType), Connection: int(w.Connection),
		Contract: int(w.Contract), Format: int(w.Format), Address: deref(w.Address),
		Namespace: deref(w.Namespace), Path: deref(w.Path), ManagedIdentity: deref(w.ManagedIdentity),
	}
	for _, v := range []string{r.Name, r.Address, r.Namespace, r.Path, r.ManagedIdentity} {
		if len(v) > longestValue {
			return Row{}, fmt.Errorf("row %s has a value of %d bytes, at most %d are read", r.ID, len(v), longestValue)
		}
	}
	r.KeyVault = w.KeyVault != nil && *w.KeyVault
	return r, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
