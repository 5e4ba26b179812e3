package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/crossfade-project/crossfade/test/faults/record"
)

// process is a program that is started again as often as it ends, as an
// init system would, until it is to be stopped.
type process struct {
	name, path string
	args       []string
	dir        string // of the run
	ready      string // what its log says when it works

	mu    sync.Mutex // guards what follows
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	born  int           // how often it was started
	exits []string      // ends that nobody had asked for
	hold  bool          // whoever killed it starts it again
}

func newProcess(dir, name, ready, path string, args ...string) *process {
	return &process{name: name, path: path, args: args, dir: dir, ready: ready}
}

// log is the file of the latest incarnation. p.mu is held.
func (p *process) log() string {
	return filepath.Join(p.dir, record.LogsDir, fmt.Sprintf("%s.%d.log", p.name, p.born))
}

// start starts the program. pipes may connect its input and output.
func (p *process) start(pipes func(*exec.Cmd) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.startLocked(pipes)
}

func (p *process) startLocked(pipes func(*exec.Cmd) error) error {
	p.born++
	f, err := os.Create(p.log())
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), p.path, p.args...) // Ended by kill and stop alone.
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, f, f
	// A run that is killed leaves nothing behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if pipes != nil {
		cmd.Stdout = nil
		if err := pipes(cmd); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", p.name, err), f.Close())
	}
	p.cmd, p.ended, p.hold = cmd, make(chan struct{}), false
	go p.wait(cmd, p.ended, f)
	return nil
}

// restartAfter is how long an init system waits before it starts a program
// again that ended by itself.
const restartAfter = 200 * time.Millisecond

// wait sees the end of one incarnation, and starts the next if nobody wanted it.
func (p *process) wait(cmd *exec.Cmd, ended chan struct{}, log io.Closer) {
	err := cmd.Wait()
	_ = log.Close() // The program wrote it, not we.
	p.mu.Lock()
	close(ended)
	unwanted := !p.hold
	if unwanted {
		p.exits = append(p.exits, fmt.Sprintf("%s ended by itself: %v", p.name, err))
	}
	p.mu.Unlock()
	if !unwanted {
		return
	}
	<-time.After(restartAfter)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hold && p.cmd == cmd {
		if err := p.startLocked(nil); err != nil {
			p.exits = append(p.exits, err.Error())
		}
	}
}

// kill ends it as a power cut does, and leaves it dead until restart.
func (p *process) kill() {
	p.mu.Lock()
	p.hold = true
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	_ = cmd.Process.Kill() // Gone already is what is wanted.
	<-ended
}

// restart starts what was killed.
func (p *process) restart() error { return p.start(nil) }

// signal stops and continues a process.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(s) // It may have ended; then there is nothing to hold up.
}

// DrainLimit is how long a process may take to end after SIGTERM.
const DrainLimit = 10 * time.Second

// stop asks it to end. It is an error if that takes longer than [DrainLimit] or it
// ends with another status than 0.
func (p *process) stop() error {
	p.mu.Lock()
	p.hold = true
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return nil // It never began.
	}
	select {
	case <-ended:
		return nil // Dead already, and told elsewhere.
	default:
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	t := time.NewTimer(DrainLimit)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("stopping %s: it did not end within %s of SIGTERM", p.name, DrainLimit)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("stopping %s: it ended with status %d after SIGTERM", p.name, code)
	}
	return nil
}

// says waits until its log has its ready words.
func (p *process) says(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		path := p.log()
		p.mu.Unlock()
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), p.ready) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to say %q: %w", p.name, p.ready, ctx.Err())
		case <-tick.C:
		}
	}
}
