// Package relay is a line between two processes that can be cut, held up and
// slowed down. It knows nothing of what passes.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Mode is what a relay does with what comes.
type Mode int

// The modes.
const (
	Through Mode = iota // passes everything on at once
	Cut                 // resets what there is, and whoever comes
	Stall               // takes in callers and passes nothing on: neither side learns why
	OneWay              // passes on what the caller says, and no answer
	Slow                // passes on after Delay, piece by piece
)

// Delay is how long a slow relay keeps each piece of at most pieceSize bytes.
const (
	Delay     = 60 * time.Millisecond
	pieceSize = 16 << 10
)

// dialTimeout bounds how long the other side may take to take a call.
const dialTimeout = 5 * time.Second

// Relay passes connections on from its own address to another one. It is safe
// for concurrent use.
type Relay struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	mode    Mode
	changed chan struct{} // closed and made anew when the mode changes
	closed  bool
	conns   map[net.Conn]struct{}
}

// Listen starts a relay from address to target. Close ends it.
func Listen(address, target string) (*Relay, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: l, target: target, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	r.done.Add(1)
	go r.accept()
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Set changes the mode, for connections that there are as well.
func (r *Relay) Set(m Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = m
	close(r.changed)
	r.changed = make(chan struct{})
	if m == Cut {
		r.drop()
	}
}

// drop resets all connections. r.mu is held.
func (r *Relay) drop() {
	for c := range r.conns {
		reset(c)
	}
}

// reset closes a connection so that the other side sees a reset and no end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // At worst the other side sees an orderly end.
	}
	_ = c.Close()
}

// Close ends the relay and all connections, and waits until they are gone.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.mu.Lock()
	r.closed = true
	close(r.changed)
	r.changed = make(chan struct{})
	r.drop()
	r.mu.Unlock()
	r.done.Wait()
	return err
}

func (r *Relay) accept() {
	defer r.done.Done()
	for {
		c, err := r.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !r.keep(c) {
			continue
		}
		r.done.Add(1)
		go r.pass(c)
	}
}

// keep remembers a connection so that it can be reset, or resets it at once.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.mode == Cut {
		reset(c)
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Relay) forget(c net.Conn) {
	reset(c)
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

// pass carries one connection to its end.
func (r *Relay) pass(c net.Conn) {
	defer r.done.Done()
	defer r.forget(c)
	if !r.wait(c, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	out, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.target)
	if err != nil || !r.keep(out) {
		return
	}
	defer r.forget(out)
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); r.carry(out, c, true) }()
	go func() { defer both.Done(); r.carry(c, out, false) }()
	both.Wait()
}

// carry passes on one direction until one side ends; then it ends the other.
func (r *Relay) carry(to, from net.Conn, asking bool) {
	piece := make([]byte, pieceSize)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if !r.wait(from, asking) {
				break
			}
			if _, err := to.Write(piece[:n]); err != nil {
				break
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				if t, ok := to.(*net.TCPConn); ok {
					_ = t.CloseWrite() // The other direction may go on.
				}
				return
			}
			break
		}
	}
	reset(to)
	reset(from)
}

// wait returns when a piece may be passed on, or false when it never may.
func (r *Relay) wait(c net.Conn, asking bool) bool {
	for {
		r.mu.Lock()
		mode, changed, closed := r.mode, r.changed, r.closed
		_, kept := r.conns[c]
		r.mu.Unlock()
		switch {
		case closed || !kept || mode == Cut:
			return false
		case mode == Through, mode == OneWay && asking:
			return true
		case mode == Slow:
			t := time.NewTimer(Delay)
			select {
			case <-t.C:
				return true
			case <-changed:
				t.Stop()
			}
		default:
			<-changed
		}
	}
}
