package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/bench"
	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/emulator"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// benchFleet is an emulated fleet in this process and the service that rotates
// it in another.
type benchFleet struct {
	*app
	dir     string
	cloud   *emulator.Cloud
	cert    string // name of the new certificate on the service
	service *benchService
	cl      *client
}

// newFleet starts a fleet of so many tenants and the service with its tenants
// imported.
func (m *measuring) newFleet(ctx context.Context, tenants int, latency time.Duration, slots int) (*benchFleet, error) {
	return m.fleetOf(ctx, emulator.Config{Seed: 1, Tenants: tenants, Uniform: endpointsPerTenant, Latency: latency}, slots)
}

// fleetOf does the same with a world of its own.
func (m *measuring) fleetOf(ctx context.Context, c emulator.Config, slots int) (_ *benchFleet, err error) {
	m.fleet++
	f := &benchFleet{app: &app{out: io.Discard, errOut: m.errOut}, dir: filepath.Join(m.f.dir, fmt.Sprintf("fleet-%d", m.fleet))}
	f.cloud, err = emulator.Start(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(ctx))
		}
	}()
	if err := f.write(slots); err != nil {
		return nil, err
	}
	if err := f.serve(ctx); err != nil {
		return nil, err
	}
	return f, f.load(ctx)
}

// write writes the secrets, the certificate and the configuration.
func (f *benchFleet) write(slots int) error {
	if err := os.MkdirAll(filepath.Join(f.dir, "secrets"), 0o700); err != nil {
		return fmt.Errorf("making the fleet's directory: %w", err)
	}
	c := daemon.Config{
		Data: "data", Secrets: daemon.Secrets{Dir: "secrets"},
		Listen:  daemon.Listen{GRPC: "127.0.0.1:0", Ops: "127.0.0.1:0"},
		Network: daemon.Network{CAFile: "ca.pem", Dial: f.cloud.Dial()},
		Entra:   daemon.Entra{Authority: "https://login.microsoftonline.com/", DisableInstanceDiscovery: true},
		Workers: daemon.Workers{TaskSlots: slots, PlanSlots: 64},
		Limits:  daemon.Limits{Watches: 1100, CallsPerSecond: 2000}, // All watchers are one caller, and begin at once.
		Log:     daemon.Log{Format: "json"},
	}
	config, err := yaml.MarshalWithOptions(c, yaml.OmitZero())
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	w := f.cloud.World()
	files := map[string][]byte{
		"ca.pem": f.cloud.CAPEM(), "new.cer": w.New.DER, "crossfade.yaml": config, "secrets/login.pem": []byte(w.LoginPEM()),
	}
	for _, t := range w.Tenants {
		if t.ClientSecret != "" {
			files["secrets/"+t.ID+".login"] = []byte(t.ClientSecret)
		}
		for _, n := range t.Namespaces {
			files["secrets/"+n.Host] = []byte(n.Secret)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
			return fmt.Errorf("writing the fleet: %w", err)
		}
	}
	return nil
}

// load imports the tenants and the certificate.
func (f *benchFleet) load(ctx context.Context) error {
	var all []*crossfadev1.Tenant
	for _, t := range f.cloud.World().Tenants {
		p := &crossfadev1.Tenant{
			Name: "tenants/" + t.ID, Organization: t.Organization, EntraTenant: t.EntraTenant,
			Login: &crossfadev1.Login{ClientId: t.ClientID, Certificate: "file:login.pem"},
		}
		if t.ClientSecret != "" {
			p.Login.Secret, p.Login.Certificate = "file:"+t.ID+".login", ""
		}
		for _, n := range t.Namespaces {
			p.Namespaces = append(p.Namespaces, &crossfadev1.Namespace{Host: n.Host, Account: n.Account, Secret: "file:" + n.Host})
		}
		all = append(all, p)
	}
	for from := 0; from < len(all); from += chunkRows {
		cctx, cancel := bounded(ctx)
		res, err := f.cl.inventory.ImportTenants(cctx, &crossfadev1.ImportTenantsRequest{Tenants: all[from:min(from+chunkRows, len(all))]})
		cancel()
		if err != nil {
			return fmt.Errorf("importing tenants: %w", err)
		}
		if res.GetFailedCount() > 0 {
			return fmt.Errorf("%d tenants were refused", res.GetFailedCount())
		}
	}
	var err error
	f.cert, err = f.certificateName(ctx, f.cl, filepath.Join(f.dir, "new.cer"))
	return err
}

// benchService is the service as a process.
type benchService struct {
	cmd  *exec.Cmd
	grpc string
	ops  string
	read chan struct{} // closed when its log has been read to the end
}

// startPatience bounds the start of the service. After a kill it reads what it
// had stored first.
const startPatience = time.Minute

// serve starts the service and connects to it.
func (f *benchFleet) serve(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(f.dir, "service.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the service's log: %w", err)
	}
	s := &benchService{cmd: exec.Command(self, "serve", "--config", filepath.Join(f.dir, "crossfade.yaml")), read: make(chan struct{})} //nolint:noctx // It is ended by name, and waited for.
	out, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("starting the service: %w", err), log.Close())
	}
	serving := make(chan struct{})
	go func() {
		defer close(s.read)
		defer log.Close() //nolint:errcheck // It is for reading by people.
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			_, _ = log.Write(line)
			var said struct{ Msg, GRPC, Ops string }
			if json.Unmarshal(line, &said) == nil && said.Msg == "serving" && s.grpc == "" {
				s.grpc, s.ops = said.GRPC, said.Ops
				close(serving)
			}
			if err != nil {
				return
			}
		}
	}()
	f.service = s
	t := time.NewTimer(startPatience)
	defer t.Stop()
	select {
	case <-serving:
	case <-s.read:
		return fmt.Errorf("the service ended at once; see %s", log.Name())
	case <-t.C:
		return fmt.Errorf("the service did not serve within %s", startPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.address, f.caFile = s.grpc, ""
	f.cl, err = f.dial()
	return err
}

// kill ends the service as a power cut does, and waits until it is gone.
func (f *benchFleet) kill() {
	if f.cl != nil {
		_ = f.cl.conn.Close() // Nothing of it is needed.
		f.cl = nil
	}
	if f.service == nil {
		return
	}
	_ = f.service.cmd.Process.Kill() // Gone already is what is wanted.
	<-f.service.read
	_ = f.service.cmd.Wait() // It was killed, and says so.
	f.service = nil
}

// close ends service and fleet, and removes their files.
func (f *benchFleet) close(ctx context.Context) error {
	f.kill()
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(f.cloud.Close(cctx), os.RemoveAll(f.dir))
}

// memory reads what the service holds.
func (f *benchFleet) memory() (bench.Memory, error) {
	return bench.ReadMemory(f.service.cmd.Process.Pid)
}

// collect saves a profile of the service.
func (f *benchFleet) collect(ctx context.Context, dir, name, query string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of profiles: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.service.ops+"/debug/pprof/"+query, nil)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, strings.TrimSpace(string(data)))
	}
	if err != nil {
		return fmt.Errorf("reading a profile: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, name), data, 0o600)
}
