package jet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// LocalSocket returns where the embedded server of a store in dir takes in other
// processes of the same user.
func LocalSocket(dir string) string { return filepath.Join(dir, "local", "broker.sock") }

// HasLocal reports whether that socket is there. It is made once the server runs, and with
// a path that is too long never.
func HasLocal(dir string) bool {
	_, err := os.Lstat(LocalSocket(dir))
	return err == nil
}

// InUse reports whether a process has the store in dir open.
func InUse(dir string) (bool, error) {
	if _, err := os.Stat(dir); err != nil {
		return false, fmt.Errorf("looking at the store: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return true, nil //nolint:nilerr // That it is locked is the answer.
	}
	unlock()
	return false, nil
}

// Stored reports whether dir has a store of an embedded server.
func Stored(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, storeFolder))
	return err == nil
}

// maxLocal bounds how many other processes may come in at once.
const maxLocal = 8

// door is the socket of an embedded server. Who may open it may also read and
// write the server's files, so it asks nobody who they are.
type door struct {
	lis net.Listener
	srv *server.Server

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
	wg    sync.WaitGroup // those who pass bytes on, and the one who takes them in
}

// openDoor listens at path; "" is no door.
func openDoor(path string, srv *server.Server) (*door, error) {
	if path == "" {
		return nil, nil
	}
	// In a folder that is closed to others before the socket is there.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the local socket: %w", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // A folder has to be entered.
		return nil, fmt.Errorf("closing the folder of the local socket: %w", err)
	}
	// The store is locked by now, so a socket that is there is a dead process's.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old local socket: %w", err)
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the local socket, whose path may have about 100 characters: %w", err)
	}
	d := &door{lis: lis, srv: srv, conns: map[net.Conn]bool{}}
	d.wg.Go(d.accept)
	return d, nil
}

// accept takes in processes until the listener is closed.
func (d *door) accept() {
	for {
		from, err := d.lis.Accept()
		if err != nil {
			return
		}
		to, err := d.srv.InProcessConn()
		if err != nil || !d.keep(from, to) {
			_ = from.Close() // The other side sees it.
			if to != nil {
				_ = to.Close()
			}
			continue
		}
		d.wg.Go(func() { d.pass(from, to) })
		d.wg.Go(func() { d.pass(to, from) })
	}
}

// keep notes a pair of connections, if there is room for it.
func (d *door) keep(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil || len(d.conns) >= 2*maxLocal {
		return false
	}
	for _, c := range conns {
		d.conns[c] = true
	}
	return true
}

// pass copies bytes until one side ends, and ends both then.
func (d *door) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // Either end is an end; the client says which.
	_, _ = from.Close(), to.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, from)
	delete(d.conns, to)
}

// close ends all connections and waits for those who pass bytes on.
func (d *door) close() {
	if d == nil {
		return
	}
	_ = d.lis.Close() // The socket's file goes with it.
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
	d.mu.Unlock()
	d.wg.Wait()
}

// throughDoor dials a socket instead of an address.
type throughDoor string

// Dial connects to the socket.
func (p throughDoor) Dial(string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: attemptTimeout}
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	return d.DialContext(ctx, "unix", string(p))
}
