package daemon

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Config is the configuration of one process, all of one YAML file. [Load] reads
// it, [Default] is what holds without a file. Every field may be left out; an
// unknown one is refused, so that a misspelt setting is not a silent default.
//
// Relative paths are relative to the folder of the file.
type Config struct {
	// Data is the folder of the embedded broker's files: rotations, plans, states
	// of tasks, inventory, certificates. Default "data". One process at a time
	// owns it. It is not used with nats.url. Losing it loses every record of what
	// was done; put it on a disk that is backed up.
	Data string `yaml:"data"`
	// Listen says where the process can be reached.
	Listen Listen `yaml:"listen"`
	// Web says which pages may call listen.web.
	Web Web `yaml:"web"`
	// TLS says who the gRPC listener proves to be.
	TLS TLS `yaml:"tls"`
	// Identity says how callers prove who they are, and what they may do.
	Identity Identity `yaml:"identity"`
	// Approvals says when somebody else has to approve what a caller asks for.
	Approvals Approvals `yaml:"approvals"`
	// Audit says who signs the log of who did what.
	Audit Audit `yaml:"audit"`
	// Reflection lets gRPC callers ask for the contract, as grpcurl does. Default
	// false: it tells strangers what there is.
	Reflection bool `yaml:"reflection"`
	// NATS says where the broker is.
	NATS NATS `yaml:"nats"`
	// Workers says how much this process does at once, and how fast.
	Workers Workers `yaml:"workers"`
	// Drift says how often rotations that have ended are checked, and how fast.
	Drift Drift `yaml:"drift"`
	// Retention says how long rotations are kept that have ended.
	Retention Retention `yaml:"retention"`
	// Secrets says where references to tenants' management secrets lead.
	Secrets Secrets `yaml:"secrets"`
	// Network says how other people's servers are reached.
	Network Network `yaml:"network"`
	// Entra says where we sign in to read organisations.
	Entra Entra `yaml:"entra"`
	// Drivers holds each driver's own part by its kind, such as "acs-x509", as
	// YAML. The driver reads it and refuses what it does not know. Default: none.
	Drivers map[string][]byte `yaml:"drivers"`
	// Gates holds the checks that a rotation's gates may name, each by its name with
	// url (https), timeout (1s to 60s, default 30s) and token (the reference of a
	// bearer token). Default: none. Requests name a check and never an address, so
	// that no caller makes this process call where it wants. A check inside the own
	// network needs an entry in network.dial.
	Gates map[string][]byte `yaml:"gates"`
	// Webhooks holds those who are told by HTTP how rotations stand, each by its name
	// with url (https), secret (the reference of a key that signs, whsec_…),
	// also_secret (a second one, while receivers change), events (default: all) and
	// labels (those that a rotation must have; default: none). At most 16. Default:
	// none. Processes of "serve" tell them, and all need the same. One inside the own
	// network needs an entry in network.dial.
	Webhooks map[string][]byte `yaml:"webhooks"`
	// Clock is the file of a shared test clock, as "crossfade emulate" writes it.
	// Default none: the machine's clock, which is the only right one outside a
	// test. With it, "not before" means what that file says, so whoever can write
	// the file decides when old credentials go.
	Clock string `yaml:"clock"`
	// MemoryLimit is what the process tries to stay below, as "512MiB" or bytes, at
	// least 128MiB. It is no wall: the nearer it comes, the more time goes into
	// collecting garbage, up to half of it. Default none: 288MiB, and more as soon
	// as what is needed takes 60 % of that, so that no rotation is slowed down by
	// it. Give 80 % of what a container may take. The environment's GOMEMLIMIT
	// wins over both.
	MemoryLimit Bytes `yaml:"memory_limit"`
	// Limits says what one caller may take.
	Limits Limits `yaml:"limits"`
	// Traces says where traces are sent.
	Traces Traces `yaml:"traces"`
	// Log says what is logged, to standard error.
	Log Log `yaml:"log"`
}

// Listen holds the addresses of the listeners, each host:port.
type Listen struct {
	// GRPC serves the API. Default "127.0.0.1:7443". Beyond loopback it needs
	// tls.cert and tls.key, or tls.allow_plaintext.
	GRPC string `yaml:"grpc"`
	// Web serves the API as JSON over HTTP, for browsers, under the conditions of GRPC
	// and with the same certificates. Default none.
	Web string `yaml:"web"`
	// Ops serves /metrics, /healthz and /readyz over HTTP. Default
	// "127.0.0.1:7444". It has no log-in and no TLS: whoever reaches it learns how
	// many targets there are and what fails, but changes nothing. Two processes on
	// one machine need two addresses.
	Ops string `yaml:"ops"`
}

