package acs

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// lexeme is one token of a $filter or $orderby.
type lexeme struct {
	kind lexKind
	text string // the name or punctuation
	val  any    // of a literal
	edm  edm
	at   int
}

type lexKind uint8

const (
	lexEnd lexKind = iota
	lexName
	lexPunct
	lexLiteral
)

// lex splits an expression into tokens.
func lex(s string) ([]lexeme, *refusal) {
	var out []lexeme
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
			continue
		case strings.IndexByte("(),/", c) >= 0:
			out = append(out, lexeme{kind: lexPunct, text: string(c), at: i})
			i++
			continue
		}
		l, n, r := lexWord(s, i)
		if r != nil {
			return nil, r
		}
		l.at = i
		out = append(out, l)
		i = n
	}
	return append(out, lexeme{kind: lexEnd, at: len(s)}), nil
}

func lexWord(s string, i int) (lexeme, int, *refusal) {
	c := s[i]
	switch {
	case c == '\'':
		text, n, ok := quoted(s, i)
		if !ok {
			return lexeme{}, 0, syntaxError(i)
		}
		return lexeme{kind: lexLiteral, val: text, edm: edmString}, n, nil
	case c >= '0' && c <= '9' || c == '-':
		return lexNumber(s, i)
	case isNameStart(c):
		n := i + 1
		for n < len(s) && (isNameStart(s[n]) || s[n] >= '0' && s[n] <= '9') {
			n++
		}
		if n < len(s) && s[n] == '\'' {
			return lexPrefixed(s, i, n)
		}
		return lexName0(s[i:n]), n, nil
	}
	return lexeme{}, 0, syntaxError(i)
}

func lexName0(name string) lexeme {
	switch name {
	case "null":
		return lexeme{kind: lexLiteral, edm: edmNull}
	case "true", "false":
		return lexeme{kind: lexLiteral, val: name == "true", edm: edmBool}
	}
	return lexeme{kind: lexName, text: name}
}

// lexPrefixed reads a literal such as datetime'...' or X'...', whose quote
// stands at q.
func lexPrefixed(s string, i, q int) (lexeme, int, *refusal) {
	text, n, ok := quoted(s, q)
	if !ok {
		return lexeme{}, 0, syntaxError(i)
	}
	switch s[i:q] {
	case "datetime":
		t, err := parseDateTime(text)
		if err != nil {
			return lexeme{}, 0, syntaxError(i)
		}
		return lexeme{kind: lexLiteral, val: t, edm: edmDateTime}, n, nil
	case "X", "x", "binary":
		b, err := hex.DecodeString(text)
		if err != nil {
			return lexeme{}, 0, syntaxError(i)
		}
		return lexeme{kind: lexLiteral, val: b, edm: edmBinary}, n, nil
	}
	return lexeme{}, 0, syntaxError(i)
}

func lexNumber(s string, i int) (lexeme, int, *refusal) {
	n := i + 1
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(s[i:n], 10, 64)
	if err != nil {
		return lexeme{}, 0, syntaxError(i)
	}
	if n < len(s) && (s[n] == 'L' || s[n] == 'l') {
		n++
	}
	if n < len(s) && (isNameStart(s[n]) || s[n] == '.' || s[n] == '\'') {
		return lexeme{}, 0, syntaxError(i)
	}
	return lexeme{kind: lexLiteral, val: v, edm: edmInt64}, n, nil
}

// quoted reads the quoted string at i, in which a quote is doubled.
func quoted(s string, i int) (string, int, bool) {
	var b strings.Builder
	for n := i + 1; n < len(s); n++ {
		if s[n] != '\'' {
			b.WriteByte(s[n])
			continue
		}
		if n+1 < len(s) && s[n+1] == '\'' {
			b.WriteByte('\'')
			n++
			continue
		}
		return b.String(), n + 1, true
	}
	return "", 0, false
}

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func syntaxError(at int) *refusal {
	return badRequest("Syntax error at position %d", at)
}
