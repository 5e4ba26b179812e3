// Package kubernetes_test holds the manifests under deploy/kubernetes, as Kustomize
// renders them, to the program that they start.
package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/crossfade-project/crossfade/internal/daemon"
)

const root = "../.."

// crossfade is the program under test, built once.
var crossfade string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "crossfade-kubernetes-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		crossfade = filepath.Join(dir, "crossfade")
		if msg, err := exec.Command("go", "build", "-o", crossfade, root+"/cmd/crossfade").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, msg)
			return 1
		}
		return m.Run()
	}())
}

// object is as much of a manifest as these tests look at.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
	Spec struct {
		Replicas *int `json:"replicas"`
		Template struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec pod `json:"spec"`
		} `json:"template"`
		Selector    json.RawMessage `json:"selector"`
		PodSelector selector        `json:"podSelector"`
		Ports       []struct {
			Port       int    `json:"port"`
			TargetPort string `json:"targetPort"`
		} `json:"ports"`
		Ingress []struct {
			Ports []struct {
				Port int `json:"port"`
			} `json:"ports"`
		} `json:"ingress"`
		PodMetricsEndpoints []struct{ Port, Path string } `json:"podMetricsEndpoints"`
		ScaleTargetRef      struct{ Name string }         `json:"scaleTargetRef"`
		MinReplicaCount     int                           `json:"minReplicaCount"`
		Triggers            []struct {
			Type     string            `json:"type"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type pod struct {
	TerminationGracePeriodSeconds int   `json:"terminationGracePeriodSeconds"`
	AutomountServiceAccountToken  *bool `json:"automountServiceAccountToken"`
	SecurityContext               struct {
		RunAsNonRoot   bool                  `json:"runAsNonRoot"`
		RunAsUser      int                   `json:"runAsUser"`
		SeccompProfile struct{ Type string } `json:"seccompProfile"`
	} `json:"securityContext"`
	Containers []container `json:"containers"`
	Volumes    []volume    `json:"volumes"`
}

type volume struct {
	Name      string                 `json:"name"`
	ConfigMap *struct{ Name string } `json:"configMap"`
	Secret    *struct {
		SecretName  string `json:"secretName"`
		DefaultMode int    `json:"defaultMode"`
	} `json:"secret"`
	Projected *struct {
		DefaultMode int `json:"defaultMode"`
		Sources     []struct {
			Secret struct {
				Name     string `json:"name"`
				Optional bool   `json:"optional"`
			} `json:"secret"`
		} `json:"sources"`
	} `json:"projected"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `json:"httpGet"`
}

type container struct {
	Image string   `json:"image"`
	Args  []string `json:"args"`
	Ports []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
	} `json:"ports"`
	StartupProbe   *probe `json:"startupProbe"`
	ReadinessProbe *probe `json:"readinessProbe"`
	LivenessProbe  *probe `json:"livenessProbe"`
	Lifecycle      struct {
		PreStop struct{ Sleep struct{ Seconds int } } `json:"preStop"`
	} `json:"lifecycle"`
	Resources struct {
		Limits map[string]string `json:"limits"`
	} `json:"resources"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool                   `json:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool                    `json:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string } `json:"capabilities"`
	} `json:"securityContext"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
	} `json:"volumeMounts"`
}

// rendered returns what Kustomize makes of a folder.
func rendered(t *testing.T, folder string) []object {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=tools/kustomize/go.mod", "kustomize", "build", "deploy/kubernetes/"+folder)
	cmd.Dir = root
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", folder, err, said.String())
	}
	var all []object
	for d := yaml.NewDecoder(bytes.NewReader(out), yaml.UseJSONUnmarshaler()); ; {
		var raw map[string]any
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		all = append(all, o)
	}
}

// folders are those that can be applied.
func folders() []string { return []string{"base", "overlays/example"} }