// Web is what browsers are told.
type Web struct {
	// Origins are the web pages that may call, as browsers write them, such as
	// "https://portal.example", with commas between them; at most 64. Default none: no
	// page may, and whatever is no browser always may. Only with listen.web. A page
	// that is listed acts for whoever opens it, as far as the browser has a client
	// certificate for us or the page has a token.
	Origins string `yaml:"origins"`
}

// TLS is the identity of the gRPC listener.
type TLS struct {
	// Cert and Key are PEM files: the chain, leaf first, and its private key.
	// Both or neither. They are read again when they change, without a restart.
	// Default none: plaintext.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is a PEM file of the authorities whose client certificates prove who
	// calls: everything that they sign is believed to be who it says, so let them sign
	// nothing else. Read again when it changes. Default none: no certificate proves
	// anything. Needs cert and key, and identity.rights.
	ClientCA string `yaml:"client_ca"`
	// ClientCRL is a PEM or DER file of their revocation lists, of each authority that
	// signs certificates of callers. Read again when it changes. Once a list has ended,
	// nobody is believed whose certificate it is about. Default none: a certificate
	// holds until it ends. Needs client_ca.
	ClientCRL string `yaml:"client_crl"`
	// AllowPlaintext lets the API be served without TLS beyond loopback. Default
	// false. Whoever can read the wire then reads which tenants there are and
	// where, and whoever can write to it starts rotations; set it only where a
	// proxy in the same trusted network speaks TLS with the callers.
	AllowPlaintext bool `yaml:"allow_plaintext"`
}

// Audit is the log of who did what.
type Audit struct {
	// Key is the reference (env: or file:) of the key that signs the log, as
	// "crossfade audit key --new" makes it. Default: one that is made in data at the first
	// start, which whoever can write to the store can use too; with nats.url none, and
	// nothing is signed. All processes need the same.
	Key string `yaml:"key"`
	// OldKeys are what verifies the keys that signed before Key did, the oldest first, as
	// "crossfade audit key" shows them, with commas between them. Without them what those
	// signed counts as forged. Default none: the key was never changed.
	OldKeys string `yaml:"old_keys"`
	// Origin is the first line of every checkpoint: which log it is of. Default
	// "crossfade-audit/1". Name it where one key signs the logs of several installations,
	// or a checkpoint of one is right for another. Set it before the first start:
	// checkpoints of another name count as forged.
	Origin string `yaml:"origin"`
}

// Old returns the keys that signed before, the oldest first.
func (a Audit) Old() []string {
	return strings.FieldsFunc(a.OldKeys, func(r rune) bool { return r == ',' || r == ' ' })
}

// NATS is the broker: embedded without a URL, somebody else's with one.
type NATS struct {
	// URL is an external server, or several with commas between them, as
	// nats://host:port or tls://host:port. Default none: a broker in this process,
	// with its files in data. A password in it is refused; use creds.
	URL string `yaml:"url"`
	// Creds is a NATS credentials file. Only with url. Default none.
	Creds string `yaml:"creds"`
	// CA is a PEM file of the authorities that sign the servers' certificates.
	// Only with url. Default: the machine's.
	CA string `yaml:"ca"`
	// Cert and Key are PEM files with which we prove who we are. Both or neither,
	// only with url. Default: nobody.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Replicas of each stream, 1 to 5. Default 3 with url, 1 without. With 1 the
	// loss of a server's disk is the loss of all records. A cluster with fewer
	// servers than replicas refuses to make the streams.
	Replicas int `yaml:"replicas"`
	// Listen is where the embedded broker takes in "crossfade work" on the same
	// machine, such as "127.0.0.1:4222". It has no log-in, so loopback only, and
	// whoever has an account on the machine can write to it. Not with url.
	// Default none: this process alone.
	Listen string `yaml:"listen"`
	// MaxStore bounds all streams together, as "8GiB" or bytes; at least 64MiB.
	// Default: 8GiB for new streams, and unchanged for old ones. A full stream
	// refuses new rotations and loses nothing.
	MaxStore Bytes `yaml:"max_store"`
	// LazySync acknowledges writes before they are on the disk; only embedded.
	// Default false. It is faster, and a power cut may then lose up to two minutes
	// of what was done: those steps are done again, which finds them done.
	LazySync bool `yaml:"lazy_sync"`
}

