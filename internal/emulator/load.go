package emulator

import (
	"fmt"
	"strings"

	"github.com/crossfade-project/crossfade/internal/emulator/dataverse"
	"github.com/crossfade-project/crossfade/internal/emulator/entra"
)

// load puts the world into the servers.
func (c *Cloud) load() error {
	for _, ns := range c.world.namespaces {
		if err := c.acs.AddNamespace(ns); err != nil {
			return err
		}
	}
	for _, t := range c.world.Tenants {
		if err := c.entra.AddApp(c.world.app(t)); err != nil {
			return fmt.Errorf("loading tenant %s: %w", t.ID, err)
		}
		c.entra.AddResource(t.EntraTenant, t.Organization)
		err := c.dataverse.AddOrg(dataverse.Org{
			Host: t.OrgHost(), ID: t.OrganizationID, Tenant: t.EntraTenant, Login: loginHost(t.OrgHost()),
			Version: t.Version, Users: []string{t.ClientID}, Endpoints: t.Endpoints,
		})
		if err != nil {
			return fmt.Errorf("loading tenant %s: %w", t.ID, err)
		}
	}
	return nil
}

// app is the application with which a tenant is signed in to.
func (w *World) app(t Tenant) entra.App {
	a := entra.App{Tenant: t.EntraTenant, ClientID: t.ClientID}
	if t.ClientSecret != "" {
		a.Secrets = []entra.Secret{{Value: string(t.ClientSecret)}}
	} else {
		a.Certificates = [][]byte{w.loginDER}
	}
	return a
}

// loginHost is where the tenants of an organisation's cloud sign in.
func loginHost(orgHost string) string {
	if strings.HasSuffix(orgHost, gccHighRegion) {
		return "login.microsoftonline.us"
	}
	return "login.microsoftonline.com"
}
