package acs

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseDateTime reads an Edm.DateTime as XML writes it: with Z, with an
// offset, or with neither, which counts as UTC. Up to nine fractional digits
// are taken; the service had seven.
func parseDateTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, form := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC().Truncate(100 * time.Nanosecond), nil
		}
	}
	return time.Time{}, errors.New("the value is not a date and time")
}

func (s *Server) formatDateTime(t time.Time) string {
	form := "2006-01-02T15:04:05.9999999Z"
	if s.cfg.Switches.BareDates {
		form = "2006-01-02T15:04:05.9999999"
	}
	return t.UTC().Format(form)
}

// parseJSONDate reads /Date(ms)/ with or without an offset in minutes, which
// does not move the instant, and plain ISO text.
func parseJSONDate(s string) (time.Time, error) {
	inner, ok := strings.CutPrefix(s, "/Date(")
	if !ok {
		return parseDateTime(s)
	}
	inner, ok = strings.CutSuffix(inner, ")/")
	if !ok {
		return time.Time{}, errors.New("the value is not a date and time")
	}
	if i := strings.LastIndexAny(inner, "+-"); i > 0 {
		if _, err := strconv.Atoi(inner[i+1:]); err != nil {
			return time.Time{}, errors.New("the value is not a date and time")
		}
		inner = inner[:i]
	}
	ms, err := strconv.ParseInt(inner, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("the value is not a date and time")
	}
	return time.UnixMilli(ms).UTC(), nil
}

// parseText reads a value of a kind from the text of an XML element.
func parseText(k edm, s string) (any, error) {
	switch k {
	case edmString:
		return s, nil
	case edmInt64:
		return strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	case edmInt32:
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
		return int32(n), err
	case edmBool:
		switch strings.TrimSpace(s) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
		return nil, errors.New("the value is not a boolean")
	case edmBinary:
		return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	case edmDateTime:
		return parseDateTime(s)
	}
	return nil, fmt.Errorf("no value can be of kind %s", k)
}

// formatText is the reverse of parseText.
func (s *Server) formatText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	case bool:
		return strconv.FormatBool(v)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return s.formatDateTime(v)
	}
	return ""
}

// formatLiteral writes a value as it stands in a URL.
func (s *Server) formatLiteral(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case int64:
		return strconv.FormatInt(v, 10) + "L"
	case []byte:
		return "X'" + strings.ToUpper(hex.EncodeToString(v)) + "'"
	case time.Time:
		return "datetime'" + v.UTC().Format("2006-01-02T15:04:05.9999999Z") + "'"
	}
	return s.formatText(v)
}

func etagOf(r *row, t *entityType) string {
	return `W/"X'` + strings.ToUpper(hex.EncodeToString(r.bytes(t.version))) + `'"`
}

// parseKey reads the key of an Int64 in a URL, which needs its suffix L.
func parseKey(s string, lenient bool) (int64, bool) {
	s = strings.TrimSpace(s)
	if name, value, ok := strings.Cut(s, "="); ok {
		if strings.TrimSpace(name) != "Id" {
			return 0, false
		}
		s = strings.TrimSpace(value)
	}
	digits := strings.TrimRight(s, "lL")
	if len(s)-len(digits) != 1 && !(lenient && digits == s) {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

// compare orders two values of one kind; null comes first. The second result
// is false where the kinds do not fit.
func compare(a, b any) (int, bool) {
	switch {
	case a == nil && b == nil:
		return 0, true
	case a == nil:
		return -1, true
	case b == nil:
		return 1, true
	}
	if n, ok := a.(int32); ok {
		a = int64(n)
	}
	if n, ok := b.(int32); ok {
		b = int64(n)
	}
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return cmp.Compare(x, y), ok
	case int64:
		y, ok := b.(int64)
		return cmp.Compare(x, y), ok
	case bool:
		y, ok := b.(bool)
		return cmp.Compare(bit(x), bit(y)), ok
	case []byte:
		y, ok := b.([]byte)
		return bytes.Compare(x, y), ok
	case time.Time:
		y, ok := b.(time.Time)
		return x.Compare(y), ok
	}
	return 0, false
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
