package world

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/clock"
	"github.com/crossfade-project/crossfade/internal/emulator"
	"github.com/crossfade-project/crossfade/internal/emulator/acs"
	"github.com/crossfade-project/crossfade/internal/emulator/sender"
	"github.com/crossfade-project/crossfade/test/faults/record"
)

// Begin is what every clock of a run shows when it begins, and SwitchAt when CRM
// switches to the new certificate: those of KB 3200643.
var (
	Begin    = time.Date(2016, 10, 31, 18, 0, 0, 0, time.UTC)
	SwitchAt = time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC)
)

// EmulatorFlags are what the emulator's process is told when it begins.
type EmulatorFlags struct {
	Dir     string
	Seed    int64
	Tenants int
	Listen  string
}

// order is a line to the emulator's process; it answers each with an answer.
type order struct {
	Op     string `json:"op"` // "faults", "renumber", "identities", "end"
	Faults []rule `json:"faults,omitempty"`
	Seed   int64  `json:"seed,omitempty"`
}

// rule is a fault as the emulator takes it.
type rule struct {
	Kind        string        `json:"kind"`
	Host        string        `json:"host,omitempty"`
	Method      string        `json:"method,omitempty"`
	Path        string        `json:"path,omitempty"`
	Probability float64       `json:"probability,omitempty"`
	HostShare   float64       `json:"host_share,omitempty"`
	Delay       time.Duration `json:"delay,omitempty"`
	RetryAfter  time.Duration `json:"retry_after,omitempty"`
}

func (r rule) fault() acs.FaultRule {
	return acs.FaultRule{
		Kind: r.Kind, Host: r.Host, Method: r.Method, PathContains: r.Path, Probability: r.Probability,
		HostShare: r.HostShare, Delay: r.Delay, RetryAfter: r.RetryAfter,
	}
}

// answer is a line from it. The first one says that it serves.
type answer struct {
	Err        string            `json:"err,omitempty"`
	Address    string            `json:"address,omitempty"`
	Dial       map[string]string `json:"dial,omitempty"`
	World      *record.World     `json:"world,omitempty"`
	Identities []record.Identity `json:"identities,omitempty"`
}

// pause between two rounds of sign-ins, by the machine's clock.
const signInPause = 2500 * time.Millisecond

