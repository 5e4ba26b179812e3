package dataverse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// read makes one request and decodes its answer. A token that is refused is
// thrown away once, with its login: it may have been revoked before its time.
func (s *session) read(ctx context.Context, at *url.URL, into any) error {
	for again := false; ; again = true {
		token, cred, err := s.token(ctx)
		if err != nil {
			return err
		}
		err = s.once(ctx, at, token, into)
		if !isStatus(err, http.StatusUnauthorized) {
			return err
		}
		s.c.forget(cred)
		if again {
			return rollover.HandOver(rollover.NoAccess,
				fmt.Errorf("a fresh token is refused; is this the directory of the organisation? %w", err))
		}
		s.c.c.Log.Info("token was refused, signing in again", "host", s.base.Host)
	}
}

// once makes one request with a token.
func (s *session) once(ctx context.Context, at *url.URL, token string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.c.CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return rollover.Permanent(rollover.InventoryUnreadable, errors.New("the address of a request cannot be used"))
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OData-MaxVersion", "4.0")
	req.Header.Set("OData-Version", "4.0")
	req.Header.Set("If-None-Match", "null")
	// Every page must be asked for in the same way as the first.
	req.Header.Set("Prefer", "odata.maxpagesize="+strconv.Itoa(s.c.c.PageSize))
	resp, err := s.c.c.HTTP.Do(req)
	if err != nil {
		var outer *url.Error // Repeats the address, which may be as long as a page's cookie.
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return fmt.Errorf("asking the organisation: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // Read to its end or given up.
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // Whatever came of it will do.
		return s.statusError(resp, body, token)
	}
	most := min(s.c.c.MaxPageBytes, s.left)
	body, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return rollover.Permanent(rollover.InventoryUnreadable, fmt.Errorf("answer is longer than %d bytes", most))
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	}
	s.left -= int64(len(body))
	return decodeAnswer(body, into)
}

// decodeAnswer reads the JSON of an answer.
func decodeAnswer(body []byte, into any) error {
	err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), into)
	switch {
	case errors.Is(err, errRows):
		return rollover.Permanent(rollover.InventoryUnreadable, errRows)
	case err != nil:
		// The text of the answer is not repeated; a proxy's page may hold anything.
		return fmt.Errorf("answer of %d bytes is not the JSON that was asked for", len(body))
	}
	return nil
}
