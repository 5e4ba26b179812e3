package acs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// batchPart is one part of a batch: an operation, or a changeset of several.
type batchPart struct {
	op        *batchOp
	changeset []batchOp
	set       bool
}

// batchOp is an operation with the URI and Content-ID as they were sent.
type batchOp struct {
	method string
	uri    string
	id     string
	header http.Header
	body   []byte
}

// parseBatch reads a multipart body. Lines may end in LF or CRLF; a Content-ID
// may stand in either set of headers.
func parseBatch(contentType string, body []byte) ([]batchPart, *refusal) {
	r, bad := multipartOf(contentType, bytes.NewReader(body))
	if bad != nil {
		return nil, bad
	}
	var parts []batchPart
	for total := 0; ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, badRequest("The batch is not well formed")
		}
		p, n, bad := readPart(part)
		if bad != nil {
			return nil, bad
		}
		parts = append(parts, p)
		if total += n; total > maxBatchParts || len(parts) > maxBatchParts {
			return nil, badRequest("The batch exceeds the limit of %d operations", maxBatchParts)
		}
	}
}

func multipartOf(contentType string, body io.Reader) (*multipart.Reader, *refusal) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/mixed" {
		return nil, refuse(http.StatusUnsupportedMediaType, "A batch must be multipart/mixed")
	}
	if params["boundary"] == "" {
		return nil, badRequest("The batch has no boundary")
	}
	return multipart.NewReader(body, params["boundary"]), nil
}

func readPart(part *multipart.Part) (batchPart, int, *refusal) {
	kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	switch kind {
	case "application/http":
		o, bad := readBatchOp(part)
		return batchPart{op: &o}, 1, bad
	case "multipart/mixed":
		r, bad := multipartOf(part.Header.Get("Content-Type"), part)
		if bad != nil {
			return batchPart{}, 0, bad
		}
		p := batchPart{set: true}
		for {
			inner, err := r.NextRawPart()
			if err == io.EOF {
				return p, len(p.changeset), nil
			}
			if err != nil {
				return p, 0, badRequest("The changeset is not well formed")
			}
			if k, _, err := mime.ParseMediaType(inner.Header.Get("Content-Type")); err != nil || k != "application/http" {
				return p, 0, badRequest("A part of a changeset must be application/http")
			}
			o, bad := readBatchOp(inner)
			if bad != nil {
				return p, 0, bad
			}
			if p.changeset = append(p.changeset, o); len(p.changeset) > maxBatchParts {
				return p, 0, badRequest("The changeset exceeds the limit of %d operations", maxBatchParts)
			}
		}
	}
	return batchPart{}, 0, badRequest("A part of a batch must be application/http or multipart/mixed")
}

// readBatchOp reads a request line, headers and a body.
func readBatchOp(part *multipart.Part) (batchOp, *refusal) {
	bad := badRequest("A request within the batch is not well formed")
	br := bufio.NewReader(part)
	tp := textproto.NewReader(br)
	line, err := tp.ReadLine()
	for err == nil && strings.TrimSpace(line) == "" {
		line, err = tp.ReadLine()
	}
	method, rest, ok1 := strings.Cut(strings.TrimSpace(line), " ")
	i := strings.LastIndexByte(rest, ' ')
	if err != nil || !ok1 || i < 0 || !strings.HasPrefix(rest[i+1:], "HTTP/1.") {
		return batchOp{}, bad
	}
	h, err := tp.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return batchOp{}, bad
	}
	body, err := io.ReadAll(br)
	if err != nil {
		return batchOp{}, bad
	}
	if n, err := strconv.Atoi(h.Get("Content-Length")); err == nil && n >= 0 && n < len(body) {
		body = body[:n]
	}
	o := batchOp{method: method, uri: strings.TrimSpace(rest[:i]), header: http.Header(h), body: body, id: h.Get("Content-Id")}
	if o.header == nil {
		o.header = make(http.Header)
	}
	if o.id == "" {
		o.id = part.Header.Get("Content-Id")
	}
	if len(o.uri) > maxURL {
		return batchOp{}, badRequest("The length of a URL within the batch exceeds the limit of %d bytes", maxURL)
	}
	return o, nil
}

