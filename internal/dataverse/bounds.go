package dataverse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Bounds on what is read of one organisation, besides those of [Config]. A page of
// the Web API has at most 5,000 rows, by Microsoft's documentation of
// odata.maxpagesize.
const (
	maxPageRows  = 5000     // of one page
	maxRows      = 20_000   // of all pages
	maxAnswers   = 12 << 20 // bytes of all answers together
	maxRefusal   = 64 << 10 // bytes of an answer that is not 200, in which the code is looked for
	maxSignIn    = 1 << 20  // bytes of an answer of Entra; a token has a few KiB
	maxPageLink  = 16 << 10 // bytes of the address of a next page, which has a cookie of one or two KiB
	longestValue = 4 << 10  // bytes of a value of a row; the longest column has 1,000 letters
)

// The defaults of [Config].
const (
	defaultPageSize    = 500
	defaultPages       = 200
	defaultPageBytes   = 4 << 20
	defaultCallTimeout = 30 * time.Second
)

// errRows says that an answer has more rows than were asked for.
var errRows = fmt.Errorf("a page has more than %d rows", maxPageRows)

// page is a page of a list.
type page struct {
	Value *wireRows `json:"value"`
	Next  string    `json:"@odata.nextLink"`
}

// wireRows are the rows of a page. A row of three bytes takes a hundred times as much
// in memory, so they are counted while they are read.
type wireRows []wireRow

// UnmarshalJSON reads an array of rows.
func (w *wireRows) UnmarshalJSON(b []byte) error {
	*w = wireRows{}
	d := json.NewDecoder(bytes.NewReader(b))
	switch open, err := d.Token(); {
	case err != nil:
		return err
	case open != json.Delim('['):
		return errors.New("the rows are no list")
	}
	for d.More() {
		if len(*w) == maxPageRows {
			return errRows
		}
		var row wireRow
		if err := d.Decode(&row); err != nil {
			return err
		}
		*w = append(*w, row)
	}
	return nil
}

// bounded is a client whose answers are cut off where no answer of Entra ends: the
// library that signs in reads all that it is sent.
type bounded struct{ client *http.Client }

// Do implements the transport of azcore.
func (b bounded) Do(req *http.Request) (*http.Response, error) {
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxSignIn)
	return resp, nil
}