// of returns the objects of a kind by name.
func of(all []object, kind string) map[string]object {
	out := map[string]object{}
	for _, o := range all {
		if o.Kind == kind {
			out[o.Metadata.Name] = o
		}
	}
	return out
}

// run runs the program and returns what it said.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, crossfade, args...).CombinedOutput()
	return string(out), err
}

// Every command line, configuration, port and probe is one that the program has.
func TestManifests_FitTheProgram(t *testing.T) {
	for _, folder := range folders() {
		all := rendered(t, folder)
		deployments := of(all, "Deployment")
		if len(deployments) != 2 {
			t.Fatalf("%s has the deployments %v, want API and workers", folder, slices.Sorted(maps.Keys(deployments)))
		}
		for name, d := range deployments {
			t.Run(folder+"/"+name, func(t *testing.T) {
				p := d.Spec.Template.Spec
				c := p.Containers[0]
				args := slices.Clone(c.Args)
				config := mounted(t, all, p)
				i := slices.Index(args, "--config")
				if !strings.HasSuffix(config, args[i+1]) {
					t.Errorf("the pod reads %s, and has %s", args[i+1], config)
				}
				args[i+1] = config
				if out, err := run(t, append(args, "--check")...); err != nil {
					t.Errorf("crossfade %s --check: %v\n%s", strings.Join(c.Args, " "), err, out)
				}
				if out, err := run(t, "config", "check", "--config", config); err != nil {
					t.Errorf("crossfade config check: %v\n%s", err, out)
				}
				cfg, err := daemon.Load(config)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]string{"ops": cfg.Listen.Ops}
				if args[0] == "serve" {
					want["grpc"] = cfg.Listen.GRPC
				}
				for _, port := range c.Ports {
					if !strings.HasSuffix(want[port.Name], ":"+strconv.Itoa(port.ContainerPort)) || !strings.HasPrefix(want[port.Name], "0.0.0.0:") {
						t.Errorf("port %s is %d, the configuration has %q", port.Name, port.ContainerPort, want[port.Name])
					}
					delete(want, port.Name)
				}
				if len(want) > 0 {
					t.Errorf("there are no ports for %v", want)
				}
				for path, probes := range map[string][]*probe{"/healthz": {c.StartupProbe, c.LivenessProbe}, "/readyz": {c.ReadinessProbe}} {
					for _, pr := range probes {
						if pr == nil || pr.HTTPGet.Path != path || pr.HTTPGet.Port != "ops" {
							t.Errorf("a probe is %+v, want %s at port ops", pr, path)
						}
					}
				}
				if limit := memory(t, c.Resources.Limits["memory"]); int64(cfg.MemoryLimit) > limit*85/100 || cfg.MemoryLimit == 0 {
					t.Errorf("memory_limit is %d, want four fifths of the container's %d", cfg.MemoryLimit, limit)
				}
				if signs := cfg.Audit.Key != ""; signs != (args[0] == "serve") {
					t.Errorf("it has the key of the audit log: %t, want that of the API alone", signs)
				}
				if cfg.NATS.Replicas != 3 || !strings.HasPrefix(cfg.NATS.URL, "tls://") {
					t.Errorf("nats has %d replicas at %s, want 3 over TLS", cfg.NATS.Replicas, cfg.NATS.URL)
				}
			})
		}
	}
}

// memory reads a quantity as these manifests write it.
func memory(t *testing.T, s string) int64 {
	t.Helper()
	var b daemon.Bytes
	if err := b.UnmarshalText([]byte(s + "B")); err != nil {
		t.Fatalf("memory limit %q: %v", s, err)
	}
	return int64(b)
}

// stopTime is how long a process may take to end; see docs/operations.md, "Stopping".
const stopTime = 10