// batch answers $batch. What fails within it is answered within it.
func (x *exchange) batch(o op) *answer {
	if o.method != http.MethodPost {
		return x.refusal(notAllowed("POST"))
	}
	parts, bad := parseBatch(o.header.Get("Content-Type"), o.body)
	if bad != nil {
		return x.refusal(bad)
	}
	boundary := "batchresponse_" + uuid.NewString()
	var b bytes.Buffer
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\n", boundary)
		if p.set {
			x.changeset(&b, p.changeset)
			continue
		}
		writePart(&b, x.batched(*p.op), "")
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	a := newAnswer(http.StatusAccepted, "multipart/mixed; boundary="+boundary, b.Bytes())
	a.header.Set("DataServiceVersion", "1.0;")
	return a
}

// batched answers an operation outside of a changeset.
func (x *exchange) batched(o batchOp) *answer {
	in, bad := x.opOf(o)
	if bad != nil {
		return x.odataError(bad, wantsJSON(o.header))
	}
	return x.one(in)
}

// opOf turns a part into an operation: its URI may be absolute, from the root
// of the host, or from the service root.
func (x *exchange) opOf(o batchOp) (op, *refusal) {
	path, query, bad := x.pathBelow(o.uri)
	if bad != nil {
		return op{}, bad
	}
	if _, err := url.PathUnescape(path); err != nil {
		return op{}, badRequest("The request URI is not well formed")
	}
	method := o.method
	if m := o.header.Get("X-HTTP-Method"); method == http.MethodPost && m != "" {
		method = strings.ToUpper(m)
	}
	return op{method: method, path: strings.Trim(path, "/"), query: query, header: o.header, body: o.body}, nil
}

// changeset does all of its operations or none. Where one fails, its error
// alone is the answer to the whole.
func (x *exchange) changeset(b *bytes.Buffer, ops []batchOp) {
	tx := x.s.begin(x.ns, x.now)
	known := make(refs)
	answers := make([]*answer, 0, len(ops))
	for _, o := range ops {
		in, bad := x.opOf(o)
		if bad == nil && opOf(in.method) == OpRead {
			bad = badRequest("A changeset must not contain a query")
		}
		if _, twice := known[o.id]; bad == nil && o.id != "" && twice {
			bad = badRequest("The Content-ID '%s' stands twice", o.id)
		}
		var a *answer
		if bad == nil {
			a, bad = x.change(tx, in, known)
		}
		if bad != nil {
			tx.rollback()
			x.notDone(in, bad.status)
			writePart(b, x.odataError(bad, wantsJSON(o.header)), o.id)
			return
		}
		if o.id != "" {
			known[o.id] = x.madeAt(a, in, known)
		}
		answers = append(answers, a)
	}
	x.s.count.writes.Add(int64(len(ops)))
	tx.commit(x.seen, x.faultKind())
	boundary := "changesetresponse_" + uuid.NewString()
	fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n", boundary)
	for i, a := range answers {
		fmt.Fprintf(b, "--%s\r\n", boundary)
		writePart(b, a, ops[i].id)
	}
	fmt.Fprintf(b, "--%s--\r\n", boundary)
}

// madeAt is the path of the entity that an operation made or changed.
func (x *exchange) madeAt(a *answer, in op, known refs) string {
	if l := a.header.Get("Location"); l != "" {
		return strings.TrimPrefix(l, x.serviceRoot())
	}
	segs, bad := splitPath(in.path)
	if bad != nil {
		return in.path
	}
	if segs, bad = known.resolve(segs); bad != nil {
		return in.path
	}
	return strings.Join(segs, "/")
}

func writePart(b *bytes.Buffer, a *answer, id string) {
	b.WriteString("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n")
	fmt.Fprintf(b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	if id != "" {
		fmt.Fprintf(b, "Content-ID: %s\r\n", id)
	}
	for _, name := range []string{"Content-Type", "DataServiceVersion", "Cache-Control", "X-Content-Type-Options", "Location", "ETag", "Allow"} {
		if v := a.header.Get(name); v != "" {
			fmt.Fprintf(b, "%s: %s\r\n", name, v)
		}
	}
	if len(a.body) > 0 {
		fmt.Fprintf(b, "Content-Length: %d\r\n", len(a.body))
	}
	b.WriteString("\r\n")
	b.Write(a.body)
	b.WriteString("\r\n")
}
