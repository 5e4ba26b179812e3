package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/webhooks"
	"github.com/crossfade-project/crossfade/services/rotation"
)

// leader returns a name under which this process holds leases, for people who look.
func leader() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:8])
}

// countWebhooks returns the metrics of the webhooks that there are.
func (n *node) countWebhooks() *daemon.Webhooks {
	var names []string
	for _, h := range n.hooks {
		names = append(names, h.Name)
	}
	return daemon.NewWebhooks(n.c.registry, names, []string{string(webhooks.Delivered), string(webhooks.Failed), string(webhooks.GivenUp)})
}

// tell tells webhooks whenever this process is elected to.
func (n *node) tell(ctx context.Context, m *daemon.Webhooks) error {
	owner := leader()
	return webhooks.New(webhooks.Config{
		Hooks: n.hooks, Rotations: n.mirror.Rotations, Ready: n.mirror.Ready(), Bucket: n.told,
		Sender: &webhooks.Sender{HTTP: n.http, Secrets: n.secrets, Now: time.Now},
		Elect: func(ctx context.Context, lead func(context.Context)) error {
			return n.broker.Elect(ctx, "webhooks", owner, leaseTime, lead)
		},
		Now: time.Now, Log: n.c.log, Waiting: m.Waiting, Approvals: n.c.approvals,
		Clouds: func(ctx context.Context, id string) ([]string, error) {
			return rotation.Clouds(ctx, n.broker, n.inventory, id)
		},
		Count: func(hook string, r webhooks.Result) { m.Count(hook, string(r)) },
	}).Run(ctx)
}

func (a *app) webhookCommand() *cobra.Command {
	return group("webhook", "Try webhooks", a.webhookTestCommand())
}

func (a *app) webhookTestCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "test NAME --config FILE",
		Short: "Tell one webhook of the configuration a signed test event, from here",
		Long: `Test sends the event "crossfade.test", once, as the service would: with the address
and the keys of the configuration, and the same rules for where it may lead. The
service itself is not asked.`,
		Example: "  crossfade webhook test portal --config crossfade.yaml",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.webhookTest(c.Context(), config, args[0]) },
	}
	c.Flags().StringVar(&config, "config", "", "configuration `FILE` of the service")
	_ = c.MarkFlagRequired("config") // The flag exists: it was made above.
	return c
}

func (a *app) webhookTest(ctx context.Context, config, name string) error {
	c, err := serveFlags{config: config}.load(true)
	if err != nil {
		return err
	}
	hooks, err := webhooks.Parse(c.Webhooks)
	if err != nil {
		return usage("%w", err)
	}
	i := slices.IndexFunc(hooks, func(h webhooks.Hook) bool { return h.Name == name })
	if i < 0 {
		return usage("the configuration has no webhook %q", name)
	}
	client, err := outbound.New(c.Outbound())
	if err != nil {
		return usage("network: %w", err)
	}
	defer client.CloseIdleConnections()
	resolver, err := resolverOf(c, client)
	if err != nil {
		return usage("%w", err)
	}
	body, err := json.Marshal(map[string]any{"type": webhooks.Test, "timestamp": time.Now().UTC(), "data": map[string]any{}})
	if err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	s := webhooks.Sender{HTTP: client, Secrets: resolver, Now: time.Now}
	id := "msg_" + rand.Text()
	if err := s.Send(ctx, hooks[i], id, body); err != nil {
		return fmt.Errorf("webhook %s: %w", name, err)
	}
	if a.json {
		a.object("webhook", map[string]any{"name": name, "id": id, "delivered": true})
		return nil
	}
	fmt.Fprintf(a.out, "webhook %s took %s\n", name, id)
	return nil
}