func TestManifests_AreClosed(t *testing.T) {
	for _, folder := range folders() {
		all := rendered(t, folder)
		if s := of(all, "Secret"); len(s) > 0 {
			t.Errorf("%s has secrets in it: %v", folder, slices.Sorted(maps.Keys(s)))
		}
		for name, d := range of(all, "Deployment") {
			p := d.Spec.Template.Spec
			c := p.Containers[0]
			if grace := p.TerminationGracePeriodSeconds; grace < c.Lifecycle.PreStop.Sleep.Seconds+stopTime+5 {
				t.Errorf("%s is given %d s to end, want the pause before, %d s and some more", name, grace, stopTime)
			}
			sc := p.SecurityContext
			if !sc.RunAsNonRoot || sc.RunAsUser == 0 || sc.SeccompProfile.Type != "RuntimeDefault" {
				t.Errorf("%s runs as %+v", name, sc)
			}
			if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
				t.Errorf("%s has a token of the cluster's API, which it never calls", name)
			}
			cc := c.SecurityContext
			if cc.AllowPrivilegeEscalation == nil || *cc.AllowPrivilegeEscalation || !cc.ReadOnlyRootFilesystem || !slices.Equal(cc.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("the container of %s has %+v", name, cc)
			}
			tenants := slices.ContainsFunc(p.Volumes, func(v volume) bool {
				return v.Secret != nil && v.Secret.SecretName == "crossfade-tenants"
			})
			if tenants != (c.Args[0] == "work") {
				t.Errorf("%s has the tenants' secrets: %t, want that of workers alone", name, tenants)
			}
		}
	}
}

// Whatever chooses pods by labels chooses those that it means, by the ports that they
// have.
func TestManifests_SelectTheirPods(t *testing.T) {
	for _, folder := range folders() {
		all := rendered(t, folder)
		deployments := of(all, "Deployment")
		chosen := func(s map[string]string) (names []string) {
			for name, d := range deployments {
				labels, ok := d.Spec.Template.Metadata.Labels, len(s) > 0
				for k, v := range s {
					ok = ok && labels[k] == v
				}
				if ok {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return names
		}
		api, worker := []string{"crossfade-api"}, []string{"crossfade-worker"}
		both := append(slices.Clone(api), worker...)
		want := map[string][]string{
			"Deployment crossfade-api": api, "Deployment crossfade-worker": worker, "Service crossfade": api,
			"PodDisruptionBudget crossfade-api": api, "PodDisruptionBudget crossfade-worker": worker,
			"NetworkPolicy crossfade": both, "NetworkPolicy crossfade-api": api, "PodMonitor crossfade": both,
		}
		for _, o := range all {
			name := o.Kind + " " + o.Metadata.Name
			var s selector
			switch o.Kind {
			case "Service":
				if err := json.Unmarshal(o.Spec.Selector, &s.MatchLabels); err != nil {
					t.Fatal(err)
				}
			case "NetworkPolicy":
				s = o.Spec.PodSelector
			case "Deployment", "PodDisruptionBudget", "PodMonitor":
				if err := json.Unmarshal(o.Spec.Selector, &s); err != nil {
					t.Fatal(err)
				}
			default:
				continue
			}
			if got := chosen(s.MatchLabels); !slices.Equal(got, want[name]) {
				t.Errorf("%s of %s chooses %v, want %v", name, folder, got, want[name])
			}
			if o.Kind == "Service" && (o.Spec.Ports[0].TargetPort != "grpc" || o.Spec.Ports[0].Port != 7443) {
				t.Errorf("the service leads to %+v", o.Spec.Ports)
			}
			for _, e := range o.Spec.PodMetricsEndpoints {
				if e.Port != "ops" || e.Path != "/metrics" {
					t.Errorf("metrics are collected at %+v", e)
				}
			}
			for _, in := range o.Spec.Ingress {
				for _, p := range in.Ports {
					if p.Port != map[string]int{"NetworkPolicy crossfade": 7444, "NetworkPolicy crossfade-api": 7443}[name] {
						t.Errorf("%s lets port %d in", name, p.Port)
					}
				}
			}
		}
	}
}
