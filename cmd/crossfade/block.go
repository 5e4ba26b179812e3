package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/crossfade-project/crossfade/internal/certs"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// blockFlags is what "certificate block" and "unblock" were told.
type blockFlags struct {
	key       bool
	reason    string
	requestID string
}

func (f *blockFlags) bind(c *cobra.Command) *cobra.Command {
	fl := c.Flags()
	fl.StringVar(&f.reason, "reason", "", "`WHY`, for those who read it later")
	fl.StringVar(&f.requestID, "request-id", "", "`UUID` of this request; the same one again changes nothing (default a new one)")
	_ = c.MarkFlagRequired("reason") // The flag exists: it was made above.
	return c
}

// blockCommands are the subcommands of "certificate" that keep the block list.
func (a *app) blockCommands() []*cobra.Command {
	var in, out blockFlags
	block := in.bind(&cobra.Command{
		Use: "block THUMBPRINT|FILE", Short: "Forbid that a certificate, or its key, is put anywhere",
		Long: `Block puts a certificate on the block list, by its thumbprint (SHA-1 or SHA-256) or
from its file. No rotation to it can be created or started any more. Those that run
stop adding it within a second, and keep the old one where they would remove it in
its favour. Where it stands it stays: rotate away from it. With --key every
certificate for the same key is blocked.`,
		Example: "  crossfade certificate block 9A2F… --reason \"key found in a public repository\"\n  crossfade certificate block leaked.cer --key --reason \"incident 4711\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			req, err := in.subject(args[0])
			if err != nil {
				return err
			}
			return a.with(func(cl *client) error { return a.block(c.Context(), cl, req) })
		},
	})
	block.Flags().BoolVar(&in.key, "key", false, "block the key: THUMBPRINT is SHA-256 over the public key (spki_sha256), or is taken from FILE")
	unblock := out.bind(&cobra.Command{
		Use: "unblock NAME", Short: "Take an entry from the block list",
		Long: `Unblock takes an entry from the block list, by its name as "certificate blocked"
shows it. Tasks that ended because of it stay ended.`,
		Example: "  crossfade certificate unblock sha1.9a2f… --reason \"it was another key\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(func(cl *client) error { return a.unblock(c.Context(), cl, args[0], out) })
		},
	})
	var l listing
	blocked := &cobra.Command{
		Use: "blocked", Short: "List what is blocked, by whom, when and why",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listBlocks(c.Context(), cl, l) })
		},
	}
	l.flags(blocked, "name, creator, reason and create_time", "name and create_time")
	return []*cobra.Command{block, unblock, blocked}
}

// subject reads what is to be blocked: a file that is there, or a hash.
func (f *blockFlags) subject(arg string) (*crossfadev1.BlockCertificateRequest, error) {
	req := &crossfadev1.BlockCertificateRequest{Reason: f.reason, RequestId: f.requestID}
	if req.RequestId == "" {
		req.RequestId = uuid.NewString()
	}
	hash, err := certs.ParseThumbprint(arg)
	if err != nil {
		if _, missing := os.Stat(arg); missing != nil {
			return nil, usage("%q is no file and %w", arg, err)
		}
		data, err := readCertificateFile(arg)
		if err != nil {
			return nil, err
		}
		c, err := certs.Read(data)
		if err != nil {
			return nil, usage("%s: %w", arg, err)
		}
		if hash = c.SHA256; f.key {
			hash = c.SPKI
		}
	}
	switch {
	case f.key && len(hash) != 64:
		return nil, usage("--key: want the 64 digits of SHA-256 over the public key, or the certificate's file")
	case f.key:
		req.Subject = &crossfadev1.BlockCertificateRequest_KeyHash{KeyHash: hash}
	case len(hash) == 40:
		req.Subject = &crossfadev1.BlockCertificateRequest_Sha1{Sha1: hash}
	default:
		req.Subject = &crossfadev1.BlockCertificateRequest_Sha256{Sha256: hash}
	}
	return req, nil
}

func (a *app) block(ctx context.Context, cl *client, req *crossfadev1.BlockCertificateRequest) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.certificates.BlockCertificate(ctx, req)
	if err != nil {
		return err
	}
	a.showBlock(res.GetBlock())
	return nil
}

func (a *app) unblock(ctx context.Context, cl *client, name string, f blockFlags) error {
	if f.requestID == "" {
		f.requestID = uuid.NewString()
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.certificates.UnblockCertificate(ctx, &crossfadev1.UnblockCertificateRequest{
		Name: "blocks/" + strings.TrimPrefix(name, "blocks/"), Reason: f.reason, RequestId: f.requestID,
	})
	if err != nil {
		return err
	}
	if a.json {
		a.message("block", res.GetBlock())
	} else {
		fmt.Fprintf(a.out, "%s is blocked no more\n", strings.TrimPrefix(res.GetBlock().GetName(), "blocks/"))
	}
	return nil
}

func (a *app) listBlocks(ctx context.Context, cl *client, l listing) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.certificates.ListBlocks(pctx, &crossfadev1.ListBlocksRequest{PageSize: 500, PageToken: token, Filter: l.filter, OrderBy: l.order})
		cancel()
		if err != nil {
			return err
		}
		for _, b := range res.GetBlocks() {
			a.showBlock(b)
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func (a *app) showBlock(b *crossfadev1.Block) {
	if a.json {
		a.message("block", b)
		return
	}
	fmt.Fprintf(a.out, "%s  by %s at %s: %s\n", strings.TrimPrefix(b.GetName(), "blocks/"), b.GetCreator(), instant(b.GetCreateTime()), b.GetReason())
}
