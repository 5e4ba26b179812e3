package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/crossfade-project/crossfade/internal/ownca"
	"github.com/crossfade-project/crossfade/internal/webhooks"
)

// What a secure demo writes down of what it tells others, to look at.
const (
	demoAnswers = "answers.jsonl" // to the command line
	demoPages   = "web.http"      // to pages, by HTTP
	demoHooks   = "webhooks.http" // to the receiver of webhooks, as it came
	demoTraces  = "traces.jsonl"
	demoTrusted = "trusted.pem" // whom the service trusts beyond itself
)

// open opens what is around the service: the files, the port for pages, and the receiver
// of webhooks. The service is reached, and reaches others, by what these say.
func (s *secureDemo) open(ctx context.Context) error {
	var err error
	files := map[string]*os.File{}
	for _, name := range []string{demoAnswers, demoPages, demoHooks, demoTraces} {
		if files[name], err = os.OpenFile(s.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("opening %s: %w", name, err)
		}
		s.closers = append(s.closers, files[name])
	}
	s.heard, s.pages, s.spans = files[demoAnswers], files[demoPages], files[demoTraces]
	var listens net.ListenConfig
	if s.web, err = listens.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("listening for pages: %w", err)
	}
	s.closers = append(s.closers, s.web)
	if s.receiver, err = s.receive(ctx, files[demoHooks]); err != nil {
		return err
	}
	s.closers = append(s.closers, s.receiver)
	ours, err := os.ReadFile(s.own(ownca.AuthorityFile))
	if err != nil {
		return fmt.Errorf("reading the authority: %w", err)
	}
	s.trusted = slices.Concat(s.cloud.CAPEM(), ours)
	if err := os.WriteFile(s.path(demoTrusted), s.trusted, 0o600); err != nil {
		return fmt.Errorf("writing whom the service trusts: %w", err)
	}
	s.dial = maps.Clone(s.cloud.Dial())
	s.dial[demoReceiverHost] = s.receiver.lis.Addr().String()
	return nil
}

// close closes what is around the service, which has ended.
func (s *secureDemo) close() {
	for _, c := range slices.Backward(s.closers) {
		_ = c.Close() // It is for looking at, and listeners are closed already.
	}
}

// around has the receiver told all of a rotation that has ended, and pages look at it.
func (s *secureDemo) around(ctx context.Context, rotation string) error {
	for _, kind := range []string{webhooks.Created, webhooks.Planned, webhooks.Started, webhooks.Ended} {
		s.receiver.waitFor(ctx, kind)
	}
	s.unexpected = append(s.unexpected, s.receiver.unexpected()...)
	return s.browse(ctx, rotation)
}