// RunEmulator is the emulator's process: it serves the cloud, lets CRM sign in all
// the time, and takes orders from in until in ends. Journals are written when the
// order "end" comes.
func RunEmulator(ctx context.Context, f EmulatorFlags, in io.Reader, out io.Writer) (err error) {
	c, err := clock.Follow(filepath.Join(f.Dir, "emulator.clock"))
	if err != nil {
		return err
	}
	cloud, err := emulator.Start(emulator.Config{
		Now: c.Now, SwitchAt: SwitchAt, Listen: f.Listen, Seed: f.Seed, Tenants: f.Tenants, Latency: 2 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer func() {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, cloud.Close(cctx))
	}()
	if err := cloud.WriteDir(f.Dir); err != nil {
		return err
	}
	e := &emulated{f: f, clock: c, cloud: cloud}
	enc := json.NewEncoder(out)
	seeded := e.seeded()
	if err := enc.Encode(answer{Address: cloud.Addr(), Dial: cloud.Dial(), World: &seeded}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signing := make(chan error, 1)
	go func() { signing <- e.signIn(ctx) }()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		a := answer{}
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			a.Err = err.Error()
		} else if o.Op == "end" {
			cancel()
			if err := errors.Join(<-signing, e.journal()); err != nil {
				a.Err = err.Error()
			}
		} else {
			a = e.obey(o)
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

// emulated is a cloud with what a run needs of it.
type emulated struct {
	f     EmulatorFlags
	clock *clock.Clock
	cloud *emulator.Cloud
}

func (e *emulated) obey(o order) (a answer) {
	switch o.Op {
	case "faults":
		f := acs.Faults{Seed: o.Seed}
		for _, r := range o.Faults {
			f.Rules = append(f.Rules, r.fault())
		}
		if err := f.Check(); err != nil {
			a.Err = err.Error()
			return a
		}
		e.cloud.ACS().SetFaults(f)
	case "renumber":
		for _, x := range e.cloud.World().Expected() {
			if x.Host != "" && e.cloud.ACS().HasNamespace(x.Host) {
				e.cloud.ACS().Renumber(x.Host)
			}
		}
	case "identities":
		a.Identities = e.identities()
	default:
		a.Err = fmt.Sprintf("op %q is not known", o.Op)
	}
	return a
}

func (e *emulated) seeded() record.World {
	w := e.cloud.World()
	return record.World{
		Seed: e.f.Seed, Old: sum(w.Old.DER), New: sum(w.New.DER), SwitchAt: w.SwitchAt.UTC(), Identities: e.identities(),
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// identities are all identities that a target is expected for, as they stand.
func (e *emulated) identities() []record.Identity {
	var out []record.Identity
	for _, x := range e.cloud.World().Expected() {
		if x.Host == "" {
			continue
		}
		id := record.Identity{Host: x.Host, Identity: x.Identity, Tenant: x.Tenant, Endpoint: strings.Join(x.Endpoints, " "), Ending: x.Ending}
		for _, k := range e.cloud.ACS().Identity(x.Host, x.Identity) {
			id.Keys = append(id.Keys, record.Key{
				ID: k.ID, Type: k.Type, Usage: k.Usage, SHA256: sum(k.Value), Start: k.Start, End: k.End,
				DisplayName: k.DisplayName, SystemReserved: k.SystemReserved,
			})
		}
		out = append(out, id)
	}
	return out
}

// signIn lets CRM sign in to every endpoint, round after round.
func (e *emulated) signIn(ctx context.Context) error {
	w := e.cloud.World()
	log, err := record.Create[record.SignIn](e.f.Dir, record.SignInsFile)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	endpoints := w.SenderEndpoints()
	s, err := sender.New(sender.Config{HTTP: e.cloud.Client(), Now: e.clock.Now, Old: w.Old, New: w.New, Endpoints: endpoints, Parallel: 2})
	if err != nil {
		return err
	}
	tick := time.NewTicker(signInPause)
	defer tick.Stop()
	for {
		r, err := s.Round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
		for _, x := range r.Results {
			if err := log.Add(record.SignIn{
				At: x.At.UTC(), Tenant: x.Tenant, Endpoint: x.Endpoint, Hosts: x.Hosts, OK: x.OK, Refused: x.Refused, Status: x.Status, Cert: x.Cert,
			}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// journal writes what ACS was asked to change.
func (e *emulated) journal() error {
	log, err := record.Create[record.Write](e.f.Dir, record.WritesFile)
	if err != nil {
		return err
	}
	for _, j := range e.cloud.ACS().Journal() {
		if j.Op == acs.OpToken || j.Op == acs.OpRead {
			continue
		}
		if err := log.Add(record.Write{
			At: j.At.UTC(), Host: j.Host, Identity: j.Identity, Op: j.Op, KeyID: j.KeyID, SHA256: j.SHA256,
			Status: j.Status, Fault: j.Fault, Applied: j.Applied,
		}); err != nil {
			return errors.Join(err, log.Close())
		}
	}
	return log.Close()
}

// emulatorProcess is the emulator as the run sees it.
type emulatorProcess struct {
	p   *process
	in  io.WriteCloser
	out *bufio.Scanner
	one chan struct{} // holds a token while nobody asks
}

// askLimit bounds how long the emulator's process may take to answer: it always
// does, so one that does not is broken and is ended.
const askLimit = 30 * time.Second

// ask sends an order and returns the answer.
func (e *emulatorProcess) ask(ctx context.Context, o order) (answer, error) {
	select {
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case <-e.one:
	}
	defer func() { e.one <- struct{}{} }()
	late := time.AfterFunc(askLimit, e.p.kill)
	defer late.Stop()
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := e.in.Write(append(b, '\n')); err != nil {
		return answer{}, fmt.Errorf("telling the emulator to %s: %w", o.Op, err)
	}
	return e.read()
}

func (e *emulatorProcess) read() (answer, error) {
	var a answer
	if !e.out.Scan() {
		return a, fmt.Errorf("the emulator's process has ended: %w", errors.Join(e.out.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(e.out.Bytes(), &a); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, fmt.Errorf("the emulator: %s", a.Err)
	}
	return a, nil
}

// copySecrets puts the files with secrets where the judge looks for them.
func copySecrets(dir string) error {
	to := filepath.Join(dir, record.SecretsDir)
	if _, err := os.Stat(to); err != nil {
		return fmt.Errorf("the emulator left no secrets: %w", err)
	}
	return nil
}
