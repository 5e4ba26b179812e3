package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func (a *app) certificateCommand() *cobra.Command {
	upload := func(use, short, long, example string, validateOnly bool) *cobra.Command {
		return &cobra.Command{
			Use: use + " FILE", Short: short, Long: long, Example: example, Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				return a.with(func(cl *client) error { return a.uploadCertificate(c.Context(), cl, args[0], validateOnly) })
			},
		}
	}
	var l listing
	list := &cobra.Command{
		Use: "list", Short: "List the certificates that were added", Args: cobra.NoArgs,
		Example: "  crossfade certificate list --filter 'not_after_time < \"2017-01-01T00:00:00Z\"' --order-by not_after_time",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(func(cl *client) error { return a.listCertificates(c.Context(), cl, l) })
		},
	}
	l.flags(list, "subject, issuer, sha1_thumbprint, key_algorithm, not_before_time and not_after_time", "name, subject, not_before_time and not_after_time")
	c := group("certificate", "Inspect, add and block certificates",
		upload("inspect", "Say what a certificate file holds and whether it can be used", `Inspect reads a file (DER, PEM or PKCS#7) and says what the service finds in it.
Nothing is stored. A file with a private key is refused before it is sent.`, "  crossfade certificate inspect new.p7b", true),
		upload("add", "Add a certificate to the service", `Add stores a public certificate under its SHA-256. Adding it again changes
nothing. A file with a private key is refused before it is sent.`, "  crossfade certificate add new.cer", false),
		list,
	)
	c.AddCommand(a.blockCommands()...)
	return c
}

func (a *app) uploadCertificate(ctx context.Context, cl *client, path string, validateOnly bool) error {
	data, err := readCertificateFile(path)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := cl.certificates.UploadCertificate(ctx, &crossfadev1.UploadCertificateRequest{Content: data, ValidateOnly: validateOnly})
	if err != nil {
		return err
	}
	if a.json {
		a.message("certificate", res)
	} else {
		a.showCertificate(res.GetCertificate(), res.GetFindings())
	}
	for _, f := range res.GetFindings() {
		if f.GetSeverity() == crossfadev1.CertificateFinding_SEVERITY_ERROR {
			return &exitError{code: exitRefused, err: fmt.Errorf("%s cannot be rotated to: %s", path, f.GetMessage())}
		}
	}
	return nil
}

func (a *app) showCertificate(c *crossfadev1.Certificate, findings []*crossfadev1.CertificateFinding) {
	for _, row := range [][2]string{
		{"name", c.GetName()}, {"subject", c.GetSubject()}, {"issuer", c.GetIssuer()}, {"serial number", c.GetSerialNumber()},
		{"thumbprint", c.GetSha1Thumbprint() + " (SHA-1, as Microsoft's tools show it)"},
		{"valid from", instant(c.GetNotBeforeTime())}, {"valid to", instant(c.GetNotAfterTime())}, {"key", c.GetKeyAlgorithm()},
	} {
		fmt.Fprintf(a.out, "%-14s %s\n", row[0], row[1])
	}
	for _, f := range findings {
		fmt.Fprintf(a.out, "%-14s %s (%s)\n", enumText(f.GetSeverity().String(), "SEVERITY_"), f.GetMessage(), f.GetCode())
	}
}

func (a *app) listCertificates(ctx context.Context, cl *client, l listing) error {
	for token := ""; ; {
		pctx, cancel := bounded(ctx)
		res, err := cl.certificates.ListCertificates(pctx, &crossfadev1.ListCertificatesRequest{PageToken: token, Filter: l.filter, OrderBy: l.order})
		cancel()
		if err != nil {
			return err
		}
		for _, c := range res.GetCertificates() {
			if a.json {
				a.message("certificate", c)
				continue
			}
			fmt.Fprintf(a.out, "%s  %s  %s to %s  %s\n", strings.TrimPrefix(c.GetName(), "certificates/"), c.GetSha1Thumbprint(),
				instant(c.GetNotBeforeTime()), instant(c.GetNotAfterTime()), c.GetSubject())
		}
		if token = res.GetNextPageToken(); token == "" {
			return nil
		}
	}
}