// Workers bounds the work of one process.
type Workers struct {
	// PlanSlots is how many tenants are planned at once, 1 to 1024. Default 16. A
	// slot waits for a CRM organisation most of its time, and holds up to 8 MiB
	// while it reads one.
	PlanSlots int `yaml:"plan_slots"`
	// TaskSlots is how many targets are worked on at once, 1 to 4096. Default 32. An
	// eighth more, at least two, is for urgent rotations alone.
	// With ACS at 20 ms a call, one slot does about 12 targets a second. More
	// slots need more sockets, and no host ever has two.
	TaskSlots int `yaml:"task_slots"`
	// PerHostRate is how many calls a second one ACS host is sent by this process,
	// 0.1 to 1000. Default 10: ACS refuses a namespace's 31st token in a second,
	// and the tenant's own senders need theirs.
	PerHostRate float64 `yaml:"per_host_rate"`
	// PerHostBurst is how many of them may come at once, 1 to 1000. Default 10, so
	// that the five calls of a step do not wait for each other.
	PerHostBurst int `yaml:"per_host_burst"`
	// AckWait is how long a worker may be silent before its task is given to
	// another, 1s to 10m. Default 8s. Shorter, and a pause of the machine doubles
	// work (which finds itself done); longer, and a dead worker's tasks wait. All
	// processes need the same value: the last one to start sets it for all.
	AckWait time.Duration `yaml:"ack_wait"`
}

// Secrets says where references lead. The inventory holds references only.
type Secrets struct {
	// Dir is the folder beneath which file: references lie. Default none: every
	// file: reference is refused. Only this process's user should be able to read
	// it.
	Dir string `yaml:"dir"`
	// EnvPrefix must begin every environment variable that an env: reference
	// names. Default "CROSSFADE_SECRET_". An empty or short prefix would let a
	// tenants file have any variable of this process sent to a host of its choice,
	// so at least 4 characters are needed.
	EnvPrefix string `yaml:"env_prefix"`
	// CacheFor is for how long a secret of a store is used without asking again, 1s to
	// 1h. Default 5m. One that is refused where it is used is asked for anew at once, at
	// most every half minute.
	CacheFor time.Duration `yaml:"cache_for"`
	// Vault keeps secrets: vault: references.
	Vault Vault `yaml:"vault"`
	// Azure keeps secrets: azkv: references.
	Azure Azure `yaml:"azure"`
}

// Network says how other people's servers are reached.
type Network struct {
	// CAFile is a PEM file of authorities to trust besides the machine's: those of
	// an emulator, or of a proxy that opens TLS. Default none. Whoever holds their
	// keys can read management secrets.
	CAFile string `yaml:"ca_file"`
	// Dial leads hosts to another address, as "name" or "*.suffix" to ip:port; TLS
	// still wants the certificate of the name. Default none: the public DNS, and
	// no private addresses. It is meant for emulators.
	Dial map[string]string `yaml:"dial"`
}

// Entra is where we sign in to read organisations.
type Entra struct {
	// Authority is the address of the directory service, as https://host/.
	// Default: by the cloud of each organisation.
	Authority string `yaml:"authority"`
	// DisableInstanceDiscovery leaves out the question to Microsoft whether
	// authority is one of theirs. Default false; an emulator needs true. Only with
	// authority, since it takes away a check of where client secrets go.
	DisableInstanceDiscovery bool `yaml:"disable_instance_discovery"`
}

// Log is the form and the amount of the log.
type Log struct {
	// Format is "text" for people or "json" for machines. Default "text".
	Format string `yaml:"format"`
	// Level is "debug", "info", "warn" or "error". Default "info". No level logs
	// a secret.
	Level string `yaml:"level"`
}

// Default returns the configuration that holds without a file: everything in
// one process, on loopback, with its files in "data".
func Default() Config {
	return Config{
		Data:   "data",
		Listen: Listen{GRPC: "127.0.0.1:7443", Ops: "127.0.0.1:7444"},
		NATS:   NATS{Replicas: 1},
		Workers: Workers{
			PlanSlots: 16, TaskSlots: 32, PerHostRate: 10, PerHostBurst: 10, AckWait: 8 * time.Second,
		},
		Approvals: Approvals{ValidFor: rollover.DefaultApprovalFor},
		Drift:     Drift{MaxRate: 50},
		// A year's audit, and a month more to begin it.
		Retention: Retention{For: 400 * 24 * time.Hour, Max: 10_000},
		Secrets:   Secrets{EnvPrefix: "CROSSFADE_SECRET_", CacheFor: secrets.DefaultCacheFor},
		Limits:    Limits{CallsPerSecond: 200, Watches: 64, Uploads: 8, Rotations: 100},
		Traces:    Traces{Ratio: 0.01},
		Log:       Log{Format: "text", Level: "info"},
	}
}

// Bytes is a size. In a file it is a number of bytes, or one with the unit KiB,
// MiB, GiB or TiB.
type Bytes int64

// UnmarshalText reads "8GiB" and the like.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, shift := string(text), 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(n), 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("want a number of bytes, or one such as 512MiB or 8GiB")
	}
	*b = Bytes(n << shift)
	return nil
}
